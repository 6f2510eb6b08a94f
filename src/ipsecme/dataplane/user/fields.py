"""The fields of channel messages: how values become octets and values again.

Integers are big-endian; texts and octets of variable size follow their 16-bit length.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage, Path, Reader, Secret, Transport, Writer, packed_address
from ipsecme.crypto.suite import EspSuite
from ipsecme.esp import DropReason, SaCounters, Totals
from ipsecme.policy.parameters import Mode, OriginalAddresses, SaHalf, SaPair
from ipsecme.wire.ike import TrafficSelector
from ipsecme.wire.numbers import EncrId, IntegId, KeId

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "read_pair",
    "read_path",
    "read_sa_counters",
    "read_text",
    "read_totals",
    "write_pair",
    "write_path",
    "write_sa_counters",
    "write_text",
    "write_totals",
]

_MODES = tuple(Mode)
_double = struct.Struct(">d")


def write_text(writer: Writer, text: str) -> None:
    """Append a text, cut at 1024 octets."""
    octets = text.encode()[:1024]
    writer.uint16(len(octets))
    writer.raw(octets)


def read_text(reader: Reader) -> str:
    """Read a text."""
    return reader.take(reader.uint16()).decode(errors="replace")


def _write_octets(writer: Writer, octets: bytes) -> None:
    writer.uint16(len(octets))
    writer.raw(octets)


def _read_octets(reader: Reader) -> bytes:
    return reader.take(reader.uint16())


def write_path(writer: Writer, path: Path) -> None:
    """Append both ends of a path and whether it is encapsulated."""
    for end in (path.local, path.remote):
        address = _packed(end.address)
        writer.uint8(len(address))
        writer.raw(address)
        writer.uint16(end.port)
    writer.uint8(path.encapsulated)


def read_path(reader: Reader) -> Path:
    """Read a path."""
    local, remote = _read_transport(reader), _read_transport(reader)
    return Path(local, remote, bool(reader.uint8()))


def _read_transport(reader: Reader) -> Transport:
    address = reader.take(reader.uint8())
    # The general way is slow, and a flood of IKE messages passes here.
    if len(address) == 4:
        return Transport(socket.inet_ntoa(address), reader.uint16())
    return Transport(str(ipaddress.ip_address(address)), reader.uint16())


def _packed(address: str) -> bytes:
    if ":" not in address:
        return socket.inet_aton(address)
    return packed_address(address)  # knows the scope that link-local addresses come with


def _write_half(writer: Writer, half: SaHalf) -> None:
    writer.uint32(half.spi)
    _write_octets(writer, half.encryption_key.reveal())
    _write_octets(writer, half.integrity_key.reveal())


def _read_half(reader: Reader) -> SaHalf:
    return SaHalf(reader.uint32(), Secret(_read_octets(reader)), Secret(_read_octets(reader)))


def _write_suite(writer: Writer, suite: EspSuite) -> None:
    for value in (suite.encr, suite.key_bits, suite.integ, suite.esn, suite.ke):
        writer.uint16(value)


def _read_suite(reader: Reader) -> EspSuite:
    encr, key_bits = EncrId.of(reader.uint16()), reader.uint16()
    integ, esn = IntegId.of(reader.uint16()), bool(reader.uint16())
    return EspSuite(encr, key_bits, integ, esn, KeId.of(reader.uint16()))


def _write_selectors(writer: Writer, selectors: tuple[TrafficSelector, ...]) -> None:
    writer.uint16(len(selectors))
    for selector in selectors:
        writer.uint8(selector.protocol)
        writer.uint16(selector.start_port)
        writer.uint16(selector.end_port)
        _write_octets(writer, selector.start)
        _write_octets(writer, selector.end)


def _read_selectors(reader: Reader) -> tuple[TrafficSelector, ...]:
    return tuple(
        TrafficSelector(
            reader.uint8(),
            reader.uint16(),
            reader.uint16(),
            _read_octets(reader),
            _read_octets(reader),
        )
        for _ in range(reader.uint16())
    )


def write_pair(writer: Writer, pair: SaPair) -> None:
    """Append an SA pair with its keys."""
    write_text(writer, pair.connection)
    write_text(writer, pair.child)
    _write_half(writer, pair.inbound)
    _write_half(writer, pair.outbound)
    _write_suite(writer, pair.suite)
    writer.uint8(_MODES.index(pair.mode))
    _write_selectors(writer, pair.local_ts)
    _write_selectors(writer, pair.remote_ts)
    write_path(writer, pair.path)
    writer.uint32(pair.replaces or 0)  # no SPI is zero
    writer.uint8(pair.outbound_ready)
    writer.uint32(pair.replay_window)
    writer.uint8(len(pair.own_addresses))
    for address in pair.own_addresses:
        _write_octets(writer, address)
    for address in pair.original or (b"", b""):
        _write_octets(writer, address)


def read_pair(reader: Reader) -> SaPair:
    """Read an SA pair."""
    connection, child = read_text(reader), read_text(reader)
    inbound, outbound = _read_half(reader), _read_half(reader)
    suite, mode = _read_suite(reader), reader.uint8()
    if mode >= len(_MODES):
        raise MalformedMessage(f"SA mode {mode} on the channel")
    return SaPair(
        connection,
        child,
        inbound,
        outbound,
        suite,
        _MODES[mode],
        _read_selectors(reader),
        _read_selectors(reader),
        read_path(reader),
        reader.uint32() or None,
        bool(reader.uint8()),
        reader.uint32(),
        tuple(_read_octets(reader) for _ in range(reader.uint8())),
        original=_read_original(reader),
    )


def _read_original(reader: Reader) -> OriginalAddresses | None:
    source, destination = _read_octets(reader), _read_octets(reader)
    return OriginalAddresses(source, destination) if source else None


def _write_counts(writer: Writer, *counts: int) -> None:
    for count in counts:
        writer.raw(count.to_bytes(8))


def _write_drops(writer: Writer, drops: Mapping[DropReason, int]) -> None:
    writer.uint8(len(drops))
    for reason, count in drops.items():
        writer.uint8(reason)
        _write_counts(writer, count)


def _read_count(reader: Reader) -> int:
    return int.from_bytes(reader.take(8))


def _read_drops(reader: Reader) -> dict[DropReason, int]:
    return {DropReason.of(reader.uint8()): _read_count(reader) for _ in range(reader.uint8())}


def write_sa_counters(writer: Writer, sa: SaCounters) -> None:
    """Append the counters of one SA."""
    writer.uint32(sa.spi)
    _write_counts(writer, sa.packets_in, sa.octets_in, sa.packets_out, sa.octets_out)
    # Monotonic time is the machine's, so both processes read the same clock; it is never negative.
    writer.raw(_double.pack(-1.0 if sa.last_inbound is None else sa.last_inbound))
    _write_drops(writer, sa.drops)


def read_sa_counters(reader: Reader) -> SaCounters:
    """Read the counters of one SA."""
    spi = reader.uint32()
    counts = [_read_count(reader) for _ in range(4)]
    last: float = _double.unpack(reader.take(8))[0]
    return SaCounters(
        spi,
        packets_in=counts[0],
        octets_in=counts[1],
        packets_out=counts[2],
        octets_out=counts[3],
        last_inbound=None if last < 0 else last,
        drops=_read_drops(reader),
    )


def write_totals(writer: Writer, totals: Totals) -> None:
    """Append the totals."""
    _write_counts(
        writer, totals.packets_in, totals.octets_in, totals.packets_out, totals.octets_out
    )
    _write_drops(writer, totals.drops)


def read_totals(reader: Reader) -> Totals:
    """Read the totals."""
    counts = [_read_count(reader) for _ in range(4)]
    return Totals(
        packets_in=counts[0],
        octets_in=counts[1],
        packets_out=counts[2],
        octets_out=counts[3],
        drops=_read_drops(reader),
    )
