"""The packet loop: one thread, one epoll, batches from every descriptor until it is empty.

Owns the order of reading and writing. Cryptography and policy are the engine's, the sockets'
details `sockets`' and `way`'s, control requests `control`'s. Nothing that the network or the device
does is fatal: what is refused is counted.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import TYPE_CHECKING

from ipsecme.base import Path, Transport
from ipsecme.dataplane.user.sockets import ANCILLARY_OCTETS, arrival
from ipsecme.esp import DropReason
from ipsecme.wire.encap import NON_ESP_MARKER, is_ike, is_keepalive

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.dataplane.user.control import Control
    from ipsecme.dataplane.user.sockets import Ancillary, OuterSockets
    from ipsecme.esp import Processor

__all__ = ["PacketLoop"]

_BATCH = 64  # packets or calls for one descriptor before the others have their turn
_COALESCED_COST = 4  # as many packets in one call count as one call more
_LARGEST_DATAGRAM = 65535
_IPV4_TRAFFIC_CLASS = 1  # its offset
_IPV4_DESTINATION = slice(16, 20)
_IKE_PORT = 500


class PacketLoop:
    """Moves packets until `stop`, from `serve` on under the orders of a `Control`.

    `tun` is the device's descriptor, `largest_packet` what one read from it takes.
    """

    def __init__(
        self,
        processor: Processor,
        tun: int,
        largest_packet: int,
        sockets: OuterSockets,
    ) -> None:
        self._processor = processor
        self._tun = tun
        self._largest_packet = largest_packet
        self._sockets = sockets
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self._is_stopping = False
        self._control: Control

    def serve(self, control: Control, channel: int) -> None:
        """Take orders from a channel; only then are there ways for packets to leave."""
        self._control = control
        self.watch(channel, control.on_readable)
        self.watch(self._tun, self._on_tun)
        for side in self._sockets.sides:
            self._watch_udp(side.udp)
            self._watch_raw(side.raw)

    def watch(self, descriptor: int, handler: Callable[[], None]) -> None:
        """Call `handler` whenever there is something to read, from now on."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, select.EPOLLIN)

    def want_write(self, descriptor: int, handler: Callable[[], None] | None) -> None:
        """Call `handler`, too, while there is room to write to a watched descriptor; None ends it.

        It is called after the one for reading, in each turn.
        """
        if handler is None:
            self._writers.pop(descriptor, None)
            self._epoll.modify(descriptor, select.EPOLLIN)
        else:
            self._writers[descriptor] = handler
            self._epoll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)

    def run(self) -> None:
        """Serve all descriptors until `stop` was called."""
        handlers, poll = self._handlers, self._epoll.poll
        while not self._is_stopping:
            for descriptor, events in poll():
                if events & ~select.EPOLLOUT:
                    handlers[descriptor]()
                if events & select.EPOLLOUT and descriptor in self._writers:
                    self._writers[descriptor]()

    def stop(self) -> None:
        """Have `run` return."""
        self._is_stopping = True

    def close(self) -> None:
        """Release what the loop holds."""
        self._epoll.close()

    # outbound

    def _on_tun(self) -> None:
        packets: list[bytes] = []
        append, read, tun, size = packets.append, os.read, self._tun, self._largest_packet
        try:
            for _ in range(_BATCH):
                append(read(tun, size))
        except BlockingIOError:
            pass
        except OSError:
            self._processor.note_drop(DropReason.DELIVERY_REFUSED)
        for sa in self._processor.outbound_batch(packets):
            way = self._control.way(sa.pair.spi)
            for traffic_class, sealed in sa.take():
                refused = way.send_esp(sealed, traffic_class)
                if refused:
                    self._processor.note_drop(DropReason.SEND_REFUSED, refused)
        while self._processor.expiring:
            self._control.expiring(self._processor.expiring.pop())

    # inbound

    def _watch_udp(self, sock: socket.socket) -> None:
        address, port = sock.getsockname()[:2]
        self.watch(sock.fileno(), lambda: self._on_udp(sock, address, port))

    def _watch_raw(self, sock: socket.socket) -> None:
        self.watch(sock.fileno(), lambda: self._on_raw(sock))

    def _on_udp(self, sock: socket.socket, address: str, port: int) -> None:
        receive = sock.recvmsg
        left = _BATCH
        while left > 0:
            left -= 1
            try:
                data, ancillary, _, sender = receive(_LARGEST_DATAGRAM, ANCILLARY_OCTETS)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error about something sent earlier
            about = arrival(ancillary)
            step = about.segment
            if 0 < step < len(data):
                packets = [data[at : at + step] for at in range(0, len(data), step)]
                left -= len(packets) // _COALESCED_COST
            else:
                packets = [data]
            strangers = self._open(packets, about.traffic_class)
            if strangers:
                self._sort(strangers, Transport(about.local or address, port), sender[:2])

    def _on_raw(self, sock: socket.socket) -> None:
        has_header = sock.family == socket.AF_INET
        receive = sock.recvmsg
        runs: list[tuple[int, list[bytes]]] = []
        origins: list[tuple[bytes, tuple[bytes, Ancillary, str]]] = []
        for _ in range(_BATCH):
            try:
                data, ancillary, _, sender = receive(_LARGEST_DATAGRAM, ANCILLARY_OCTETS)
            except BlockingIOError:
                break
            except OSError:
                continue  # an ICMP error about something sent earlier
            origin = data, ancillary, sender[0]
            if has_header:
                traffic_class = data[_IPV4_TRAFFIC_CLASS]
                data = data[(data[0] & 0x0F) * 4 :]
            else:
                traffic_class = arrival(ancillary).traffic_class
            if not runs or runs[-1][0] != traffic_class:
                runs.append((traffic_class, []))
            runs[-1][1].append(data)
            origins.append((data, origin))
        for traffic_class, packets in runs:
            strangers = self._open(packets, traffic_class)
            self._processor.note_drop(DropReason.UNKNOWN_SPI, len(strangers))
            for stranger in strangers[:1]:  # the reports are few, so one of a run will do
                origin = next(origin for packet, origin in origins if packet is stranger)
                self._control.unknown_spi(_way_back(*origin), stranger, time.monotonic())

    def _open(self, packets: list[bytes], traffic_class: int) -> list[bytes]:
        """Open ESP packets and deliver what is inside; return what is for no SA."""
        delivered: list[bytes] = []
        strangers: list[bytes] = []
        self._processor.inbound_batch(
            packets, time.monotonic(), delivered, strangers, traffic_class=traffic_class
        )
        write, tun = os.write, self._tun
        for packet in delivered:
            try:
                write(tun, packet)
            except OSError:
                self._processor.note_drop(DropReason.DELIVERY_REFUSED)
        return strangers

    def _sort(self, strangers: list[bytes], local: Transport, sender: tuple[str, int]) -> None:
        """Find the IKE messages among datagrams of the NAT traversal port (RFC 3948, section 2)."""
        for packet in strangers:
            if is_ike(packet):
                path = Path(local, Transport(sender[0], sender[1]), encapsulated=True)
                self._control.receive_ike(path, packet[len(NON_ESP_MARKER) :])
            elif not is_keepalive(packet):
                self._processor.note_drop(DropReason.UNKNOWN_SPI)
                path = Path(local, Transport(sender[0], sender[1]), encapsulated=True)
                self._control.unknown_spi(path, packet, time.monotonic())


def _way_back(data: bytes, ancillary: Ancillary, sender: str) -> Path:
    """Return the path of an answer to ESP that came without UDP, from the ports of IKE."""
    if "." in sender:
        local = socket.inet_ntop(socket.AF_INET, data[_IPV4_DESTINATION])
    else:
        local = arrival(ancillary).local
    return Path(Transport(local, _IKE_PORT), Transport(sender, _IKE_PORT))
