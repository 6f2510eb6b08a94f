"""Hypothesis strategies for everything that IKE messages are made of.

Every value that these draw is one that a decoder can return, so encoding and decoding it must give
it back.
"""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from ipsecme.base import OpenIntEnum
from ipsecme.wire.ike import (
    OPAQUE_PORTS,
    Attribute,
    AuthPayload,
    CertPayload,
    CertReqPayload,
    ConfigAttribute,
    ConfigPayload,
    DeletePayload,
    EapPayload,
    EncryptedFragmentPayload,
    EncryptedPayload,
    IdentityPayload,
    KePayload,
    Message,
    NoncePayload,
    NotifyPayload,
    Payload,
    Proposal,
    SaPayload,
    TrafficSelector,
    Transform,
    TsPayload,
    UnknownPayload,
    UnknownSelector,
    VendorIdPayload,
)
from ipsecme.wire.ike.config import attribute_sizes
from ipsecme.wire.ike.registry import DECODERS
from ipsecme.wire.numbers import (
    AttributeType,
    AuthMethod,
    CertEncoding,
    ConfigAttributeType,
    ConfigType,
    EapCode,
    EapType,
    ExchangeType,
    IdType,
    KeId,
    NotifyType,
    PayloadType,
    ProtocolId,
    TransformType,
    TsType,
)

__all__ = [
    "PAYLOADS",
    "encrypted_payloads",
    "messages",
    "payloads",
    "proposals",
    "range_selectors",
    "sa_payloads",
    "transforms",
]

E = TypeVar("E", bound=OpenIntEnum)

UINT8 = st.integers(0, 0xFF)
UINT16 = st.integers(0, 0xFFFF)
UINT32 = st.integers(0, 0xFFFF_FFFF)
BODY = st.binary(max_size=40)

_FIXED_IDS = {IdType.ID_IPV4_ADDR: 4, IdType.ID_IPV6_ADDR: 16, IdType.ID_NULL: 0}
_TEXT_IDS = (IdType.ID_FQDN, IdType.ID_RFC822_ADDR)
_SIZED_NOTIFIES = {
    NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD: (1, 1),
    NotifyType.INVALID_MESSAGE_ID: (4, 4),
    NotifyType.INVALID_KE_PAYLOAD: (2, 2),
    NotifyType.SET_WINDOW_SIZE: (4, 4),
    NotifyType.NAT_DETECTION_SOURCE_IP: (20, 20),
    NotifyType.NAT_DETECTION_DESTINATION_IP: (20, 20),
    NotifyType.COOKIE: (1, 64),
}


def _numbers(registry: type[E], top: int) -> st.SearchStrategy[E]:
    """Draw known members and any other number."""
    return st.sampled_from(registry) | st.integers(0, top).map(registry.of)


def _attributes() -> st.SearchStrategy[Attribute]:
    return st.builds(Attribute, _numbers(AttributeType, 0x7FFF), UINT16 | st.binary(max_size=8))


def transforms() -> st.SearchStrategy[Transform]:
    """Draw transforms with any number of attributes, duplicates among them."""
    return st.builds(
        Transform,
        _numbers(TransformType, 0xFF),
        UINT16,
        st.lists(_attributes(), max_size=2).map(tuple),
    )


def proposals(number: int) -> st.SearchStrategy[Proposal]:
    """Draw proposals of that number."""
    return st.builds(
        Proposal,
        st.just(number),
        _numbers(ProtocolId, 0xFF),
        st.binary(max_size=8),
        st.lists(transforms(), max_size=3).map(tuple),
    )


@st.composite
def sa_payloads(draw: st.DrawFn) -> SaPayload:
    """Draw SA payloads whose proposals are numbered in sequence, from any number on."""
    count = draw(st.integers(1, 3))
    first = draw(st.integers(0, 256 - count))
    return SaPayload(tuple(draw(proposals(first + index)) for index in range(count)))


@st.composite
def range_selectors(draw: st.DrawFn) -> TrafficSelector:
    """Draw selectors of either family, now and then with OPAQUE ports."""
    octets = draw(st.sampled_from([4, 16]))
    start, end = sorted(draw(st.tuples(*[st.binary(min_size=octets, max_size=octets)] * 2)))
    ordered = st.tuples(UINT16, UINT16).map(sorted).map(tuple)
    low, high = draw(ordered | st.just(OPAQUE_PORTS))
    return TrafficSelector(draw(UINT8), low, high, start, end)


def _unknown_selectors() -> st.SearchStrategy[UnknownSelector]:
    kinds = UINT8.filter(lambda n: n not in (7, 8)).map(TsType.of)
    return st.builds(UnknownSelector, kinds, UINT8, BODY)


def _ts_payloads() -> st.SearchStrategy[TsPayload]:
    roles = st.sampled_from([PayloadType.TSi, PayloadType.TSr])
    one = range_selectors() | _unknown_selectors()
    return st.builds(TsPayload, roles, st.lists(one, min_size=1, max_size=5).map(tuple))


