"""Whole datagrams out of this host's own fragments (RFC 4303, section 3.3.4).

Transport mode protects datagrams, never fragments: what does not fit is cut after it was sealed.
The kernel, however, has cut a large datagram of a local program by the time that it is seen here.
Its fragments come in their order and are nobody else's, so putting them together is simple.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.wire.ip import IPV4_OCTETS, IPV6_OCTETS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

__all__ = ["Datagrams"]

_MOST_UNFINISHED = 64
_MOST_OCTETS = 65535
_FRAGMENT_HEADER = 44
_FRAGMENT_OCTETS = 8
_MORE_IPV4, _OFFSET_IPV4 = 0x2000, 0x1FFF
_MORE_IPV6, _OFFSET_IPV6 = 0x1, 0xFFF8

Ends = tuple[bytes, bytes]


class Datagrams:
    """Fragments that wait for more of their kind; the oldest give way to new ones.

    `lost` counts fragments that came to nothing: out of order, too many or too large.
    """

    __slots__ = ("_unfinished", "lost")

    def __init__(self) -> None:
        self._unfinished: dict[bytes, list[bytes]] = {}
        self.lost = 0

    def whole(self, packets: Iterable[bytes], ends: Container[Ends]) -> Iterator[bytes]:
        """Yield the packets, those between `ends` (source and destination) in one piece."""
        for packet in packets:
            version = packet[0] >> 4 if packet else 0
            if version == 4 and len(packet) > IPV4_OCTETS:
                fragment = int.from_bytes(packet[6:8]) & (_MORE_IPV4 | _OFFSET_IPV4)
                if fragment and (packet[12:16], packet[16:20]) in ends:
                    yield from self._add_ipv4(packet, fragment)
                    continue
            elif version == 6 and len(packet) > IPV6_OCTETS + _FRAGMENT_OCTETS:
                is_fragment = packet[6] == _FRAGMENT_HEADER
                if is_fragment and (packet[8:24], packet[24:40]) in ends:
                    yield from self._add_ipv6(packet)
                    continue
            yield packet

    def _add_ipv4(self, packet: bytes, fragment: int) -> Iterator[bytes]:
        octets = (packet[0] & 0x0F) * 4
        key = packet[4:6] + packet[9:10] + packet[12:20]
        offset, is_last = (fragment & _OFFSET_IPV4) * 8, not fragment & _MORE_IPV4
        parts = self._add(key, packet[:octets], packet[octets:], offset, is_last=is_last)
        if parts is None:
            return
        size = sum(map(len, parts))
        if size > _MOST_OCTETS:
            self.lost += 1
            return
        # This header's checksum is not renewed: the kernel makes the one that travels.
        first = parts[0][:2] + size.to_bytes(2) + parts[0][4:6] + bytes(2) + parts[0][8:]
        yield b"".join((first, *parts[1:]))

    def _add_ipv6(self, packet: bytes) -> Iterator[bytes]:
        body = IPV6_OCTETS + _FRAGMENT_OCTETS
        control = int.from_bytes(packet[IPV6_OCTETS + 2 : IPV6_OCTETS + 4])
        key = packet[IPV6_OCTETS + 4 : body] + packet[8:40]
        header = packet[:4] + bytes(2) + packet[40:41] + packet[7:40]
        offset, is_last = control & _OFFSET_IPV6, not control & _MORE_IPV6
        parts = self._add(key, header, packet[body:], offset, is_last=is_last)
        if parts is None:
            return
        size = sum(map(len, parts)) - IPV6_OCTETS
        if size > _MOST_OCTETS:
            self.lost += 1
            return
        yield b"".join((parts[0][:4], size.to_bytes(2), parts[0][6:], *parts[1:]))

    def _add(
        self, key: bytes, header: bytes, payload: bytes, offset: int, *, is_last: bool
    ) -> list[bytes] | None:
        """Keep a fragment; return header and payloads when it was the last one."""
        if not offset:
            if key not in self._unfinished and len(self._unfinished) >= _MOST_UNFINISHED:
                self.lost += len(self._unfinished.pop(next(iter(self._unfinished)))) - 1
            self._unfinished[key] = [header]
        parts = self._unfinished.get(key)
        if parts is None or sum(map(len, parts[1:])) != offset:
            self.lost += 1
            return None
        parts.append(payload)
        return self._unfinished.pop(key) if is_last else None
