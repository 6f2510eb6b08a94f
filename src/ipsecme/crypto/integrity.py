"""Message authentication codes: HMAC-SHA2 (RFC 4868), AES-CMAC (RFC 4493), AES-XCBC (RFC 3566).

Owns the functions and the integrity algorithms that cut their output short. Pseudorandom functions,
which take keys of any size, are in `prf`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hmac import HMAC

from ipsecme.base import LocalMisuse
from ipsecme.crypto.algorithms import INTEGRITY

if TYPE_CHECKING:
    from ipsecme.base import Secret
    from ipsecme.wire.numbers import IntegId

__all__ = ["HASHES", "Mac", "authenticator", "mac"]

Mac = Callable[[bytes], bytes]
"""Takes the message and returns its authentication code; holds the key."""

HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_BLOCK = 16
_EMPTY_BLOCK = bytes(_BLOCK)


def authenticator(number: IntegId, key: Secret) -> Mac:
    """Return the integrity algorithm under `key`; what it returns is the ICV."""
    row = INTEGRITY[number]
    octets = key.reveal()
    if len(octets) != row.key:
        raise LocalMisuse(f"{number.name} takes a key of {row.key} octets, not {len(octets)}")
    return mac(row.mac, octets, row.icv)


def mac(name: str, key: bytes, octets: int | None = None) -> Mac:
    """Return the function of that name in the tables, its output cut to `octets`."""
    if name == "xcbc":
        return _xcbc(key, octets)
    keyed = CMAC(algorithms.AES(key)) if name == "cmac" else HMAC(key, HASHES[name])

    def compute(message: bytes) -> bytes:
        context = keyed.copy()
        context.update(message)
        return context.finalize()[:octets]

    return compute


def _xcbc(key: bytes, octets: int | None) -> Mac:
    """RFC 3566, section 4: a CBC-MAC whose last block is masked with one of two more keys."""
    derive = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 (3 subkeys)
    cipher = Cipher(algorithms.AES(derive(b"\x01" * _BLOCK)), modes.CBC(_EMPTY_BLOCK))
    whole = int.from_bytes(derive(b"\x02" * _BLOCK))
    padded = int.from_bytes(derive(b"\x03" * _BLOCK))

    def compute(message: bytes) -> bytes:
        start = (len(message) - 1) // _BLOCK * _BLOCK if message else 0
        last, mask = message[start:], whole
        if len(last) < _BLOCK:
            last, mask = (last + b"\x80").ljust(_BLOCK, b"\x00"), padded
        masked = (int.from_bytes(last) ^ mask).to_bytes(_BLOCK)
        return cipher.encryptor().update(message[:start] + masked)[-_BLOCK:][:octets]

    return compute
