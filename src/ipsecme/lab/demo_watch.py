"""A watch on the link of the demonstration that misses nothing, however busy the machine is.

Owns two packet sockets. One counts ESP in the kernel: it is never read, and the statistics of a
packet socket count what its filter let through whether there was room for it or not. The other
records all that is neither ESP, IKE nor ARP, which is next to nothing when all is well.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import TYPE_CHECKING, Final

from ipsecme.lab.capture import Capture
from ipsecme.lab.demo_link import LinkTally, tally

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.lab.host import Interface

__all__ = ["LinkWatch"]

_ETH_P_ALL: Final = 0x0003
_SO_ATTACH_FILTER: Final = 26
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6

# Classic BPF: operation, jump if true, jump if false, operand (linux/filter.h).
_INSTRUCTION: Final = struct.Struct("=HBBI")
_ESP_IN_ETHERNET: Final = (
    (0x28, 0, 0, 12),  # load the EtherType
    (0x15, 0, 2, 0x0800),  # IPv4, or go on two further
    (0x30, 0, 0, 23),  # load Protocol
    (0x05, 0, 0, 2),  # compare it
    (0x15, 0, 3, 0x86DD),  # IPv6, or refuse
    (0x30, 0, 0, 20),  # load Next Header
    (0x15, 0, 1, 50),  # ESP, or refuse
    (0x06, 0, 0, 1),  # take one octet
    (0x06, 0, 0, 0),  # refuse
)


class LinkWatch:
    """Watches an Ethernet interface from now until `stop`, which sets `esp` and `other`.

    `esp` is the number of ESP packets that crossed, both ways; `other` counts the rest by kind.
    `unseen` of the rest came too fast to be looked at.
    """

    def __init__(self, interface: Interface, path: Path) -> None:
        self.esp = 0
        self.unseen = 0
        self.other = LinkTally()
        self._counter = interface.host.call(lambda: _open_counter(interface.name))
        self._capture = Capture(interface, path, all_but_ipsec=True)

    def stop(self) -> None:
        """Take stock; afterwards it does nothing."""
        if self._counter.fileno() < 0:
            return
        statistics = self._counter.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.esp = int(struct.unpack("@II", statistics)[0])
        self._counter.close()
        self._capture.stop()
        self.unseen = self._capture.lost + self._capture.left_out
        self.other = tally(self._capture.path)


def _open_counter(interface: str) -> socket.socket:
    code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in _ESP_IN_ETHERNET)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(_ESP_IN_ETHERNET), ctypes.addressof(buffer))
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # deaf until it is bound
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        opened.bind((interface, _ETH_P_ALL))
    except BaseException:
        opened.close()
        raise
    return opened
