"""The numbers of the registries, against scapy's and against the tables of RFC 7296.

Both were written down by somebody else; a slip of ours would have to be theirs as well.
"""

from __future__ import annotations

import re
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scapy names ciphers that are deprecated and not used here
    from scapy.contrib import ikev2 as scapy

from typing import TYPE_CHECKING

from ipsecme.wire import numbers
from ipsecme.wire.numbers import (
    AuthMethod,
    ConfigAttributeType,
    ConfigType,
    EapCode,
    EncrId,
    ExchangeType,
    IdType,
    IntegId,
    IpProtocol,
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

_TRANSFORMS = scapy.IKEv2TransformAlgorithms
_NOT_IN_NAMES = re.compile(r"IV2_NOTIFY_|NOTIFY_|ENCR|PRF|AUTH|HMAC|ICV|_|-")

# Sections 3.1, 3.2, 3.3.1, 3.3.2, 3.5, 3.8, 3.15 and, for EAP, RFC 3748, section 4.
RFC_7296: dict[type[OpenIntEnum], str] = {
    ExchangeType: "IKE_SA_INIT 34, IKE_AUTH 35, CREATE_CHILD_SA 36, INFORMATIONAL 37",
    PayloadType: (
        "SA 33, KE 34, IDi 35, IDr 36, CERT 37, CERTREQ 38, AUTH 39, NONCE 40, NOTIFY 41, "
        "DELETE 42, VENDOR_ID 43, TSi 44, TSr 45, SK 46, CP 47, EAP 48"
    ),
    ProtocolId: "IKE 1, AH 2, ESP 3",
    TransformType: "ENCR 1, PRF 2, INTEG 3, KE 4, ESN 5",
    IdType: (
        "ID_IPV4_ADDR 1, ID_FQDN 2, ID_RFC822_ADDR 3, ID_IPV6_ADDR 5, ID_DER_ASN1_DN 9, "
        "ID_DER_ASN1_GN 10, ID_KEY_ID 11"
    ),
    AuthMethod: "RSA_DIGITAL_SIGNATURE 1, SHARED_KEY_MIC 2, DSS_DIGITAL_SIGNATURE 3",
    ConfigType: "CFG_REQUEST 1, CFG_REPLY 2, CFG_SET 3, CFG_ACK 4",
    EapCode: "REQUEST 1, RESPONSE 2, SUCCESS 3, FAILURE 4",
    IpProtocol: "ICMP 1, TCP 6, UDP 17, ESP 50, AH 51, IPV6_ICMP 58",
}


def plain(name: str) -> str:
    """Return what different spellings of a name have in common."""
    return _NOT_IN_NAMES.sub("", name.upper())


@pytest.mark.parametrize("registry", RFC_7296, ids=lambda registry: registry.__name__)
def test_numbers_of_the_rfc(registry: type[OpenIntEnum]) -> None:
    for row in RFC_7296[registry].split(", "):
        name, number = row.split()
        assert registry[name] == int(number), name


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


@pytest.mark.parametrize("name", numbers.__all__)
def test_no_number_has_two_names(name: str) -> None:
    registry = getattr(numbers, name)
    assert not [alias for alias, member in registry.__members__.items() if alias != member.name]


def test_errors_and_status_are_told_apart_by_the_number() -> None:
    """Section 3.10.1: 0 to 16383 are errors, unknown ones too."""
    assert {n for n in NotifyType if n.is_error} == {n for n in NotifyType if n < 16384}
    assert NotifyType.of(0).is_error
    assert NotifyType.of(16383).is_error
    assert not NotifyType.of(16384).is_error
    assert not NotifyType.of(65535).is_error
