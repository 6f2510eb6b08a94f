"""The cryptography of one SA half: its sizes, and the sealer or opener for its suite.

Works on what framing left over: a sealer takes payload with trailer and a sequence number and
returns the ESP packet, an opener takes the ESP packet and its full sequence number and returns
payload with trailer. Sequence numbers, windows and trailers are decided elsewhere. Combined-mode
ciphers are in `transform_aead`, ciphers with an integrity algorithm in `transform_mac`.

Where the IV must only be different each time it is the sequence number, which never repeats under
one key. Sealers and openers are closures over their keys, because a packet costs microseconds here:
a closure's variables are the cheapest that Python has, and it cannot be copied or pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import Incompatible, LocalMisuse
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY
from ipsecme.esp import transform_aead, transform_mac
from ipsecme.wire.esp import HEADER_OCTETS, TRAILER_OCTETS
from ipsecme.wire.numbers import EncrId

if TYPE_CHECKING:
    from ipsecme.base import Rng
    from ipsecme.crypto.suite import EspSuite
    from ipsecme.policy.parameters import SaHalf

__all__ = ["Opener", "Sealer", "Sizes", "opener", "sealer", "sizes"]

Sealer = Callable[[bytes, int], bytes]
"""Takes payload with trailer and the sequence number, returns the ESP packet."""

Opener = Callable[[bytes, int], "bytes | None"]
"""Takes an ESP packet of legal length and its sequence number; None when the ICV does not fit."""


class Sizes(NamedTuple):
    """Sizes in octets that follow from a suite.

    `alignment` is what payload and trailer together are padded to, `least` the shortest legal ESP
    packet, `overhead` what surrounds payload and trailer.
    """

    iv: int
    icv: int
    alignment: int
    block: int
    least: int

    @property
    def overhead(self) -> int:
        """Octets of header, IV and ICV."""
        return HEADER_OCTETS + self.iv + self.icv


def sizes(suite: EspSuite) -> Sizes:
    """Return the sizes; raises `Incompatible` for a suite that ESP here cannot do."""
    row = ENCRYPTION.get(suite.encr)
    if row is None or suite.key_bits not in row.key_bits:
        raise Incompatible(f"ESP with {suite.encr.name} and a key of {suite.key_bits} bits")
    if row.is_aead:
        if suite.integ:
            raise Incompatible(f"ESP with {suite.encr.name} and {suite.integ.name} besides")
        icv = row.icv
    else:
        if suite.integ not in INTEGRITY:
            # Encryption without integrity is not protection (RFC 8221, section 4).
            raise Incompatible(f"ESP with {suite.encr.name} and integrity {suite.integ.name}")
        icv = INTEGRITY[suite.integ].icv
    least_plain = max(row.block, TRAILER_OCTETS)
    alignment = max(row.block, 4)
    return Sizes(row.iv, icv, alignment, row.block, HEADER_OCTETS + row.iv + least_plain + icv)


def sealer(suite: EspSuite, half: SaHalf, rng: Rng) -> Sealer:
    """Return the sealer for one SA half. `rng` gives CBC its unpredictable IVs."""
    _check_keys(suite, half)
    if suite.encr == EncrId.ENCR_NULL_AUTH_AES_GMAC:
        return transform_aead.gmac_sealer(suite, half)
    if ENCRYPTION[suite.encr].is_aead:
        return transform_aead.aead_sealer(suite, half)
    return transform_mac.mac_sealer(suite, half, rng)


def opener(suite: EspSuite, half: SaHalf) -> Opener:
    """Return the opener for one SA half."""
    _check_keys(suite, half)
    if suite.encr == EncrId.ENCR_NULL_AUTH_AES_GMAC:
        return transform_aead.gmac_opener(suite, half)
    if ENCRYPTION[suite.encr].is_aead:
        return transform_aead.aead_opener(suite, half)
    return transform_mac.mac_opener(suite, half)


def _check_keys(suite: EspSuite, half: SaHalf) -> None:
    sizes(suite)
    if len(half.encryption_key) != suite.encryption_key_octets:
        raise LocalMisuse(
            f"{len(half.encryption_key)} octets of encryption key; {suite} takes "
            f"{suite.encryption_key_octets}"
        )
    if len(half.integrity_key) != suite.integrity_key_octets:
        raise LocalMisuse(
            f"{len(half.integrity_key)} octets of integrity key; {suite} takes "
            f"{suite.integrity_key_octets}"
        )