@st.composite
def _identities(draw: st.DrawFn) -> IdentityPayload:
    role = draw(st.sampled_from([PayloadType.IDi, PayloadType.IDr]))
    kind = draw(_numbers(IdType, 0xFF))
    reserved = draw(st.binary(min_size=3, max_size=3))
    if kind in _TEXT_IDS:
        data = bytes(draw(st.lists(st.integers(0x20, 0xFF), min_size=1, max_size=40)))
    elif kind in _FIXED_IDS:
        data = draw(st.binary(min_size=_FIXED_IDS[kind], max_size=_FIXED_IDS[kind]))
    else:
        data = draw(BODY)
    return IdentityPayload(role, kind, data, reserved)


@st.composite
def _notifies(draw: st.DrawFn) -> NotifyPayload:
    kind = draw(_numbers(NotifyType, 0xFFFF) | st.sampled_from(list(_SIZED_NOTIFIES)))
    low, high = _SIZED_NOTIFIES.get(kind, (0, 80))
    data = draw(st.binary(min_size=low, max_size=high))
    return NotifyPayload(kind, data, draw(_numbers(ProtocolId, 0xFF)), draw(st.binary(max_size=8)))


def _deletes() -> st.SearchStrategy[DeletePayload]:
    others = _numbers(ProtocolId, 0xFF).filter(lambda protocol: protocol != ProtocolId.IKE)
    spis = st.lists(st.binary(min_size=4, max_size=4), max_size=5).map(tuple)
    return st.just(DeletePayload(ProtocolId.IKE)) | st.builds(DeletePayload, others, spis)


@st.composite
def config_attributes(draw: st.DrawFn) -> ConfigAttribute:
    """Draw attributes of sizes that their types allow."""
    kind = draw(_numbers(ConfigAttributeType, 0x7FFF))
    sizes = [size for size in attribute_sizes(kind) if size <= 64]
    size = draw(st.sampled_from(sizes))
    return ConfigAttribute(kind, draw(st.binary(min_size=size, max_size=size)))


def _config_payloads() -> st.SearchStrategy[ConfigPayload]:
    attributes = st.lists(config_attributes(), max_size=5).map(tuple)
    return st.builds(ConfigPayload, _numbers(ConfigType, 0xFF), attributes)


def _eap_payloads() -> st.SearchStrategy[EapPayload]:
    codes = _numbers(EapCode, 0xFF)
    typed = codes.filter(lambda code: code not in (EapCode.SUCCESS, EapCode.FAILURE))
    bare = codes.filter(lambda code: code not in (EapCode.REQUEST, EapCode.RESPONSE))
    return st.builds(EapPayload, bare, UINT8) | st.builds(
        EapPayload, typed, UINT8, _numbers(EapType, 0xFF), BODY
    )


def _unknown_payloads() -> st.SearchStrategy[UnknownPayload]:
    taken = {0, PayloadType.SK, PayloadType.SKF, *DECODERS}
    kinds = UINT8.filter(lambda number: number not in taken).map(PayloadType.of)
    return st.builds(UnknownPayload, kinds, UINT8, BODY)


PAYLOADS: dict[str, st.SearchStrategy[Payload]] = {
    "sa": sa_payloads(),
    "ke": st.builds(KePayload, _numbers(KeId, 0xFFFF), BODY),
    "id": _identities(),
    "cert": st.builds(CertPayload, _numbers(CertEncoding, 0xFF), BODY),
    "certreq": st.builds(CertReqPayload, _numbers(CertEncoding, 0xFF), BODY),
    "auth": st.builds(AuthPayload, _numbers(AuthMethod, 0xFF), BODY),
    "nonce": st.builds(NoncePayload, st.binary(min_size=16, max_size=256)),
    "notify": _notifies(),
    "delete": _deletes(),
    "vendor_id": st.builds(VendorIdPayload, BODY),
    "ts": _ts_payloads(),
    "cp": _config_payloads(),
    "eap": _eap_payloads(),
    "unknown": _unknown_payloads(),
}
"""Strategies for the payloads that may stand anywhere, by name."""


def payloads() -> st.SearchStrategy[Payload]:
    """Draw any payload that may stand anywhere."""
    return st.one_of(*PAYLOADS.values())


def encrypted_payloads() -> st.SearchStrategy[Payload]:
    """Draw SK and SKF, which may stand at the end alone."""
    inside = _numbers(PayloadType, 0xFF)
    ordered = st.tuples(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF)).map(sorted)
    fragments = st.tuples(inside, ordered, BODY).map(
        lambda drawn: EncryptedFragmentPayload(drawn[0], drawn[1][0], drawn[1][1], drawn[2])
    )
    return st.builds(EncryptedPayload, inside, BODY) | fragments


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Draw whole messages; some end in SK or SKF."""
    chain = draw(st.lists(payloads(), max_size=4))
    if draw(st.booleans()):
        chain.append(draw(encrypted_payloads()))
    spi = st.binary(min_size=8, max_size=8)
    return Message(
        draw(spi),
        draw(spi),
        draw(_numbers(ExchangeType, 0xFF)),
        draw(UINT8),
        draw(UINT32),
        chain,
        draw(UINT8),
    )
