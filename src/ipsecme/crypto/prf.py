"""The pseudorandom functions and prf+ (RFC 7296, section 2.13; RFC 4434, 4615, 4868)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ipsecme.base import LocalMisuse
from ipsecme.crypto.algorithms import PRF
from ipsecme.crypto.integrity import HASHES, mac
from ipsecme.wire.numbers import PrfId

__all__ = ["MAX_BLOCKS", "prf", "prf_plus"]

MAX_BLOCKS = 255
"""prf+ counts its blocks in one octet."""

_HASH_BY_PRF = {
    PrfId.of(number): HASHES[row.mac] for number, row in PRF.items() if row.mac in HASHES
}
_AES_KEY = 16


def prf(number: PrfId, key: bytes, data: bytes) -> bytes:
    """Return the value of the pseudorandom function for `data` under `key` of any size."""
    algorithm = _HASH_BY_PRF.get(number)
    if algorithm is None:
        return mac(PRF[number].mac, _aes_key(number, key))(data)
    context = HMAC(key, algorithm)
    context.update(data)
    return context.finalize()


def _aes_key(number: PrfId, key: bytes) -> bytes:
    """Make 16 octets of any key: RFC 4434, section 2, pads short ones, RFC 4615, section 3, none.

    What remains goes through the function itself under a key of zeros.
    """
    if number == PrfId.PRF_AES128_XCBC and len(key) < _AES_KEY:
        return key.ljust(_AES_KEY, b"\x00")
    if len(key) == _AES_KEY:
        return key
    return mac(PRF[number].mac, bytes(_AES_KEY))(key)


def prf_plus(number: PrfId, key: bytes, seed: bytes, octets: int) -> bytes:
    """Return the first `octets` of prf+(key, seed), at most 255 blocks.

    T1 = prf(K, S | 0x01), Tn = prf(K, Tn-1 | S | n). With HMAC this is the Expand step of HKDF,
    which was modelled on it (RFC 5869, section 2.3), and the library computes it in one call.
    """
    if octets > MAX_BLOCKS * PRF[number].output:
        raise LocalMisuse(f"prf+ yields at most {MAX_BLOCKS} blocks; {octets} octets are more")
    algorithm = _HASH_BY_PRF.get(number)
    if algorithm is not None:
        return HKDFExpand(algorithm, octets, seed).derive(key)
    compute = mac(PRF[number].mac, _aes_key(number, key))
    block, material = b"", bytearray()
    while len(material) < octets:
        block = compute(block + seed + bytes((len(material) // PRF[number].output + 1,)))
        material += block
    return bytes(material[:octets])
