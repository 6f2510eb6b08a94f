"""Certificates that a peer names by SHA-1 and URL (RFC 7296, section 3.6).

What a URL gives is fetched outside the engine, by a question that the exchange waits for. There is
one such question for an IKE SA, with few URLs in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ipsecme.crypto.certificate_bundle import Location, LocationUnfit, certificates_of
from ipsecme.ike.commands import FetchCertificates
from ipsecme.ike.failures import AuthenticationFailed
from ipsecme.wire.ike import CertPayload
from ipsecme.wire.numbers import CertEncoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.ike.config import Identity, PeerConfig
    from ipsecme.ike.context import ExchangeContext

__all__ = ["LOCATED", "location_payload", "resolved"]

_MOST_LOCATIONS = 4
_X509 = CertEncoding.X509_SIGNATURE
_ONE, _BUNDLE = CertEncoding.HASH_AND_URL_X509, CertEncoding.HASH_AND_URL_BUNDLE
LOCATED = frozenset({_ONE, _BUNDLE})
"""The encodings of CERT that say where something lies."""


def location_payload(location: Location) -> CertPayload:
    """Return the CERT payload that says where a certificate or a bundle lies."""
    return CertPayload(_BUNDLE if location.is_bundle else _ONE, location.encode())


def resolved(
    ctx: ExchangeContext, peer: PeerConfig, who: Identity, sent: Sequence[CertPayload]
) -> list[bytes]:
    """Return the peer's X.509 certificates in its order, also those that lie at a URL.

    Raises `AuthenticationFailed` when they are not to be had, and at first `Suspend`.
    """
    reach = peer.trust.lookup if peer.trust is not None else "off"
    if reach == "off":
        return [p.data for p in sent if p.encoding == _X509]
    counting = [p for p in sent if p.encoding == _X509 or p.encoding in LOCATED]
    located = [p for p in counting if p.encoding in LOCATED]
    if not located:
        return [p.data for p in counting]
    try:
        fetched = iter(_fetched(ctx, peer, reach, located))
    except LocationUnfit as error:
        raise AuthenticationFailed(f"the certificate of {who} was not found: {error}") from None
    parts = [next(fetched) if p.encoding in LOCATED else [p.data] for p in counting]
    return [der for part in parts for der in part]


def _fetched(
    ctx: ExchangeContext,
    peer: PeerConfig,
    reach: Literal["public", "any"],
    located: list[CertPayload],
) -> list[list[bytes]]:
    """Return the certificates at each location; raises `LocationUnfit`, and `Suspend` at first.

    A peer that called us is a stranger still: while there are many of them nothing is fetched.
    """
    if len(located) > _MOST_LOCATIONS:
        raise LocationUnfit(f"{len(located)} URLs; {_MOST_LOCATIONS} are followed")
    sa = ctx.sa
    if not sa.original_initiator and sa.services.is_besieged:
        raise LocationUnfit("nothing is fetched while so many IKE SAs are half open")
    locations = tuple(Location.decode(p.data, is_bundle=p.encoding == _BUNDLE) for p in located)
    name, remote = peer.name, ctx.path.remote.address
    contents = ctx.ask(
        "certificates", lambda number: FetchCertificates(number, name, remote, reach, locations)
    )
    if isinstance(contents, LocationUnfit):
        raise contents
    if not isinstance(contents, tuple) or len(contents) != len(locations):
        raise LocationUnfit("the lookup failed")
    return [certificates_of(*pair) for pair in zip(locations, contents, strict=True)]
