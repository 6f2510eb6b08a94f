"""How long our own certificates are good, and a reminder each day when that is not long."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipsecme.crypto.certificate import Certificate
    from ipsecme.ike.config import PeerConfig

__all__ = ["SOON", "OwnDate", "Reminder", "date_complaint", "own_dates"]

SOON = dt.timedelta(days=14)
"""How long before the end of a certificate one should think of a new one."""

_BETWEEN = dt.timedelta(days=1)


class OwnDate(NamedTuple):
    """A certificate of ours and for which connection it is."""

    connection: str
    certificate: Certificate

    def days_left(self, at: dt.datetime) -> int:
        """Return how many whole days are left; less than nothing when it is over."""
        return (self.certificate.not_after - at).days


def own_dates(peers: Iterable[PeerConfig]) -> Iterator[OwnDate]:
    """Yield the certificates that we show, also those between ours and an authority."""
    for peer in peers:
        shown = (c for credential in peer.credentials for c in credential.certificates)
        for certificate in dict.fromkeys(shown):
            yield OwnDate(peer.name, certificate)


def date_complaint(certificate: Certificate, at: dt.datetime) -> str | None:
    """Say what is wrong with the dates of a certificate, or will soon be."""
    end = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if at > certificate.not_after:
        return f"the certificate {certificate} expired on {end}; renew it"
    if at < certificate.not_before:
        begin = f"{certificate.not_before:%Y-%m-%d %H:%M} UTC"
        return f"the certificate {certificate} is not valid before {begin}"
    if certificate.not_after - at < SOON:
        return f"the certificate {certificate} expires on {end}; renew it soon"
    return None


class Reminder:
    """Complains of the dates of our own certificates once a day, for the log."""

    def __init__(self, peers: Iterable[PeerConfig], at: dt.datetime) -> None:
        self._dates = tuple(own_dates(peers))
        self._next = at + _BETWEEN  # the configuration has just been complained of

    def due(self, at: dt.datetime) -> list[tuple[str, str]]:
        """Return connections and complaints, if it is time for them."""
        if at < self._next:
            return []
        self._next = at + _BETWEEN
        found = ((one.connection, date_complaint(one.certificate, at)) for one in self._dates)
        return [(name, text) for name, text in found if text is not None]
