"""How key material is cut into keys, for every suite (RFC 7296, sections 2.13, 2.14 and 2.17).

The pseudorandom function is taken from the code under test, which has known answers of its own;
prf+ and what is cut from it is written out here a second time.
"""

from __future__ import annotations

import pytest

from ipsecme.base import LocalMisuse, Secret
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY, PRF
from ipsecme.crypto.keymat import SharedKey, child_keys, ike_keys, rekey_skeyseed, skeyseed
from ipsecme.crypto.prf import MAX_BLOCKS, prf, prf_plus
from ipsecme.crypto.suite import EspSuite, IkeSuite
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId

PRFS = [PrfId.of(number) for number in PRF]
EACH_PRF = pytest.mark.parametrize("number", PRFS, ids=lambda number: number.name)
CIPHERS = [
    (EncrId.of(encr), bits, IntegId.of(integ))
    for encr, row in ENCRYPTION.items()
    for bits in row.key_bits
    for integ in ([IntegId.NONE] if row.is_aead else INTEGRITY)
]
NI, NR = bytes(range(16)), bytes(range(100, 132))
SPIS = (b"initiatr", b"respondr")
SHARED = bytes(2) + bytes(range(1, 31))  # leading zeros belong to it


def chained(number: PrfId, key: bytes, seed: bytes, octets: int) -> bytes:
    """T1 = prf(K, S | 1), T2 = prf(K, T1 | S | 2), ..."""
    stream = block = b""
    count = 0
    while len(stream) < octets:
        count += 1
        block = prf(number, key, block + seed + bytes((count,)))
        stream += block
    return stream[:octets]


@EACH_PRF
@pytest.mark.parametrize("key_octets", [1, 16, 20, 64, 200])
def test_prf_plus_chains_its_blocks(number: PrfId, key_octets: int) -> None:
    key, output = bytes(range(1, key_octets + 1)), PRF[number].output
    for octets in (1, output - 1, output, output + 1, 5 * output + 3):
        assert prf_plus(number, key, b"seed", octets) == chained(number, key, b"seed", octets)


@EACH_PRF
@pytest.mark.requirement("R7296-104")
def test_prf_plus_ends_after_255_blocks(number: PrfId) -> None:
    most = MAX_BLOCKS * PRF[number].output
    assert MAX_BLOCKS == 255
    assert prf_plus(number, b"key", b"seed", most) == chained(number, b"key", b"seed", most)
    with pytest.raises(LocalMisuse, match="at most 255 blocks"):
        prf_plus(number, b"key", b"seed", most + 1)


@EACH_PRF
@pytest.mark.requirement("R7296-105")
def test_skeyseed_is_keyed_with_the_nonces(number: PrfId) -> None:
    """All of them, but 8 octets of each for the functions with keys of fixed length."""
    is_fixed = number in {PrfId.PRF_AES128_XCBC, PrfId.PRF_AES128_CMAC}
    key = NI[:8] + NR[:8] if is_fixed else NI + NR
    assert skeyseed(number, NI, NR, Secret(SHARED)) == prf(number, key, SHARED)


@EACH_PRF
def test_skeyseed_of_a_rekeying_is_keyed_with_sk_d(number: PrfId) -> None:
    sk_d = bytes(range(PRF[number].output))
    seed = rekey_skeyseed(number, Secret(sk_d), Secret(SHARED), NI + NR)
    assert seed == prf(number, sk_d, SHARED + NI + NR)


@EACH_PRF
@pytest.mark.requirement("R7296-105", "R7296-107")
def test_the_keys_of_an_ike_sa(number: PrfId) -> None:
    sk_p = PRF[number].output
    seed = bytes(range(sk_p))
    for encr, bits, integ in CIPHERS:
        sk_a, sk_e = INTEGRITY[integ].key if integ else 0, bits // 8 + ENCRYPTION[encr].salt
        sizes = {"d": sk_p, "ai": sk_a, "ar": sk_a, "ei": sk_e, "er": sk_e, "pi": sk_p, "pr": sk_p}
        stream = chained(number, seed, NI + NR + b"".join(SPIS), sum(sizes.values()))
        suite = IkeSuite(encr, bits, integ, number, KeId.CURVE25519)
        keys = ike_keys(suite, seed, NI + NR, *SPIS)
        for name, size in sizes.items():
            wanted, stream = stream[:size], stream[size:]
            assert getattr(keys, name).reveal() == wanted, (suite, name)


@pytest.mark.parametrize("shared", [None, SHARED], ids=["from SK_d", "with a key exchange"])
def test_the_keys_of_a_child_sa(shared: bytes | None) -> None:
    number, sk_d = PrfId.PRF_HMAC_SHA2_256, Secret(bytes(range(32)))
    seed = (shared or b"") + NI + NR
    secret = None if shared is None else Secret(shared)
    for encr, bits, integ in CIPHERS:
        encryption = bits // 8 + ENCRYPTION[encr].salt
        integrity = INTEGRITY[integ].key if integ else 0
        stream = chained(number, sk_d.reveal(), seed, 2 * (encryption + integrity))
        suite = EspSuite(encr, bits, integ, esn=True)
        keys = child_keys(suite, number, sk_d, NI + NR, secret)
        sizes = {"ei": encryption, "ai": integrity, "er": encryption, "ar": integrity}
        for name, size in sizes.items():
            wanted, stream = stream[:size], stream[size:]
            assert getattr(keys, name).reveal() == wanted, (suite, name)


@EACH_PRF
@pytest.mark.parametrize("octets", [1, 16, 64, 65, 200])
def test_auth_with_a_shared_secret_of_any_size(number: PrfId, octets: int) -> None:
    secret = bytes(range(1, octets + 1))
    key = SharedKey(Secret(secret))
    padded = prf(number, secret, b"Key Pad for IKEv2")
    for signed in (b"", b"octets", bytes(1000)):
        assert key.auth(number, signed) == prf(number, padded, signed)
    assert "SharedKey(...)" in repr(key)


def test_one_shared_secret_serves_several_functions() -> None:
    key = SharedKey(Secret(b"secret"))
    proofs = {key.auth(number, b"octets") for number in PRFS}
    assert len(proofs) == len(PRFS)
