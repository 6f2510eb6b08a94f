"""Capturing packets of an interface into a pcap file, without tcpdump.

Owns the packet socket and the thread that reads it; the file format belongs to `ipsecme.wire.pcap`.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from ipsecme.lab.socket_filter import attach_all_but_ipsec
from ipsecme.wire.pcap import (
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    PcapPacket,
    encode_pcap_header,
    encode_pcap_packet,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from ipsecme.lab.host import Interface

__all__ = ["Capture"]

_ETH_P_ALL: Final = 0x0003
_ARPHRD_NONE: Final = 0xFFFE  # a TUN device: packets without a link header
_SO_TIMESTAMPNS: Final = 35
_SO_RCVBUFFORCE: Final = 33
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_TIMESPEC: Final = struct.Struct("@ll")

_SNAPSHOT_OCTETS: Final = 65_535
_BUFFER_OCTETS: Final = 8 * 1024 * 1024
_QUIET_SECONDS: Final = 0.1


class Capture:
    """Writes packets that pass `interface`, both ways, into `path` until `stop`.

    Capturing has begun when the constructor returns. Once the file has `limit_octets` further
    packets are counted in `left_out`; `lost` counts those that the kernel dropped because the
    reader was late. With `all_but_ipsec` only what is neither ESP, IKE nor ARP is taken.
    """

    def __init__(
        self,
        interface: Interface,
        path: Path,
        *,
        limit_octets: int = 64 * 1024 * 1024,
        all_but_ipsec: bool = False,
    ) -> None:
        self.path = path
        self.packets = 0
        self.left_out = 0
        self.lost = 0
        self._room = limit_octets
        self._stop_after = 0  # wall clock in nanoseconds; zero while it runs
        self._socket = interface.host.call(lambda: _open(interface.name, all_but_ipsec))
        hardware = self._socket.getsockname()[3]
        link_type = LINKTYPE_RAW if hardware == _ARPHRD_NONE else LINKTYPE_ETHERNET
        self._file = path.open("wb")
        self._file.write(encode_pcap_header(link_type, _SNAPSHOT_OCTETS))
        self._thread = threading.Thread(target=self._read, name=f"capture {path.name}")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Write what was captured until now and close the file."""
        if self._stop_after:
            return
        self._stop_after = time.time_ns()
        self._thread.join()
        self.lost = _lost(self._socket)
        self._socket.close()
        self._file.close()

    def _read(self) -> None:
        while True:
            try:
                data, control, _, _ = self._socket.recvmsg(_SNAPSHOT_OCTETS, 64)
            except TimeoutError:
                if self._stop_after:
                    return
                continue
            except OSError:  # the interface is gone, and the packets with it
                return
            moment = _moment(control)
            if self._stop_after and moment > self._stop_after:
                return
            self._write(PcapPacket(moment, data, len(data)))

    def _write(self, packet: PcapPacket) -> None:
        encoded = encode_pcap_packet(packet)
        self._room -= len(encoded)
        if self._room < 0:
            self.left_out += 1
            return
        self.packets += 1
        self._file.write(encoded)


def _open(interface: str, all_but_ipsec: bool) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    try:
        if all_but_ipsec:
            attach_all_but_ipsec(opened)
        opened.bind((interface, _ETH_P_ALL))
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_OCTETS)
        except PermissionError:  # in a user namespace the system's limit holds
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        opened.settimeout(_QUIET_SECONDS)
    except BaseException:
        opened.close()
        raise
    return opened


def _moment(control: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


def _lost(opened: socket.socket) -> int:
    statistics = opened.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    return int(struct.unpack("@II", statistics)[1])
