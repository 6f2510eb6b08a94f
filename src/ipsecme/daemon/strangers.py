"""Two queues for one UDP port: first requests without a cookie, and everything else.

A flood of IKE_SA_INIT from forged addresses fills the socket that it arrives at, and what arrives
there is lost by chance. Answers, requests of peers that have keys, and first requests that bring a
cookie come to a socket of their own, which the flood does not reach. The kernel sorts them, by a
classic BPF program on a SO_REUSEPORT group; where that does not work there is one queue as ever.
"""

from __future__ import annotations

import ctypes
import socket
import struct

from ipsecme.wire.ike import FLAG_RESPONSE
from ipsecme.wire.numbers import ExchangeType, PayloadType

__all__ = ["divide"]

_SO_ATTACH_REUSEPORT_CBPF = 51
_NEXT_PAYLOAD, _EXCHANGE, _FLAGS = 16, 18, 19  # offsets in the IKE header
_LOAD_OCTET, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x30, 0x15, 0x45, 0x06
_REST, _STRANGERS = 0, 1  # places in the group, in the order of binding

_PROGRAM = (
    (_LOAD_OCTET, 0, 0, _EXCHANGE),
    (_JUMP_EQUAL, 0, 5, ExchangeType.IKE_SA_INIT),
    (_LOAD_OCTET, 0, 0, _FLAGS),
    (_JUMP_SET, 3, 0, FLAG_RESPONSE),
    (_LOAD_OCTET, 0, 0, _NEXT_PAYLOAD),
    (_JUMP_EQUAL, 1, 0, PayloadType.NOTIFY),  # nothing but a cookie is a Notify in front
    (_RETURN, 0, 0, _STRANGERS),
    (_RETURN, 0, 0, _REST),
)


def divide(bound: socket.socket, other: socket.socket) -> bool:
    """Bind `other` beside a bound socket and send strangers there; tell whether that worked.

    `bound` was bound without SO_REUSEPORT, so that a port in use was noticed. From now on a program
    of the same user could join if it said SO_REUSEPORT itself; no IKE daemon does.
    """
    try:
        for sock in (bound, other):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(bound.getsockname())
        _attach(bound)
    except OSError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        return False
    return True


def _attach(sock: socket.socket) -> None:
    instructions = b"".join(struct.pack("=HBBI", *instruction) for instruction in _PROGRAM)
    memory = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("@HP", len(_PROGRAM), ctypes.addressof(memory))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)
