"""Seal and open: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import Incompatible, LocalMisuse, Secret
from ipsecme.crypto.suite import EspSuite
from ipsecme.esp import DropReason
from ipsecme.esp.transform import opener, sealer, sizes
from ipsecme.policy.parameters import SaHalf
from ipsecme.wire.esp import PADDING, encode_trailer, split_trailer
from ipsecme.wire.numbers import EncrId, IntegId
from support.esp import (
    EAST,
    EAST6,
    GCM,
    GCM_SUITE,
    SUITES,
    WEST,
    WEST6,
    SeededRng,
    joined,
    make_ends,
    packet,
    udp,
)

_suites = st.sampled_from(SUITES)


@given(suite=_suites, payload=st.binary(max_size=300), is_ipv6=st.booleans())
def test_what_was_sealed_opens(suite: EspSuite, payload: bytes, *, is_ipv6: bool) -> None:
    here = joined(make_ends(suite))
    inner = packet(WEST6, EAST6, 253, payload) if is_ipv6 else packet(WEST, EAST, 253, payload)

    sealed = here.west.outbound(inner)
    opened = here.east.inbound(sealed.octets, 1.0)

    assert sealed.reason is None
    assert opened == (inner, None, here.ends.east.spi)
    assert (len(sealed.octets) - sizes(suite).overhead) % sizes(suite).alignment == 0


@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_every_length_up_to_a_full_packet(suite: EspSuite) -> None:
    here = joined(make_ends(suite))
    for size in [*range(80), 1371, 1372, 1373, 1400, 9000, 65507]:
        inner = packet(WEST, EAST, 253, bytes(size))
        assert here.east.inbound(here.west.outbound(inner).octets, 1.0).octets == inner


@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_truncations_are_dropped_before_any_cryptography(suite: EspSuite) -> None:
    here = joined(make_ends(suite))
    sealed = here.west.outbound(udp(payload=b"")).octets
    least = sizes(suite).least

    for size in range(4, len(sealed)):
        reason = here.east.inbound(sealed[:size], 1.0).reason
        if size < least or (size - sizes(suite).overhead) % sizes(suite).block:
            assert reason == DropReason.BAD_LENGTH
        else:
            assert reason == DropReason.BAD_ICV
    for size in range(4):
        assert here.east.inbound(sealed[:size], 1.0).reason == DropReason.UNKNOWN_SPI
    assert here.east.inbound(sealed, 1.0).reason is None


@given(suite=_suites, octets=st.binary(max_size=200))
def test_any_octets_are_judged_and_never_raise(suite: EspSuite, octets: bytes) -> None:
    here = joined(make_ends(suite))
    spi = here.ends.east.spi.to_bytes(4)

    assert here.east.inbound(octets, 1.0).reason is not None
    assert here.east.inbound(spi + octets, 1.0).reason is not None
    assert here.west.outbound(octets).reason is not None


@given(suite=_suites, plain=st.binary(max_size=120), next_header=st.integers(0, 255))
def test_any_decrypted_octets_are_judged_and_never_raise(
    suite: EspSuite, plain: bytes, next_header: int
) -> None:
    """An authenticated peer may put anything inside."""
    here = joined(make_ends(suite))
    seal = sealer(suite, here.ends.west.outbound, SeededRng())
    filled = plain + encode_trailer(len(plain), sizes(suite).alignment, next_header)

    verdict = here.east.inbound(seal(filled, 1), 1.0)

    assert verdict.reason is None or verdict.octets == b""
    if verdict.reason is None:
        assert next_header in {4, 41}
        assert plain.startswith(verdict.octets)


@given(suite=_suites, raw=st.binary(min_size=1, max_size=40))
def test_any_trailer_is_judged_and_never_raises(suite: EspSuite, raw: bytes) -> None:
    here = joined(make_ends(suite))
    seal = sealer(suite, here.ends.west.outbound, SeededRng())
    plain = raw * sizes(suite).alignment

    verdict = here.east.inbound(seal(plain, 1), 1.0)

    assert verdict.reason is not None


@pytest.mark.parametrize("pad", range(256))
def test_pad_lengths_that_lie_are_dropped(pad: int) -> None:
    here = joined()
    seal = sealer(GCM_SUITE, here.ends.west.outbound, SeededRng())
    inner = udp(payload=bytes(38))
    assert len(inner) == 66

    honest = inner + PADDING[:pad] + bytes((pad, 4))
    assert here.east.inbound(seal(honest, 1), 1.0).octets == inner

    lying = inner + bytes((pad, 4))
    reason = here.east.inbound(seal(lying, 2), 1.0).reason
    assert reason == (None if pad == 0 else DropReason.BAD_PADDING)

    wrong_octets = inner + bytes(pad) + bytes((pad, 4))
    reason = here.east.inbound(seal(wrong_octets, 3), 1.0).reason
    assert reason == (None if pad == 0 else DropReason.BAD_PADDING)


def test_traffic_flow_padding_after_the_inner_packet_is_cut_off() -> None:
    here = joined()
    seal = sealer(GCM_SUITE, here.ends.west.outbound, SeededRng())
    inner = udp()
    padded = inner + bytes(500)

    for sequence in (1, 2):  # a new flow, then a known one
        sealed = seal(padded + encode_trailer(len(padded), 4, 4), sequence)
        assert here.east.inbound(sealed, 1.0).octets == inner


@pytest.mark.parametrize(
    ("encr", "icv"), [(EncrId.ENCR_AES_GCM_8, 8), (EncrId.ENCR_AES_GCM_12, 12)]
)
def test_short_icvs_are_the_beginning_of_the_whole_one(encr: EncrId, icv: int) -> None:
    short = joined(make_ends(GCM_SUITE._replace(encr=encr))).west.outbound(udp()).octets
    whole = joined(make_ends(GCM_SUITE)).west.outbound(udp()).octets
    assert short == whole[: icv - 16]


def test_the_integrity_only_ciphers_send_the_packet_in_the_clear() -> None:
    inner = udp(payload=b"everybody may read this")
    null = EspSuite(EncrId.ENCR_NULL, 0, IntegId.AUTH_HMAC_SHA2_256_128, esn=False)
    gmac = EspSuite(EncrId.ENCR_NULL_AUTH_AES_GMAC, 128, IntegId.NONE, esn=False)
    assert joined(make_ends(null)).west.outbound(inner).octets[8:].startswith(inner)
    assert joined(make_ends(gmac)).west.outbound(inner).octets[16:].startswith(inner)


@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_every_octet_is_protected(suite: EspSuite) -> None:
    here = joined(make_ends(suite))
    sealed = here.west.outbound(udp()).octets
    for at in range(4, len(sealed)):
        damaged = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        assert here.east.inbound(damaged, 1.0).reason in {DropReason.BAD_ICV, DropReason.STALE}
    assert here.east.inbound(sealed, 1.0).reason is None


def test_opening_leaves_the_input_alone() -> None:
    here = joined()
    sealed = here.west.outbound(udp()).octets
    before = bytes(bytearray(sealed))

    here.east.inbound(sealed, 1.0)

    assert sealed == before


def test_wrong_keys_and_damage_give_no_plaintext() -> None:
    here = joined()
    stranger = joined(make_ends(seed=99))
    sealed = here.west.outbound(udp()).octets

    assert stranger.east.inbound(sealed, 1.0) == (b"", DropReason.BAD_ICV, 0x2001)
    for at in range(4, len(sealed)):
        damaged = sealed[:at] + bytes((sealed[at] ^ 0x80,)) + sealed[at + 1 :]
        assert here.east.inbound(damaged, 1.0) == (b"", DropReason.BAD_ICV, 0x2001)
    assert here.east.inbound(sealed, 1.0).reason is None


@pytest.mark.parametrize(
    "suite",
    [
        EspSuite(EncrId.ENCR_AES_CBC, 256, IntegId.NONE, esn=False),
        EspSuite(EncrId.ENCR_NULL, 0, IntegId.NONE, esn=False),
        EspSuite(EncrId.ENCR_NULL, 128, IntegId.AUTH_HMAC_SHA2_256_128, esn=False),
        EspSuite(EncrId.ENCR_AES_CTR, 128, IntegId.NONE, esn=False),
        EspSuite(EncrId.ENCR_3DES, 192, IntegId.AUTH_HMAC_SHA2_256_128, esn=False),
        EspSuite(GCM, 256, IntegId.AUTH_HMAC_SHA2_256_128, esn=False),
        EspSuite(GCM, 64, IntegId.NONE, esn=False),
        EspSuite(EncrId.of(1234), 128, IntegId.NONE, esn=False),
        EspSuite(EncrId.ENCR_AES_CBC, 128, IntegId.AUTH_HMAC_MD5_96, esn=False),
    ],
    ids=lambda suite: f"{suite.encr.name}-{suite.integ.name}",
)
def test_suites_without_proper_protection_are_refused(suite: EspSuite) -> None:
    half = SaHalf(0x1000, Secret(bytes(36)), Secret(bytes(32)))
    with pytest.raises(Incompatible, match="ESP with"):
        sealer(suite, half, SeededRng())
    with pytest.raises(Incompatible, match="ESP with"):
        opener(suite, half)


@pytest.mark.parametrize(("key", "integrity"), [(35, 0), (37, 0), (0, 0), (36, 32)])
def test_keys_of_the_wrong_size_are_refused(key: int, integrity: int) -> None:
    half = SaHalf(0x1000, Secret(bytes(key)), Secret(bytes(integrity)))
    with pytest.raises(LocalMisuse, match="octets of"):
        sealer(GCM_SUITE, half, SeededRng())


def test_key_objects_cannot_be_copied_or_pickled() -> None:
    here = joined()
    installed = here.west._pairs[here.ends.west.spi]
    for half in (installed.inbound, installed.outbound):
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(LocalMisuse, match=r"twice|serialised"):
                attempt(half)
    for closure in (installed.inbound._open, installed.outbound._seal):
        with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
            pickle.dumps(closure)


@given(st.binary(max_size=300))
def test_split_trailer_is_the_inverse_of_encode_trailer(payload: bytes) -> None:
    for alignment in (4, 16):
        plain = payload + encode_trailer(len(payload), alignment, 4)
        assert len(plain) % alignment == 0
        assert split_trailer(plain) == (payload, 4)
