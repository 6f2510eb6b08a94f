"""The status of a daemon for people: one block for each connection, readable in pipes too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ipsecme.cli.amounts import count, duration, octets
from ipsecme.cli.plain import plain
from ipsecme.cli.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipsecme.control import (
        ChildStatus,
        ConnectionStatus,
        IkeStatus,
        LastError,
        StatusReply,
    )

__all__ = ["show_status", "show_up"]

_STATE_STYLES = {"up": "bold green", "connecting": "bold yellow", "closing": "bold yellow"}
_NAT_WORDS = {
    "none": "none",
    "local": "we are behind one",
    "remote": "the peer is behind one",
    "both": "both ends are behind one",
}
_DROPPED = "dropped_"
ADMISSION_COUNTERS = (
    "cookies_asked",
    "dropped_half_open_limit",
    "dropped_prefix_limit",
    "dropped_ike_sa_limit",
    "dropped_identity_limit",
)


def show_status(reply: StatusReply, sheet: Sheet | None = None) -> None:
    """Print the daemon in a line and then its connections."""
    sheet = sheet or Sheet()
    up = sum(connection.state == "up" for connection in reply.connections)
    total = count(len(reply.connections), "connection")
    head = Text().append(f"ipsecme {plain(reply.version)}", style="bold")
    head.append(f"  pid {reply.pid}, running for {duration(reply.uptime)}, {up} of {total} up")
    sheet.head(head)
    _show_admission(reply, sheet)
    sheet.row("dropped", _drops(_dropped(reply.packet_counters)))
    for connection in reply.connections:
        sheet.gap()
        _show_connection(connection, sheet)


def _show_admission(reply: StatusReply, sheet: Sheet) -> None:
    """Print how full it is, when strangers are at the door or were turned away."""
    place, counters = reply.admission, reply.ike_counters
    if place.half_open:
        sheet.row("half-open", f"{count(place.half_open, 'IKE SA')} of {place.half_open_limit}")
    turned_away = {
        name.removeprefix(_DROPPED).replace("_", " "): counters[name]
        for name in ADMISSION_COUNTERS
        if counters.get(name)
    }
    if turned_away:
        sheet.row("refused", ", ".join(f"{n} {words}" for words, n in turned_away.items()))


def _show_connection(connection: ConnectionStatus, sheet: Sheet) -> None:
    """Print the block of one connection."""
    head = Text().append(plain(connection.name), style="bold")
    head.append(f"  {connection.state}", style=_STATE_STYLES.get(connection.state, "bold red"))
    established = [sa.established for sa in connection.ike_sas if sa.established is not None]
    if connection.state == "up" and established:
        head.append(f" for {duration(max(established))}")
    elif connection.wanted and connection.state == "down":
        head.append(", the daemon tries again by itself")
    sheet.head(head)
    for sa in connection.ike_sas:
        _show_ike_sa(sa, sheet)
    if connection.rekeys.ike or connection.rekeys.child:
        rekeys = connection.rekeys
        sheet.row("rekeyed", f"IKE SA {rekeys.ike} x, Child SAs {rekeys.child} x")
    if connection.ike_sas:
        sheet.row("last heard", _ago(connection.last_packet_in))
    if connection.last_error:
        _show_error(connection.last_error, sheet)
    for sa in connection.ike_sas:
        for child in sa.children:
            _show_child_sa(child, sheet)


def show_up(name: str, connection: ConnectionStatus | None, seconds: float) -> None:
    """Print what came up."""
    sheet = Sheet()
    head = Text().append(plain(name), style="bold").append("  up", style="bold green")
    sheet.head(head.append(f" after {duration(seconds)}"))
    for sa in connection.ike_sas if connection else ():
        sheet.row("remote", _end(sa.remote_id, sa.remote))
        sheet.row("ike", sa.suite)
        _show_assigned(sa, sheet)
        for child in sa.children:
            sheet.row("child", child.name)
            sheet.row("traffic", _selectors(child), indent=4)
            sheet.row("esp", _esp(child), indent=4)


def _show_error(error: LastError, sheet: Sheet) -> None:
    """Print what went wrong last and what to try."""
    text = Text().append(plain(error.reason.replace("_", " ")), style="red")
    text.append(f", {_ago(error.seconds_ago)}")
    if error.detail:
        text.append(f": {plain(error.detail)}")
    sheet.row("last error", text)
    sheet.row("try", error.hint, style="yellow")


def _show_ike_sa(sa: IkeStatus, sheet: Sheet) -> None:
    if sa.state != "established":
        sheet.row("state", sa.state)
    sheet.row("local", _end(sa.local_id, sa.local))
    sheet.row("remote", _end(sa.remote_id, sa.remote))
    sheet.row("nat", _NAT_WORDS.get(sa.nat, sa.nat))
    role = "initiator" if sa.initiator else "responder"
    sheet.row("ike", f"{sa.suite}, {role}" if sa.suite else role)
    sheet.row("spi", f"{sa.spi_i} initiator, {sa.spi_r} responder")
    sheet.row("rekey", _lifetime(sa.rekey_in, sa.expires_in))
    sheet.row("leased", ", ".join(sa.leased))
    _show_assigned(sa, sheet)


def _show_assigned(sa: IkeStatus, sheet: Sheet) -> None:
    """Print what the peer has configured for us."""
    sheet.row("assigned", ", ".join(sa.assigned))
    sheet.row("dns", ", ".join(sa.dns))
    sheet.row("networks", ", ".join(sa.networks))
    sheet.row("peer runs", sa.peer_version)


def _end(identity: str, address: str) -> str:
    """Return an end of the IKE SA; an identity that is the address is not said twice."""
    host = address.rpartition(":")[0].strip("[]")
    return address if identity in ("", host) else f"{identity} at {address}"


def _show_child_sa(child: ChildStatus, sheet: Sheet) -> None:
    head = Text("child ").append(plain(child.name), style="bold")
    is_fine = child.state == "installed"
    head.append(f"  {plain(child.state)}", style="green" if is_fine else "yellow")
    head.append(f" for {duration(child.age)}")
    sheet.head(head, indent=2)
    sheet.row("traffic", _selectors(child), indent=4)
    sheet.row("esp", _esp(child), indent=4)
    sheet.row("spi", f"{child.inbound_spi} in, {child.outbound_spi} out", indent=4)
    sheet.row("rekey", _lifetime(child.rekey_in, child.expires_in), indent=4)
    last = "" if child.last_packet_in is None else f", last {_ago(child.last_packet_in)}"
    received = f"{octets(child.bytes_in)} in {count(child.packets_in, 'packet')}{last}"
    sheet.row("received", received, indent=4)
    sheet.row(
        "sent", f"{octets(child.bytes_out)} in {count(child.packets_out, 'packet')}", indent=4
    )
    sheet.row("dropped", _drops(child.drops), indent=4)


def _selectors(child: ChildStatus) -> str:
    return f"{', '.join(child.local_ts)} <-> {', '.join(child.remote_ts)}"


def _esp(child: ChildStatus) -> str:
    return f"{child.suite}, {child.mode} mode{', in UDP' if child.encapsulated else ''}"


def _lifetime(rekey_in: float | None, expires_in: float | None) -> str:
    parts = []
    if rekey_in is not None:
        parts.append(f"in {duration(rekey_in)}" if rekey_in > 0 else "now")
    if expires_in is not None:
        parts.append(f"expires in {duration(expires_in)}")
    return ", ".join(parts)


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{duration(seconds)} ago"


def _dropped(counters: Mapping[str, int]) -> dict[str, int]:
    return {
        name.removeprefix(_DROPPED): number
        for name, number in counters.items()
        if name.startswith(_DROPPED)
    }


def _drops(drops: Mapping[str, int]) -> Text:
    parts = [
        f"{number:,} {plain(name.replace('_', ' '))}" for name, number in drops.items() if number
    ]
    return Text(", ".join(parts), style="yellow")
