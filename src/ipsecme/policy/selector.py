"""The algebra of traffic selectors (RFC 7296, section 2.9; RFC 4301, section 4.4.1).

A selector is a box with three sides: addresses, protocol, ports. A list of selectors is their
union.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ipsecme.base import ConfigError
from ipsecme.wire.ike import OPAQUE_PORTS, TrafficSelector
from ipsecme.wire.numbers import IpProtocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ANY_PORTS", "contains", "intersect", "narrow", "parse_selector", "selector_text"]

ANY_PORTS = (0, 65535)

_PROTOCOLS = {
    "icmp": IpProtocol.ICMP,
    "tcp": IpProtocol.TCP,
    "udp": IpProtocol.UDP,
    "icmpv6": IpProtocol.IPV6_ICMP,
    "sctp": IpProtocol.SCTP,
}
_PROTOCOL_NAMES: dict[int, str] = {number: name for name, number in _PROTOCOLS.items()}
_SYNTAX = re.compile(
    r"(?P<address>[0-9a-fA-F.:]+(?:/\d+|-[0-9a-fA-F.:]+)?)"
    r"(?:\[(?P<protocol>\w+)(?:/(?P<ports>\d+(?:-\d+)?|opaque))?\])?"
)
_MAX_RANGES = 64


def intersect(one: TrafficSelector, other: TrafficSelector) -> TrafficSelector | None:
    """Return the part that both describe, or None."""
    if len(one.start) != len(other.start):
        return None
    start, end = max(one.start, other.start), min(one.end, other.end)
    if start > end:
        return None
    if one.protocol and other.protocol and one.protocol != other.protocol:
        return None
    ports = _common_ports(one, other)
    if ports is None:
        return None
    return TrafficSelector(one.protocol or other.protocol, *ports, start, end)


def _common_ports(one: TrafficSelector, other: TrafficSelector) -> tuple[int, int] | None:
    ours, theirs = (one.start_port, one.end_port), (other.start_port, other.end_port)
    if OPAQUE_PORTS in (ours, theirs):
        if ours == theirs or ANY_PORTS in (ours, theirs):
            return OPAQUE_PORTS
        return None
    low, high = max(ours[0], theirs[0]), min(ours[1], theirs[1])
    return (low, high) if low <= high else None


def contains(outer: Sequence[TrafficSelector], inner: TrafficSelector) -> bool:
    """Tell whether one selector of `outer` covers all of `inner`."""
    return any(intersect(selector, inner) == inner for selector in outer)


def narrow(
    offered: Sequence[TrafficSelector], allowed: Sequence[TrafficSelector]
) -> tuple[TrafficSelector, ...]:
    """Return what of the offer is allowed, in the order of the offer.

    The first offered selector, which may describe a single packet, is covered by the result
    whenever policy allows it, because every offered selector takes part (section 2.9).
    """
    found: list[TrafficSelector] = []
    for mine in offered:
        for theirs in allowed:
            common = intersect(mine, theirs)
            if common is None or contains(found, common):
                continue
            found = [s for s in found if intersect(common, s) != s]
            found.append(common)
            if len(found) == _MAX_RANGES:
                return tuple(found)
    return tuple(found)


def parse_selector(text: str) -> TrafficSelector:
    """Read text such as ``10.0.0.0/8``, ``10.0.0.1-10.0.0.9`` or ``2001:db8::/32[tcp/443]``.

    The protocol is a name or a number; ports are one, a range, or ``opaque`` for packets whose
    ports cannot be seen (RFC 4301, section 4.4.1.1). Without a protocol there are none to choose
    (RFC 7296, section 3.13.1). Raises `ConfigError`.
    """
    match = _SYNTAX.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"{text!r} is not a traffic selector; write an address, a prefix or a range, "
            "such as 10.1.0.0/16, 10.1.0.1-10.1.0.9 or 10.1.0.0/16[tcp/443]"
        )
    try:
        start, end = _address_range(match["address"])
        protocol = _protocol_number(match["protocol"])
        start_port, end_port = _port_range(match["ports"], protocol)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a traffic selector: {error}") from None
    return TrafficSelector(protocol, start_port, end_port, start, end)


def _address_range(text: str) -> tuple[bytes, bytes]:
    if "-" in text:
        low, high = (ipaddress.ip_address(part) for part in text.split("-", 1))
        if low.version != high.version or low.packed > high.packed:
            raise ValueError("the range runs backwards or mixes IPv4 and IPv6")
        return low.packed, high.packed
    network = ipaddress.ip_network(text, strict=True)
    return network.network_address.packed, network.broadcast_address.packed


def _protocol_number(text: str | None) -> int:
    if text is None:
        return 0
    if text.isdecimal() and int(text) < 256:
        return int(text)
    number = _PROTOCOLS.get(text.lower())
    if number is None:
        raise ValueError(f"protocol {text!r} is none of {', '.join(_PROTOCOLS)} or 0 to 255")
    return number


def _port_range(text: str | None, protocol: int) -> tuple[int, int]:
    if text is None:
        return ANY_PORTS
    if not protocol:
        raise ValueError("ports need a protocol that has them; write one such as tcp or udp")
    if text == "opaque":
        return OPAQUE_PORTS
    low, _, high = text.partition("-")
    ports = int(low), int(high or low)
    if not ports[0] <= ports[1] <= 65535:
        raise ValueError(f"ports {text} are not a range within 0 to 65535")
    return ports


@lru_cache(maxsize=4096)
def selector_text(selector: TrafficSelector) -> str:
    """Return the text that `parse_selector` reads as the same selector.

    What a peer sends may have ports without a protocol; that is shown but not read.
    """
    start, end = ipaddress.ip_address(selector.start), ipaddress.ip_address(selector.end)
    networks = list(ipaddress.summarize_address_range(start, end))
    if len(networks) > 1:
        text = f"{start}-{end}"
    elif start == end:
        text = str(start)
    else:
        text = str(networks[0])
    ports = (selector.start_port, selector.end_port)
    if not selector.protocol and ports == ANY_PORTS:
        return text
    protocol = _PROTOCOL_NAMES.get(selector.protocol, str(selector.protocol))
    if ports == ANY_PORTS:
        return f"{text}[{protocol}]"
    if ports == OPAQUE_PORTS:
        return f"{text}[{protocol}/opaque]"
    low, high = ports
    return f"{text}[{protocol}/{low}]" if low == high else f"{text}[{protocol}/{low}-{high}]"
