"""Way: how the packets of one path leave, one by one or many in one call (UDP_SEGMENT)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ipsecme.dataplane.user.sockets import marked, segments, source
from ipsecme.wire.encap import NAT_KEEPALIVE, NON_ESP_MARKER

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from ipsecme.base import Path
    from ipsecme.dataplane.user.sockets import Ancillary, OuterSockets

__all__ = ["Way"]

_MOST_SEGMENTS = 64  # UDP_MAX_SEGMENTS of older kernels
_MOST_OCTETS = 65000  # in one call, below what a UDP datagram holds
_NO_SEGMENTATION = frozenset((errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP))


class Way:
    """Sends to the far end of a path, from its near end.

    What the system refuses is lost, as on any network; the sending methods return how much.
    """

    __slots__ = (
        "_ancillary",
        "_local",
        "_may_segment",
        "_raw",
        "_remote",
        "_udp",
        "is_encapsulated",
    )

    def __init__(self, path: Path, sockets: OuterSockets) -> None:
        side = sockets.side(path.local.address)
        self._udp: socket.socket | None = None if side is None else side.udp
        self._raw: socket.socket | None = None if side is None else side.raw
        self._local = path.local.address
        self._remote = path.remote
        is_wildcard = side is not None and side.address != path.local.address
        self._ancillary: Ancillary = [source(path.local.address)] if is_wildcard else []
        self._may_segment = True
        self.is_encapsulated = path.encapsulated

    def send_esp(self, packets: Sequence[bytes], traffic_class: int = 0) -> int:
        """Send ESP packets in their order; return how many the system refused."""
        ancillary = self._ancillary
        if traffic_class:
            ancillary = [*ancillary, marked(self._local, traffic_class)]
        if not self.is_encapsulated:
            return _send_singly(self._raw, packets, ancillary, (self._remote.address, 0))
        if len(packets) == 1 or not self._may_segment:
            return _send_singly(self._udp, packets, ancillary, self._remote)
        refused = 0
        for run in _runs(packets):
            refused += self._send_run(run, ancillary)
        return refused

    def send_ike(self, data: bytes) -> int:
        """Send an IKE message behind its marker, or a NAT-keepalive as it is."""
        packet = data if data == NAT_KEEPALIVE else NON_ESP_MARKER + data
        return _send_singly(self._udp, (packet,), self._ancillary, self._remote)

    def _send_run(self, run: Sequence[bytes], ancillary: Ancillary) -> int:
        """Send packets of one size, of which the last may be shorter."""
        if self._udp is None or len(run) == 1 or not self._may_segment:
            return _send_singly(self._udp, run, ancillary, self._remote)
        try:
            self._udp.sendmsg(run, [*ancillary, segments(len(run[0]))], 0, self._remote)
        except OSError as error:
            if error.errno not in _NO_SEGMENTATION:
                return len(run)
            # Too large for the path without fragments, or a device that cannot: never try again.
            self._may_segment = False
            return _send_singly(self._udp, run, ancillary, self._remote)
        return 0


def _send_singly(
    sock: socket.socket | None,
    packets: Sequence[bytes],
    ancillary: Ancillary,
    remote: tuple[str, int],
) -> int:
    if sock is None:
        return len(packets)
    refused = 0
    for packet in packets:
        try:
            sock.sendmsg((packet,), ancillary, 0, remote)
        except OSError:
            refused += 1
    return refused


def _runs(packets: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Split packets into runs that one call can send."""
    start, size, octets = 0, 0, 0
    for index, packet in enumerate(packets):
        length = len(packet)
        is_last_of_run = length < size
        if index == start:
            size, octets = length, length
            continue
        if length > size or octets + length > _MOST_OCTETS or index - start >= _MOST_SEGMENTS:
            yield packets[start:index]
            start, size, octets = index, length, length
            continue
        octets += length
        if is_last_of_run:
            yield packets[start : index + 1]
            start = index + 1
    if start < len(packets):
        yield packets[start:]
