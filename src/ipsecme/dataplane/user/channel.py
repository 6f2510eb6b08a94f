"""The messages between the IKE process and the packet process, as octets.

They travel over a socketpair of SOCK_SEQPACKET, one message each. Owns the codec; who answers what
is in `client` and `loop`. The first octet is the kind; the fields are in `fields`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import MalformedMessage, Reader, Writer
from ipsecme.dataplane.user.fields import (
    read_pair,
    read_path,
    read_sa_counters,
    read_text,
    read_totals,
    write_pair,
    write_path,
    write_sa_counters,
    write_text,
    write_totals,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.base import Path
    from ipsecme.esp import SaCounters, Totals
    from ipsecme.policy.parameters import SaPair

__all__ = [
    "MAX_MESSAGE",
    "SAS_IN_PART",
    "AskCounters",
    "CountersPart",
    "Expiring",
    "Install",
    "Installed",
    "Message",
    "Ready",
    "ReceivedIke",
    "Refused",
    "Remove",
    "Retire",
    "SendIke",
    "UnknownSpi",
    "UpdatePath",
    "decode",
    "encode",
]

MAX_MESSAGE = 1 << 17
"""Octets of the longest message: a UDP datagram and its path are well within it."""

SAS_IN_PART = 128
"""SAs whose counters one `CountersPart` holds at most."""


class Install(NamedTuple):
    """To the packet process: install a pair and answer with `Installed`."""

    number: int
    pair: SaPair


class UpdatePath(NamedTuple):
    """To the packet process."""

    spi: int
    path: Path


class Retire(NamedTuple):
    """To the packet process."""

    spi: int


class Remove(NamedTuple):
    """To the packet process."""

    spi: int


class SendIke(NamedTuple):
    """To the packet process: send an IKE message, or a NAT-keepalive."""

    path: Path
    data: bytes


class AskCounters(NamedTuple):
    """To the packet process: answer with `CountersPart`s of this number."""

    number: int


class Ready(NamedTuple):
    """From the packet process: it has its device and sockets."""


class Refused(NamedTuple):
    """From the packet process: it cannot work and ends."""

    text: str


class Installed(NamedTuple):
    """From the packet process: an installation is done, or failed with an error class and text."""

    number: int
    error: str
    text: str


class ReceivedIke(NamedTuple):
    """From the packet process: an IKE message, marker taken off."""

    path: Path
    data: bytes


class Expiring(NamedTuple):
    """From the packet process: a pair's sequence numbers run out."""

    spi: int


class UnknownSpi(NamedTuple):
    """From the packet process: ESP came on an SPI that no pair has."""

    spi: int
    path: Path


class CountersPart(NamedTuple):
    """From the packet process: some SAs; the part with totals is the last of its number."""

    number: int
    sas: tuple[SaCounters, ...]
    totals: Totals | None


Message = (
    Install
    | UpdatePath
    | Retire
    | Remove
    | SendIke
    | AskCounters
    | Ready
    | Refused
    | Installed
    | ReceivedIke
    | Expiring
    | UnknownSpi
    | CountersPart
)


def encode(message: Message) -> bytes:
    """Return the octets of a message."""
    writer = Writer()
    writer.uint8(_KINDS[type(message)])
    match message:
        case Install(number, pair):
            writer.uint32(number)
            write_pair(writer, pair)
        case UpdatePath(spi, path) | UnknownSpi(spi, path):
            writer.uint32(spi)
            write_path(writer, path)
        case Retire(spi) | Remove(spi) | Expiring(spi):
            writer.uint32(spi)
        case SendIke(path, data) | ReceivedIke(path, data):
            write_path(writer, path)
            writer.raw(data)
        case AskCounters(number):
            writer.uint32(number)
        case Refused(text):
            write_text(writer, text)
        case Installed(number, error, text):
            writer.uint32(number)
            write_text(writer, error)
            write_text(writer, text)
        case CountersPart(number, sas, totals):
            writer.uint32(number)
            writer.uint16(len(sas))
            for sa in sas:
                write_sa_counters(writer, sa)
            writer.uint8(totals is not None)
            if totals is not None:
                write_totals(writer, totals)
    return writer.getvalue()


def decode(octets: bytes) -> Message:
    """Return the message; raises `MalformedMessage`."""
    reader = Reader(octets)
    decoder = _DECODERS.get(reader.uint8())
    if decoder is None:
        raise MalformedMessage("a message of unknown kind on the channel")
    try:
        message = decoder(reader)
    except ValueError as error:
        raise MalformedMessage(f"a bad value on the channel: {error}") from None
    reader.finish()
    return message


def _read_counters_part(r: Reader) -> CountersPart:
    number = r.uint32()
    sas = tuple(read_sa_counters(r) for _ in range(r.uint16()))
    return CountersPart(number, sas, read_totals(r) if r.uint8() else None)


_DECODERS: dict[int, Callable[[Reader], Message]] = {
    1: lambda r: Install(r.uint32(), read_pair(r)),
    2: lambda r: UpdatePath(r.uint32(), read_path(r)),
    3: lambda r: Retire(r.uint32()),
    4: lambda r: Remove(r.uint32()),
    5: lambda r: SendIke(read_path(r), r.rest()),
    6: lambda r: AskCounters(r.uint32()),
    7: lambda _: Ready(),
    8: lambda r: Refused(read_text(r)),
    9: lambda r: Installed(r.uint32(), read_text(r), read_text(r)),
    10: lambda r: ReceivedIke(read_path(r), r.rest()),
    11: lambda r: Expiring(r.uint32()),
    12: _read_counters_part,
    13: lambda r: UnknownSpi(r.uint32(), read_path(r)),
}
_KINDS: dict[type, int] = {
    Install: 1,
    UpdatePath: 2,
    Retire: 3,
    Remove: 4,
    SendIke: 5,
    AskCounters: 6,
    Ready: 7,
    Refused: 8,
    Installed: 9,
    ReceivedIke: 10,
    Expiring: 11,
    CountersPart: 12,
    UnknownSpi: 13,
}
