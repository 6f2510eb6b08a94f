"""A classic BPF program for AF_PACKET sockets: all frames but those of IPsec itself.

The kernel runs it before a frame is queued, so a busy machine that cannot keep up with all traffic
still sees every frame that should not be there.
"""

from __future__ import annotations

import ctypes
import socket
import struct

__all__ = ["attach_all_but_ipsec"]

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")
_LDH, _LDB, _LDXB_MSH, _LDH_IND, _JEQ, _RET = 0x28, 0x30, 0xB1, 0x48, 0x15, 0x06
_WHOLE = 0xFFFF

# Offsets in an Ethernet frame; jumps count instructions from the one after the jump.
_PROGRAM = (
    (_LDH, 0, 0, 12),  # 0: EtherType
    (_JEQ, 0, 7, 0x0800),  # 1: IPv4, or go on at 9
    (_LDB, 0, 0, 23),  # 2: protocol
    (_JEQ, 13, 0, 50),  # 3: ESP: refuse
    (_JEQ, 0, 13, 17),  # 4: UDP, or accept
    (_LDXB_MSH, 0, 0, 14),  # 5: X = header length
    (_LDH_IND, 0, 0, 16),  # 6: destination port
    (_JEQ, 9, 0, 500),  # 7: IKE: refuse
    (_JEQ, 8, 9, 4500),  # 8: IKE or ESP: refuse, else accept
    (_JEQ, 0, 6, 0x86DD),  # 9: IPv6, or go on at 16
    (_LDB, 0, 0, 20),  # 10: Next Header
    (_JEQ, 5, 0, 50),  # 11: ESP: refuse
    (_JEQ, 0, 5, 17),  # 12: UDP, or accept
    (_LDH, 0, 0, 56),  # 13: destination port
    (_JEQ, 2, 0, 500),  # 14: IKE: refuse
    (_JEQ, 1, 2, 4500),  # 15: refuse, else accept
    (_JEQ, 0, 1, 0x0806),  # 16: ARP: refuse, else accept
    (_RET, 0, 0, 0),  # 17: refuse
    (_RET, 0, 0, _WHOLE),  # 18: accept
)


def attach_all_but_ipsec(opened: socket.socket) -> None:
    """Let the socket receive frames that are neither ESP, IKE nor ARP."""
    code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in _PROGRAM)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(_PROGRAM), ctypes.addressof(buffer))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
