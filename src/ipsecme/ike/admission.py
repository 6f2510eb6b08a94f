"""Who is let in: COOKIE and the limit of half-open IKE SAs (RFC 7296, section 2.6).

A cookie is Version | HMAC-SHA2-256(secret, Ni | IPi | SPIi): stateless, bound to whom it was given,
and void when the secret has been changed twice.
"""

from __future__ import annotations

import enum
import hmac
from typing import TYPE_CHECKING

from ipsecme.base import Secret, packed_address
from ipsecme.crypto.prf import prf
from ipsecme.wire.numbers import PrfId

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.ike.config import AdmissionConfig

__all__ = ["Admission", "Verdict"]

_SECRET_OCTETS = 32


class Verdict(enum.Enum):
    """What becomes of a first request."""

    ADMIT = "admit"
    ASK_COOKIE = "ask for a cookie"
    REFUSE = "refuse"


class Admission:
    """Decides from the number of half-open IKE SAs, which the caller counts."""

    __slots__ = ("_config", "_next_change", "_rng", "_secrets", "_version")

    def __init__(self, config: AdmissionConfig, rng: Rng) -> None:
        self._config = config
        self._rng = rng
        self._version = 0
        self._next_change = 0.0
        self._secrets: dict[int, Secret] = {}

    def judge(self, half_open: int, *, has_cookie: bool) -> Verdict:
        """Return what to do; `has_cookie` says that a valid cookie came along."""
        if half_open >= self._config.half_open_limit:
            return Verdict.REFUSE
        if half_open >= self._config.cookie_threshold and not has_cookie:
            return Verdict.ASK_COOKIE
        return Verdict.ADMIT

    def cookie(self, nonce: bytes, address: str, spi_i: bytes, now: float) -> bytes:
        """Return the cookie for a peer."""
        self._change_secret(now)
        return self._make(self._version, nonce, address, spi_i)

    def is_valid(self, cookie: bytes, nonce: bytes, address: str, spi_i: bytes, now: float) -> bool:
        """Compare with the cookie of the current secret, or of the one before it."""
        self._change_secret(now)
        if not cookie or cookie[0] not in self._secrets:
            return False
        return hmac.compare_digest(cookie, self._make(cookie[0], nonce, address, spi_i))

    def _make(self, version: int, nonce: bytes, address: str, spi_i: bytes) -> bytes:
        octets = nonce + packed_address(address) + spi_i
        secret = self._secrets[version].reveal()
        return bytes((version,)) + prf(PrfId.PRF_HMAC_SHA2_256, secret, octets)

    def _change_secret(self, now: float) -> None:
        """Make a new secret when the current one has served its time; keep one old one."""
        if self._secrets and now < self._next_change:
            return
        stale = bool(self._secrets) and now >= self._next_change + self._config.cookie_seconds
        kept = {} if stale or not self._secrets else {self._version: self._secrets[self._version]}
        self._version = (self._version + 1) % 256
        self._secrets = {**kept, self._version: Secret(self._rng.octets(_SECRET_OCTETS))}
        self._next_change = now + self._config.cookie_seconds
