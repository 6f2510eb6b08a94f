"""Each engine event as one log line: a stable name, a level, a sentence, and fields.

The names are the events' in snake case and do not change. No field ever holds a secret.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from ipsecme.daemon.hints import hint
from ipsecme.ike import events

__all__ = ["Line", "event_name", "tell"]

Fields = dict[str, object]

# Ends of SAs that somebody wanted; others are worth a warning.
_WANTED = frozenset({"deleted", "deleted_by_peer", "replaced", "rekeyed", "ike_sa_closed"})


class Line(NamedTuple):
    """A log line before it is rendered; `level` is ``info`` or ``warning``."""

    level: str
    name: str
    text: str
    fields: Fields


def event_name(event: events.Event) -> str:
    """Return ``ike_sa_established`` for `IkeSaEstablished`."""
    return _snake(type(event).__name__)


@functools.cache
def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def tell(event: events.Event) -> Line:
    """Return the line for an event."""
    level, text, fields = _tell(event)
    known = {key: value for key, value in fields.items() if value not in ("", None)}
    return Line(level, event_name(event), text, {"connection": event.connection, **known})


def _tell(event: events.Event) -> tuple[str, str, Fields]:
    match event:
        case events.IkeSaEstablished():
            return "info", f"IKE SA with {event.peer_identity} at {event.path.remote}", {
                "ike_spi": event.ike_spi,
                "role": _role(initiator=event.initiator),
                "local": str(event.path.local),
                "remote": str(event.path.remote),
                "peer": event.peer_identity,
                "suite": str(event.suite),
                "nat": event.nat,
            }  # fmt: skip
        case events.IkeSaFailed():
            return "warning", f"no IKE SA with {event.path.remote}: {event.detail}", {
                "ike_spi": event.ike_spi,
                "role": _role(initiator=event.initiator),
                "remote": str(event.path.remote),
                **_failure(event.reason),
            }  # fmt: skip
        case events.IkeSaRekeyed():
            return "info", "new keys for the IKE SA", {
                "ike_spi": event.ike_spi,
                "replaces": event.old_ike_spi,
                "role": _role(initiator=event.initiator),
                "suite": str(event.suite),
            }  # fmt: skip
        case events.IkeSaClosed():
            level, fields = _ending(event.reason)
            text = f"IKE SA ended: {event.detail or event.reason}"
            return level, text, {"ike_spi": event.ike_spi, **fields}
        case events.CertificateOutOfDate():
            return "warning", _tell_date(event), {"ike_spi": event.ike_spi}
        case events.PathChanged():
            return _tell_move(event)
        case events.AddressesLeased():
            addresses = _list(event.addresses)
            return "info", f"{event.peer_identity or 'the peer'} has {addresses} from us", {
                "ike_spi": event.ike_spi,
                "peer": event.peer_identity,
                "addresses": addresses,
            }  # fmt: skip
        case events.AddressesAssigned():
            addresses = _list(event.addresses)
            return "info", f"the peer has assigned {addresses} to us", {
                "ike_spi": event.ike_spi,
                "addresses": addresses,
                "dns": _list(event.dns),
            }  # fmt: skip
        case events.IkeKeysDerived():
            return "warning", "the keys of the IKE SA are written to the key log", {
                "spi_i": event.spi_i.hex(),
                "spi_r": event.spi_r.hex(),
            }  # fmt: skip
        case _:
            return _tell_child(event)


def _tell_date(event: events.CertificateOutOfDate) -> str:
    return (
        f"we prove ourselves with the certificate {event.certificate}, which is valid from "
        f"{event.not_before:%Y-%m-%d %H:%M} to {event.not_after:%Y-%m-%d %H:%M} UTC, not now; "
        "renew it"
    )


def _tell_move(event: events.PathChanged) -> tuple[str, str, Fields]:
    """Say which end is elsewhere; when both are, the peer's is the news."""
    who, old, new = "the peer is", event.old.remote, event.new.remote
    if old == new:
        who, old, new = "we are", event.old.local, event.new.local
    fields: Fields = {"ike_spi": event.ike_spi, "old": str(old), "new": str(new)}
    return "info", f"{who} now at {new}", fields


ChildEvent = events.ChildSaCreated | events.ChildSaFailed | events.ChildSaClosed


def _tell_child(event: ChildEvent) -> tuple[str, str, Fields]:
    common: Fields = {"child": event.child, "ike_spi": event.ike_spi}
    match event:
        case events.ChildSaCreated():
            verb = "carries" if event.replaces is None else "has new keys for"
            text = f"Child SA {verb} {_list(event.local_ts)} to {_list(event.remote_ts)}"
            return "info", text, {
                **common,
                "inbound_spi": spi_text(event.inbound_spi),
                "outbound_spi": spi_text(event.outbound_spi),
                "role": _role(initiator=event.initiator),
                "suite": str(event.suite),
                "local_ts": _list(event.local_ts),
                "remote_ts": _list(event.remote_ts),
                "replaces": None if event.replaces is None else spi_text(event.replaces),
            }  # fmt: skip
        case events.ChildSaFailed():
            return "warning", f"no Child SA: {event.detail}", {**common, **_failure(event.reason)}
        case events.ChildSaClosed():
            level, fields = _ending(event.reason)
            spi = spi_text(event.inbound_spi)
            return level, f"Child SA ended: {event.reason}", {
                **common, "inbound_spi": spi, **fields,
            }  # fmt: skip


def spi_text(spi: int) -> str:
    """Return an ESP SPI as people compare it with captures."""
    return f"0x{spi:08x}"


def _role(*, initiator: bool) -> str:
    return "initiator" if initiator else "responder"


def _list(texts: tuple[str, ...]) -> str:
    return ", ".join(texts)


def _failure(reason: str) -> Fields:
    return {"reason": reason, "try": hint(reason)}


def _ending(reason: str) -> tuple[str, Fields]:
    if reason in _WANTED:
        return "info", {"reason": reason}
    return "warning", _failure(reason)
