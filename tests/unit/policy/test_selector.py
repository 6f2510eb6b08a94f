"""Selectors as text, and narrowing by example (RFC 7296, section 2.9)."""

from __future__ import annotations

import ipaddress

import pytest

from ipsecme.base import ConfigError
from ipsecme.policy.selector import contains, intersect, narrow, parse_selector, selector_text
from ipsecme.wire.ike import OPAQUE_PORTS, TrafficSelector


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def s(*texts: str) -> tuple[TrafficSelector, ...]:
    return tuple(map(parse_selector, texts))


@pytest.mark.parametrize(
    ("text", "start", "end", "protocol", "ports"),
    [
        ("10.1.0.0/16", "10.1.0.0", "10.1.255.255", 0, (0, 65535)),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3", 0, (0, 65535)),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", 0, (0, 65535)),
        ("10.1.0.5-10.1.0.9", "10.1.0.5", "10.1.0.9", 0, (0, 65535)),
        ("2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 0, (0, 65535)),
        ("::1-::ff", "::1", "::ff", 0, (0, 65535)),
        ("10.1.2.3[tcp]", "10.1.2.3", "10.1.2.3", 6, (0, 65535)),
        ("10.1.2.3[tcp/443]", "10.1.2.3", "10.1.2.3", 6, (443, 443)),
        ("10.1.2.3[udp/1000-2000]", "10.1.2.3", "10.1.2.3", 17, (1000, 2000)),
        ("10.1.2.3[icmp/2048]", "10.1.2.3", "10.1.2.3", 1, (2048, 2048)),
        ("::1[icmpv6]", "::1", "::1", 58, (0, 65535)),
        ("10.1.2.3[sctp/opaque]", "10.1.2.3", "10.1.2.3", 132, OPAQUE_PORTS),
        ("10.1.2.3[47]", "10.1.2.3", "10.1.2.3", 47, (0, 65535)),
    ],
)
def test_texts(text: str, start: str, end: str, protocol: int, ports: tuple[int, int]) -> None:
    selector = TrafficSelector(protocol, *ports, packed(start), packed(end))
    assert parse_selector(text) == selector
    assert selector_text(selector) == text


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (" 10.1.0.0/16 ", "10.1.0.0/16"),
        ("10.1.0.0-10.1.255.255", "10.1.0.0/16"),
        ("10.1.2.3/32", "10.1.2.3"),
        ("10.1.2.3-10.1.2.3", "10.1.2.3"),
        ("10.1.2.3[TCP/1-1]", "10.1.2.3[tcp/1]"),
        ("10.1.2.3[6]", "10.1.2.3[tcp]"),
        ("10.1.2.3[0]", "10.1.2.3"),
        ("10.1.2.3[udp/0-65535]", "10.1.2.3[udp]"),
        ("2001:DB8:0:0::/64", "2001:db8::/64"),
    ],
)
def test_other_spellings(text: str, same: str) -> None:
    assert selector_text(parse_selector(text)) == same


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "write an address, a prefix or a range"),
        ("example.org", "write an address, a prefix or a range"),
        ("10.1.0.0/16[", "write an address, a prefix or a range"),
        ("10.1.0.0/16[tcp/]", "write an address, a prefix or a range"),
        ("10.1.0.0/16[tcp/-5]", "write an address, a prefix or a range"),
        ("10.1.0.0/16 10.2.0.0/16", "write an address, a prefix or a range"),
        ("10.1.0.1/16", "has host bits set"),
        ("10.1.0.0/33", "10.1.0.0/33"),
        ("10.1.0", "10.1.0"),
        ("10.1.0.9-10.1.0.5", "the range runs backwards"),
        ("10.1.0.1-::1", "mixes IPv4 and IPv6"),
        ("10.1.0.0/16[tpc]", "protocol 'tpc' is none of icmp, tcp, udp, icmpv6, sctp or 0 to 255"),
        ("10.1.0.0/16[256]", "0 to 255"),
        ("10.1.0.0/16[tcp/65536]", "ports 65536 are not a range within 0 to 65535"),
        ("10.1.0.0/16[tcp/9-5]", "ports 9-5 are not a range"),
        ("10.1.0.0/16[0/80]", "write one such as tcp or udp"),
        ("10.1.0.0/16[0/opaque]", "write one such as tcp or udp"),
        ("10.1.0.0/16[tcp/" + "9" * 5000 + "]", "not a traffic selector"),
    ],
)
def test_what_is_no_selector_is_refused_with_advice(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match="is not a traffic selector") as caught:
        parse_selector(text)
    assert complaint in str(caught.value)


@pytest.mark.requirement("R7296-212")
def test_any_ports_take_in_opaque_ones_and_others_do_not() -> None:
    opaque, every, some = s("10.0.0.1[tcp/opaque]", "10.0.0.1[tcp]", "10.0.0.1[tcp/1-65535]")
    assert intersect(every, opaque) == opaque
    assert intersect(opaque, opaque) == opaque
    assert intersect(some, opaque) is None
    assert contains([every], opaque)
    assert not contains([opaque], every)


@pytest.mark.requirement("R7296-089")
@pytest.mark.parametrize(
    ("offered", "allowed", "result"),
    [
        (["10.0.0.0/8"], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        (["10.1.0.0/16"], ["0.0.0.0/0"], ["10.1.0.0/16"]),
        (["10.1.0.5-10.1.0.9"], ["10.1.0.7-10.1.0.20"], ["10.1.0.7-10.1.0.9"]),
        (
            ["10.0.0.0/8[tcp]"],
            ["10.1.0.0/16[tcp/1-100]", "10.1.0.0/16[udp]"],
            ["10.1.0.0/16[tcp/1-100]"],
        ),
        (["10.0.0.0/8[tcp]"], ["10.0.0.0/8[udp]"], []),
        (["10.0.0.0/8"], ["2001:db8::/32"], []),
        (
            ["10.0.0.0/8", "2001:db8::/32"],
            ["::/0", "10.1.0.0/16"],
            ["10.1.0.0/16", "2001:db8::/32"],
        ),
        # the offer of a packet, then of its network: the packet is merged in
        (["10.1.0.1[tcp/80]", "10.1.0.0/16"], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        # of which policy allows the packet and a part
        (
            ["10.1.0.1[tcp/80]", "10.1.0.0/16"],
            ["10.1.0.0/24[tcp]", "10.1.9.0/24"],
            ["10.1.0.0/24[tcp]", "10.1.9.0/24"],
        ),
    ],
)
def test_narrowing(offered: list[str], allowed: list[str], result: list[str]) -> None:
    assert list(map(selector_text, narrow(s(*offered), s(*allowed)))) == result


def test_narrowing_is_bounded() -> None:
    """A peer that offers many small pieces gets no longer list than this end would keep."""
    offered = [f"10.0.{number}.1" for number in range(255)]
    found = narrow(s(*offered), s("10.0.0.0/8"))
    assert found == s(*offered)[: len(found)]
    assert len(found) == 64
