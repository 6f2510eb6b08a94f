"""Who is let in: COOKIE and the limits of IKE SAs (RFC 7296, sections 2.6 and 5).

A cookie is Version | HMAC-SHA2-256(secret, Ni | IPi | SPIi): stateless, bound to whom it was given,
and void when the secret has been changed twice. It shows that an address is not forged, so what is
counted by network is refused only to those that have shown one: else anybody could use up the
share of a network that is not his.
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
    from ipsecme.ike.half_open import HalfOpen

__all__ = ["Admission", "Verdict"]

_SECRET_OCTETS = 32


class Verdict(enum.Enum):
    """What becomes of a first request; the value names the counter of those that do not get in."""

    ADMIT = "admitted"
    ASK_COOKIE = "cookies_asked"
    TOO_MANY_SAS = "dropped_ike_sa_limit"
    TOO_MANY_HALF_OPEN = "dropped_half_open_limit"
    TOO_MANY_FROM_PREFIX = "dropped_prefix_limit"


class Admission:
    """Judges first requests, from what the caller has counted."""

    __slots__ = ("_config", "_next_change", "_rng", "_secrets", "_version")

    def __init__(self, config: AdmissionConfig, rng: Rng) -> None:
        self._config = config
        self._rng = rng
        self._version = 0
        self._next_change = 0.0
        self._secrets: dict[int, Secret] = {}

    def judge(
        self, address: str, half_open: HalfOpen, ike_sas: int, *, has_cookie: bool
    ) -> Verdict:
        """Return what to do; `has_cookie` says that a valid cookie came along."""
        config = self._config
        if ike_sas >= config.ike_sa_limit:
            return Verdict.TOO_MANY_SAS
        if len(half_open) >= config.half_open_limit:
            return Verdict.TOO_MANY_HALF_OPEN
        near = half_open.near(address)
        if has_cookie:
            is_crowded = near >= config.half_open_per_prefix
            return Verdict.TOO_MANY_FROM_PREFIX if is_crowded else Verdict.ADMIT
        calm = len(half_open) < config.cookie_threshold
        quiet = near < config.cookie_threshold_per_prefix
        return Verdict.ADMIT if calm and quiet else Verdict.ASK_COOKIE

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
