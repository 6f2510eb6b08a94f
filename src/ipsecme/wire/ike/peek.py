"""The two things that admission needs of a first request, found without reading all of it.

Under a flood most requests are answered with a cookie and forgotten; only payload headers are
walked over for that (RFC 7296, sections 2.6 and 3.2). Whether the rest makes sense is judged when
the request is let in.
"""

from __future__ import annotations

from struct import Struct, error as struct_error
from typing import NamedTuple

from ipsecme.wire.ike.header import HEADER_OCTETS
from ipsecme.wire.numbers import NotifyType, PayloadType

__all__ = ["Peek", "peek_first_request"]

_generic = Struct(">BxH").unpack_from  # next payload, length with this header
_notify = Struct(">xBH").unpack_from  # SPI size, type
_GENERIC_OCTETS = 4
_NOTIFY_OCTETS = 8
_MOST_PAYLOADS = 64
_NOTIFY, _NONCE, _COOKIE = int(PayloadType.NOTIFY), int(PayloadType.NONCE), int(NotifyType.COOKIE)


class Peek(NamedTuple):
    """The data of a COOKIE that stands first, and of the Nonce; empty where there is none."""

    cookie: bytes
    nonce: bytes


def peek_first_request(datagram: bytes, first: int) -> Peek:
    """Look into an IKE_SA_INIT request whose first payload is of type `first`; never raises."""
    cookie = nonce = b""
    start, kind = HEADER_OCTETS, first
    try:
        for position in range(_MOST_PAYLOADS):
            following, octets = _generic(datagram, start)
            if octets < _GENERIC_OCTETS:
                break
            if kind == _NONCE:
                nonce = datagram[start + _GENERIC_OCTETS : start + octets]
                break
            if kind == _NOTIFY and position == 0:
                cookie = _cookie(datagram, start, octets)
            start, kind = start + octets, following
            if not kind:
                break
    except struct_error:
        pass  # it ends too early; who is let in is told so
    return Peek(cookie, nonce)


def _cookie(datagram: bytes, start: int, octets: int) -> bytes:
    spi_octets, kind = _notify(datagram, start + _GENERIC_OCTETS)
    if kind != _COOKIE or spi_octets:
        return b""
    return datagram[start + _NOTIFY_OCTETS : start + octets]
