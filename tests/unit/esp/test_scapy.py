"""Scapy as an outside oracle: each side reads what the other wrote, for every suite."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scapy names ciphers that are deprecated and not used here
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.ipsec import ESP, SecurityAssociation

from ipsecme.wire.numbers import EncrId, IntegId
from support.esp import EAST, EAST6, SUITES, WEST, WEST6, joined, make_ends, udp

if TYPE_CHECKING:
    from ipsecme.crypto.suite import EspSuite

_INTEGRITY = {
    IntegId.NONE: None,
    IntegId.AUTH_HMAC_SHA2_256_128: "SHA2-256-128",
    IntegId.AUTH_HMAC_SHA2_384_192: "SHA2-384-192",
    IntegId.AUTH_HMAC_SHA2_512_256: "SHA2-512-256",
}
_OUTER = IP(src="192.0.2.1", dst="192.0.2.2")
_IP_OCTETS = 20


def _association(suite: EspSuite, spi: int, keys: tuple[bytes, bytes]) -> Any:
    is_gcm = suite.encr == EncrId.ENCR_AES_GCM_16
    return SecurityAssociation(  # type: ignore[no-untyped-call]
        ESP,
        spi=spi,
        seq_num=1,
        crypt_algo="AES-GCM" if is_gcm else "AES-CBC",
        crypt_key=keys[0],
        auth_algo=_INTEGRITY[suite.integ],
        auth_key=keys[1] or None,
        tunnel_header=_OUTER,
        esn_en=suite.esn,
        esn=0,
    )


@pytest.mark.parametrize("suite", SUITES, ids=str)
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 13, 14, 15, 16, 1300])
def test_scapy_opens_what_is_sealed_here(suite: EspSuite, family: int, size: int) -> None:
    ends = make_ends(suite)
    inner = _inner(family, bytes(size))
    half = ends.west.outbound
    keys = half.encryption_key.reveal(), half.integrity_key.reveal()

    sealed = joined(ends).west.outbound(inner).octets

    opened = _association(suite, half.spi, keys).decrypt(_OUTER / ESP(sealed))
    assert bytes(opened) == inner


@pytest.mark.parametrize("suite", SUITES, ids=str)
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 13, 14, 15, 16, 1300])
def test_what_scapy_seals_opens_here(suite: EspSuite, family: int, size: int) -> None:
    ends = make_ends(suite)
    inner = _inner(family, bytes(size))
    half = ends.east.inbound
    keys = half.encryption_key.reveal(), half.integrity_key.reveal()
    association = _association(suite, half.spi, keys)

    layer = IP(inner) if family == 4 else IPv6(inner)
    sealed = bytes(association.encrypt(layer))[_IP_OCTETS:]

    assert joined(ends).east.inbound(sealed, 1.0).octets == inner


def _inner(family: int, payload: bytes) -> bytes:
    return udp(WEST, EAST, payload) if family == 4 else udp(WEST6, EAST6, payload)
