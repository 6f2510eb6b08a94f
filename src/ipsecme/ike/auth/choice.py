"""Which of our credentials to use with a peer (RFC 7296, section 3.7; RFC 7427, section 4).

What a peer cannot verify is out of the question. All else is a matter of preference: CERTREQ is a
suggestion, and where none of our credentials fits it the first one is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ipsecme.crypto.signature import NoCommonScheme, require_scheme
from ipsecme.ike.auth.identity import mismatch
from ipsecme.ike.auth.presented import authorities_of, encodings_of, looks_up
from ipsecme.wire.numbers import CertEncoding

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from ipsecme.ike.auth.trust import Credential
    from ipsecme.ike.config import Identity
    from ipsecme.wire.ike import Payload
    from ipsecme.wire.numbers import HashId

__all__ = ["PeerWishes", "choose"]


@dataclass(slots=True, frozen=True)
class PeerWishes:
    """What the peer said that it verifies, and what it asks for.

    `authorities` are the SHA-1 of the keys that it trusts, `encodings` those of its CERTREQ, and
    `named` is whom it wants to speak to (IDr), where it says so. With `lookup` it follows URLs.
    """

    hashes: frozenset[HashId] = frozenset()
    authorities: frozenset[bytes] = frozenset()
    encodings: frozenset[CertEncoding] = frozenset()
    named: Identity | None = None
    lookup: bool = False

    def heard(self, payloads: Iterable[Payload], named: Identity | None = None) -> PeerWishes:
        """Return these wishes with what a message adds to them."""
        payloads = tuple(payloads)
        return replace(
            self,
            authorities=self.authorities | authorities_of(payloads),
            encodings=self.encodings | encodings_of(payloads),
            named=named or self.named,
            lookup=self.lookup or looks_up(payloads),
        )


def choose(
    credentials: Sequence[Credential], wishes: PeerWishes, wall: dt.datetime | None
) -> Credential:
    """Return the credential that fits best; among equals it is the first.

    `wall` is the time of day, if known. Raises `NoCommonScheme` when the peer verifies none.
    """
    usable: list[Credential] = []
    reasons: list[str] = []
    for credential in credentials:
        try:
            require_scheme(credential.key.public, wishes.hashes)
        except NoCommonScheme as error:
            reasons.append(str(error))
        else:
            usable.append(credential)
    if not usable:
        raise NoCommonScheme("; ".join(reasons) or "this end has no key to sign with")
    return max(usable, key=lambda credential: _fitness(credential, wishes, wall))


def _fitness(
    credential: Credential, wishes: PeerWishes, wall: dt.datetime | None
) -> tuple[bool, bool, bool]:
    """Return in descending order of weight what speaks for a credential."""
    own = credential.certificates[0] if credential.certificates else None
    in_time = own is None or wall is None or own.is_valid_at(wall)
    if own is None:
        asked = CertEncoding.RAW_PUBLIC_KEY in wishes.encodings
    else:
        asked = not wishes.authorities.isdisjoint(credential.authorities)
    named = wishes.named is not None and own is not None and mismatch(own, wishes.named) is None
    return in_time, asked, named
