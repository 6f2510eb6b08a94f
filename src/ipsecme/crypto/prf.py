"""The pseudorandom functions and prf+ (RFC 7296, section 2.13; RFC 4868)."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ipsecme.base import LocalMisuse
from ipsecme.crypto.algorithms import PRF
from ipsecme.wire.numbers import PrfId

__all__ = ["HASHES", "MAX_BLOCKS", "prf", "prf_plus"]

MAX_BLOCKS = 255
"""prf+ counts its blocks in one octet."""

HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_BY_PRF: dict[PrfId, hashes.HashAlgorithm] = {
    PrfId.of(number): HASHES[row.hash_name] for number, row in PRF.items()
}


def prf(number: PrfId, key: bytes, data: bytes) -> bytes:
    """Return the value of the pseudorandom function for `data` under `key`."""
    mac = HMAC(key, _BY_PRF[number])
    mac.update(data)
    return mac.finalize()


def prf_plus(number: PrfId, key: bytes, seed: bytes, octets: int) -> bytes:
    """Return the first `octets` of prf+(key, seed), at most 255 blocks.

    T1 = prf(K, S | 0x01), Tn = prf(K, Tn-1 | S | n). With HMAC this is the Expand step of HKDF,
    which was modelled on it (RFC 5869, section 2.3), and the library computes it in one call.
    """
    if octets > MAX_BLOCKS * PRF[number].output:
        raise LocalMisuse(f"prf+ yields at most {MAX_BLOCKS} blocks; {octets} octets are more")
    return HKDFExpand(_BY_PRF[number], octets, seed).derive(key)
