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

from ipsecme.crypto.algorithms import ENCRYPTION
from ipsecme.wire.numbers import EncrId, IntegId
from support.esp import EAST, EAST6, SUITES, WEST, WEST6, joined, make_ends, udp

if TYPE_CHECKING:
    from ipsecme.crypto.suite import EspSuite

_CIPHERS = {
    EncrId.ENCR_NULL: "NULL",
    EncrId.ENCR_AES_CBC: "AES-CBC",
    EncrId.ENCR_AES_CTR: "AES-CTR",
    EncrId.ENCR_AES_GCM_16: "AES-GCM",
    EncrId.ENCR_AES_CCM_8: "AES-CCM",
    EncrId.ENCR_AES_CCM_12: "AES-CCM",
    EncrId.ENCR_AES_CCM_16: "AES-CCM",
    EncrId.ENCR_NULL_AUTH_AES_GMAC: "AES-NULL-GMAC",
    EncrId.ENCR_CHACHA20_POLY1305: "CHACHA20-POLY1305",
}
_INTEGRITY = {
    IntegId.NONE: None,
    IntegId.AUTH_HMAC_SHA2_256_128: "SHA2-256-128",
    IntegId.AUTH_HMAC_SHA2_384_192: "SHA2-384-192",
    IntegId.AUTH_HMAC_SHA2_512_256: "SHA2-512-256",
    IntegId.AUTH_AES_CMAC_96: "AES-CMAC-96",
}
# scapy has no XCBC, and GCM with the whole ICV only.
_KNOWN = [suite for suite in SUITES if suite.integ in _INTEGRITY and suite.encr in _CIPHERS]
_SIZES = (0, 1, 2, 3, 13, 14, 15, 16, 1300)
_OUTER = IP(src="192.0.2.1", dst="192.0.2.2")
_IP_OCTETS = 20


def _association(suite: EspSuite, spi: int, keys: tuple[bytes, bytes]) -> Any:
    return SecurityAssociation(  # type: ignore[no-untyped-call]
        ESP,
        spi=spi,
        seq_num=1,
        crypt_algo=_CIPHERS[suite.encr],
        crypt_key=keys[0] or None,
        crypt_icv_size=ENCRYPTION[suite.encr].icv or None,
        auth_algo=_INTEGRITY[suite.integ],
        auth_key=keys[1] or None,
        tunnel_header=_OUTER,
        esn_en=suite.esn,
        esn=0,
    )


def test_scapy_knows_nearly_all() -> None:
    unknown = {(suite.encr, suite.integ) for suite in set(SUITES) - set(_KNOWN)}
    short_gcm = EncrId.ENCR_AES_GCM_8, EncrId.ENCR_AES_GCM_12
    macs = EncrId.ENCR_NULL, EncrId.ENCR_AES_CBC, EncrId.ENCR_AES_CTR
    assert unknown == {
        *((encr, IntegId.NONE) for encr in short_gcm),
        *((encr, IntegId.AUTH_AES_XCBC_96) for encr in macs),
    }


@pytest.mark.parametrize("suite", _KNOWN, ids=str)
@pytest.mark.parametrize("family", [4, 6])
def test_scapy_opens_what_is_sealed_here(suite: EspSuite, family: int) -> None:
    ends = make_ends(suite)
    here = joined(ends)
    half = ends.west.outbound
    keys = half.encryption_key.reveal(), half.integrity_key.reveal()
    for size in _SIZES:
        inner = _inner(family, bytes(size))
        sealed = here.west.outbound(inner).octets
        opened = _association(suite, half.spi, keys).decrypt(_OUTER / ESP(sealed))
        assert bytes(opened) == inner


@pytest.mark.parametrize("suite", _KNOWN, ids=str)
@pytest.mark.parametrize("family", [4, 6])
def test_what_scapy_seals_opens_here(suite: EspSuite, family: int) -> None:
    ends = make_ends(suite)
    here = joined(ends)
    half = ends.east.inbound
    association = _association(
        suite, half.spi, (half.encryption_key.reveal(), half.integrity_key.reveal())
    )
    for size in _SIZES:
        inner = _inner(family, bytes(size))
        layer = IP(inner) if family == 4 else IPv6(inner)
        sealed = bytes(association.encrypt(layer))[_IP_OCTETS:]
        assert here.east.inbound(sealed, 1.0).octets == inner


def _inner(family: int, payload: bytes) -> bytes:
    return udp(WEST, EAST, payload) if family == 4 else udp(WEST6, EAST6, payload)
