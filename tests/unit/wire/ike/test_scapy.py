"""Scapy as an outside oracle of the IKE codec: each side reads what the other wrote."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scapy names ciphers that are deprecated and not used here
    from scapy.contrib import ikev2 as scapy

from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    Attribute,
    AuthPayload,
    CertReqPayload,
    ConfigAttribute,
    ConfigPayload,
    DeletePayload,
    EncryptedFragmentPayload,
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
    VendorIdPayload,
)
from ipsecme.wire.numbers import (
    AttributeType,
    AuthMethod,
    CertEncoding,
    ConfigAttributeType,
    ConfigType,
    EncrId,
    EsnId,
    ExchangeType,
    IdType,
    IntegId,
    KeId,
    NotifyType,
    PayloadType,
    PrfId,
    ProtocolId,
    TransformType,
    TsType,
)

if TYPE_CHECKING:
    from ipsecme.base import OpenIntEnum

SPI_I, SPI_R = b"initiatr", b"respondr"
NONCE = bytes(range(20))
PUBLIC = bytes(range(32))
IPV4 = (bytes((10, 1, 0, 0)), bytes((10, 1, 255, 255)))
IPV6 = (bytes.fromhex("20010db8") + bytes(12), bytes.fromhex("20010db8") + b"\xff" * 12)
KEY_256 = (Attribute(AttributeType.KEY_LENGTH, 256),)


def transform(kind: TransformType, number: int, *attributes: Attribute) -> Transform:
    return Transform(kind, number, attributes)


SA = SaPayload(
    (
        Proposal(
            1,
            ProtocolId.ESP,
            b"\x11\x22\x33\x44",
            (
                transform(TransformType.ENCR, EncrId.ENCR_AES_CBC, *KEY_256),
                transform(TransformType.INTEG, IntegId.AUTH_HMAC_SHA2_256_128),
                transform(TransformType.ESN, EsnId.NO_ESN),
            ),
        ),
        Proposal(
            2,
            ProtocolId.ESP,
            b"\x55\x66\x77\x88",
            (
                transform(TransformType.ENCR, EncrId.ENCR_CHACHA20_POLY1305),
                transform(TransformType.KE, KeId.CURVE25519),
                transform(TransformType.ESN, EsnId.ESN),
            ),
        ),
    )
)
TSI = TsPayload(
    PayloadType.TSi,
    (TrafficSelector(6, 80, 443, *IPV4), TrafficSelector(0, 0, 65535, *IPV6)),
)


def read(*payloads: Payload, flags: int = FLAG_INITIATOR) -> Any:
    """Encode a message and return it as scapy reads it."""
    message = Message(SPI_I, SPI_R, ExchangeType.IKE_AUTH, flags, 7, list(payloads))
    packet = scapy.IKEv2(message.encode())
    again = packet.copy()
    again.clear_cache()  # or it would give back the octets that it was given
    assert bytes(again) == message.encode()
    return packet


def written(*layers: Any, exchange: ExchangeType = ExchangeType.IKE_AUTH) -> Message:
    """Let scapy build a message of these layers and decode it."""
    packet = scapy.IKEv2(
        init_SPI=SPI_I, resp_SPI=SPI_R, exch_type=int(exchange), flags="Response", id=9
    )
    for layer in layers:
        packet /= layer
    return Message.decode(bytes(packet))


def test_scapy_reads_the_header_and_the_order() -> None:
    packet = read(
        NoncePayload(NONCE),
        VendorIdPayload(b"vendor"),
        KePayload(KeId.CURVE25519, PUBLIC),
        flags=FLAG_RESPONSE,
    )
    assert (packet.init_SPI, packet.resp_SPI) == (SPI_I, SPI_R)
    assert (packet.version, packet.exch_type, packet.id) == (0x20, 35, 7)
    assert str(packet.flags) == "Response"
    assert packet.length == len(packet)
    assert [layer.__name__ for layer in packet.layers()] == [
        "IKEv2",
        "IKEv2_Nonce",
        "IKEv2_VendorID",
        "IKEv2_KE",
    ]
    assert packet[scapy.IKEv2_Nonce].nonce == NONCE
    assert packet[scapy.IKEv2_VendorID].vendorID == b"vendor"
    assert (packet[scapy.IKEv2_KE].group, packet[scapy.IKEv2_KE].ke) == (31, PUBLIC)


def test_scapy_reads_proposals() -> None:
    first = read(SA)[scapy.IKEv2_SA].prop
    second = first.payload
    assert [(p.proposal, p.proto, p.SPI, p.trans_nb) for p in (first, second)] == [
        (1, 3, b"\x11\x22\x33\x44", 3),
        (2, 3, b"\x55\x66\x77\x88", 3),
    ]
    found = []
    layer = first.trans
    while isinstance(layer, scapy.IKEv2_Transform):
        found.append((layer.transform_type, layer.transform_id, layer.key_length))
        layer = layer.payload
    assert found == [(1, 12, 256), (3, 12, None), (5, 0, None)]


def test_scapy_reads_selectors() -> None:
    tcp, anything = read(TSI)[scapy.IKEv2_TSi].traffic_selector
    assert (tcp.TS_type, tcp.IP_protocol_ID, tcp.start_port, tcp.end_port) == (7, 6, 80, 443)
    assert (tcp.starting_address_v4, tcp.ending_address_v4) == ("10.1.0.0", "10.1.255.255")
    assert (anything.TS_type, anything.IP_protocol_ID, anything.end_port) == (8, 0, 65535)
    assert anything.starting_address_v6 == "2001:db8::"


def test_scapy_reads_the_smaller_payloads() -> None:
    packet = read(
        IdentityPayload(PayloadType.IDi, IdType.ID_FQDN, b"west.example"),
        IdentityPayload(PayloadType.IDr, IdType.ID_IPV4_ADDR, bytes((192, 0, 2, 1))),
        CertReqPayload(CertEncoding.X509_SIGNATURE, bytes(range(20))),
        AuthPayload(AuthMethod.SHARED_KEY_MIC, PUBLIC),
        NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\x01\x02\x03\x04"),
        DeletePayload(ProtocolId.ESP, (b"\x01\x02\x03\x04", b"\x05\x06\x07\x08")),
        ConfigPayload(
            ConfigType.CFG_REPLY,
            (ConfigAttribute(ConfigAttributeType.INTERNAL_IP4_ADDRESS, bytes((10, 9, 8, 7))),),
        ),
    )
    assert (packet[scapy.IKEv2_IDi].IDtype, packet[scapy.IKEv2_IDi].ID) == (2, b"west.example")
    assert (packet[scapy.IKEv2_IDr].IDtype, packet[scapy.IKEv2_IDr].ID) == (1, "192.0.2.1")
    request = packet[scapy.IKEv2_CERTREQ]
    assert (request.cert_encoding, request.cert_authority) == (4, bytes(range(20)))
    assert (packet[scapy.IKEv2_AUTH].auth_type, packet[scapy.IKEv2_AUTH].load) == (2, PUBLIC)
    notify = packet[scapy.IKEv2_Notify]
    assert (notify.type, notify.proto, notify.SPI) == (16393, 3, b"\x01\x02\x03\x04")
    delete = packet[scapy.IKEv2_Delete]
    assert (delete.proto, delete.SPIsize, delete.SPInum) == (3, 4, 2)
    assert delete.SPI == [b"\x01\x02\x03\x04", b"\x05\x06\x07\x08"]
    config = packet[scapy.IKEv2_CP]
    assert config.CFGType == 2
    assert [(a.type, a.value) for a in config.attributes] == [(1, "10.9.8.7")]


def test_scapy_reads_fragments() -> None:
    packet = read(EncryptedFragmentPayload(PayloadType.IDi, 2, 3, b"sealed"))
    fragment = packet[scapy.IKEv2_Encrypted_Fragment]
    assert (fragment.next_payload, fragment.frag_number, fragment.frag_total) == (35, 2, 3)
    assert fragment.load == b"sealed"


def test_what_scapy_offers_is_read() -> None:
    key_length = scapy.IKEv2_Transform(
        length=12, transform_type=1, transform_id=20, key_length=128, next_payload=3
    )
    others = key_length
    for kind, number in ((2, 5), (4, 19)):
        last = 0 if kind == 4 else 3
        others /= scapy.IKEv2_Transform(transform_type=kind, transform_id=number, next_payload=last)
    proposal = scapy.IKEv2_Proposal(proposal=1, proto=1, trans_nb=3, trans=others, next_payload=0)
    message = written(
        scapy.IKEv2_SA(prop=proposal),
        scapy.IKEv2_KE(group=19, ke=PUBLIC * 2),
        scapy.IKEv2_Nonce(nonce=NONCE),
        exchange=ExchangeType.IKE_SA_INIT,
    )
    assert (message.exchange, message.flags, message.message_id) == (34, FLAG_RESPONSE, 9)
    key_128 = Attribute(AttributeType.KEY_LENGTH, 128)
    assert message.payloads == [
        SaPayload(
            (
                Proposal(
                    1,
                    ProtocolId.IKE,
                    b"",
                    (
                        transform(TransformType.ENCR, EncrId.ENCR_AES_GCM_16, key_128),
                        transform(TransformType.PRF, PrfId.PRF_HMAC_SHA2_256),
                        transform(TransformType.KE, KeId.ECP_256),
                    ),
                ),
            )
        ),
        KePayload(KeId.ECP_256, PUBLIC * 2),
        NoncePayload(NONCE),
    ]


def test_what_scapy_writes_is_read() -> None:
    tcp = scapy.IPv4TrafficSelector(
        IP_protocol_ID=6,
        start_port=80,
        end_port=443,
        starting_address_v4="10.1.0.0",
        ending_address_v4="10.1.255.255",
    )
    message = written(
        scapy.IKEv2_IDi(IDtype=2, ID=b"west.example"),
        scapy.IKEv2_AUTH(auth_type=2, load=PUBLIC),
        scapy.IKEv2_TSi(traffic_selector=[tcp]),
        scapy.IKEv2_Notify(proto=3, type=16393, SPI=b"\x01\x02\x03\x04"),
        scapy.IKEv2_Delete(proto=3, SPIsize=4, SPInum=1, SPI=[b"\x01\x02\x03\x04"]),
        scapy.IKEv2_VendorID(vendorID=b"vendor"),
    )
    assert message.payloads == [
        IdentityPayload(PayloadType.IDi, IdType.ID_FQDN, b"west.example"),
        AuthPayload(AuthMethod.SHARED_KEY_MIC, PUBLIC),
        TsPayload(PayloadType.TSi, (TrafficSelector(6, 80, 443, *IPV4),)),
        NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\x01\x02\x03\x04"),
        DeletePayload(ProtocolId.ESP, (b"\x01\x02\x03\x04",)),
        VendorIdPayload(b"vendor"),
    ]


_TRANSFORMS = scapy.IKEv2TransformAlgorithms
_NOT_IN_NAMES = re.compile(r"IV2_NOTIFY_|NOTIFY_|ENCR|PRF|AUTH|HMAC|ICV|_|-")


def plain(name: str) -> str:
    """Return what different spellings of a name have in common."""
    return _NOT_IN_NAMES.sub("", name.upper())


@pytest.mark.parametrize(
    ("registry", "theirs", "differing"),
    [
        (NotifyType, scapy.IKEv2NotifyMessageTypes, {16429}),  # renamed since
        (ConfigAttributeType, scapy.IKEv2ConfigurationAttributeTypes, set()),
        (ConfigType, scapy.IKEv2ConfigurationPayloadCFGTypes, set()),
        (TsType, scapy.IKEv2TrafficSelectorTypes, set()),
        (PrfId, _TRANSFORMS[2], set()),
        (EncrId, _TRANSFORMS[1], {32}),  # misspelt there
        (IntegId, _TRANSFORMS[3], set()),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_names_and_numbers_of_scapy(
    registry: type[OpenIntEnum], theirs: dict[int, str], differing: set[int]
) -> None:
    assert len(theirs) > 2
    for number, name in theirs.items():
        if number not in differing:
            assert registry.of(number).is_known, name
            assert plain(registry.of(number).name) == plain(name)


def test_key_exchange_methods_of_scapy() -> None:
    """Their names tell size and family in another order: 2048MODPgr, 256randECPgr."""
    theirs = _TRANSFORMS[4]
    assert len(theirs) > 20
    for number, name in theirs.items():
        words = re.findall(r"\d+|MODP|ECP|BRAINPOOL|CURVE|GOST", name.upper())
        assert words
        for word in words:
            assert word in KeId.of(number).name
