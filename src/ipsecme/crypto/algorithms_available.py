"""Which algorithms the installed library can compute: each doubtful one is tried, once.

A library without them is no error. OpenSSL in FIPS mode lacks the curves 25519 and 448 and
ChaCha20-Poly1305, BoringSSL lacks Curve448 and CMAC, and finite fields will go. AES in CBC, CTR and
GCM, HMAC and the NIST curves are taken for granted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from ipsecme.crypto.modp import BITS, IS_AVAILABLE
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ENCRYPTION_TRIALS",
    "INTEGRITY_TRIALS",
    "KEY_EXCHANGE_TRIALS",
    "PRF_TRIALS",
    "available",
]

_Row = TypeVar("_Row")

Trial = Callable[[], object]
"""Raises `UnsupportedAlgorithm` when the library lacks what it tries."""


def available(rows: Mapping[int, _Row], trials: Mapping[int, Trial]) -> dict[int, _Row]:
    """Return the rows without those whose trial fails; what has no trial stays."""
    return {number: row for number, row in rows.items() if _works(trials.get(number))}


def _works(trial: Trial | None) -> bool:
    try:
        return trial is None or trial() is not None
    except UnsupportedAlgorithm:
        return False


def _ccm() -> object:
    return AESCCM(bytes(16))


def _cmac() -> object:
    return CMAC(AES(bytes(16)))


def _modp() -> object:
    if not IS_AVAILABLE:
        raise UnsupportedAlgorithm("no finite fields")
    return True


ENCRYPTION_TRIALS: dict[int, Trial] = {
    EncrId.ENCR_AES_CCM_8: _ccm,
    EncrId.ENCR_AES_CCM_12: _ccm,
    EncrId.ENCR_AES_CCM_16: _ccm,
    EncrId.ENCR_CHACHA20_POLY1305: lambda: ChaCha20Poly1305(bytes(32)),
}
INTEGRITY_TRIALS: dict[int, Trial] = {IntegId.AUTH_AES_CMAC_96: _cmac}
PRF_TRIALS: dict[int, Trial] = {PrfId.PRF_AES128_CMAC: _cmac}
KEY_EXCHANGE_TRIALS: dict[int, Trial] = {
    KeId.CURVE25519: lambda: X25519PrivateKey.from_private_bytes(bytes(32)),
    KeId.CURVE448: lambda: X448PrivateKey.from_private_bytes(bytes(56)),
    **dict.fromkeys(map(int, BITS), _modp),
}
