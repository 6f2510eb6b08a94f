"""Which packets an SA takes: selectors, fragments, ICMP errors, order of SAs (RFC 4301)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import MalformedMessage
from ipsecme.esp import DropReason, Processor
from ipsecme.esp.flows import MAX_FLOWS
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.esp import encode_trailer
from ipsecme.wire.ike import OPAQUE_PORTS, TrafficSelector
from ipsecme.wire.ip import HIDDEN, read_headers
from support.esp import (
    EAST,
    EAST6,
    WEST,
    WEST6,
    Joined,
    SeededRng,
    echo,
    fragment,
    icmp_error,
    joined,
    make_ends,
    packet,
    udp,
)

if TYPE_CHECKING:
    from ipsecme.esp.outbound import OutboundSa

_OUTSIDE = "10.3.0.1"
_NO_POLICY, _WRONG = DropReason.NO_POLICY, DropReason.WRONG_SELECTORS


def _asymmetric(west_ts: tuple[str, ...], east_ts: tuple[str, ...]) -> Joined:
    """West sends anything; east takes only what its selectors say."""
    generous = make_ends(west_ts=("0.0.0.0/0", "::/0"), east_ts=("0.0.0.0/0", "::/0"))
    strict = make_ends(west_ts=west_ts, east_ts=east_ts)
    west, east = Processor(SeededRng()), Processor(SeededRng())
    west.install(generous.west)
    east.install(strict.east)
    return Joined(west, east, strict)


def _inbound(here: Joined, inner: bytes) -> DropReason | None:
    return here.east.inbound(here.west.outbound(inner).octets, 1.0).reason


@pytest.mark.parametrize(
    ("source", "destination"),
    [(WEST, _OUTSIDE), (_OUTSIDE, EAST), (EAST, WEST), (WEST6, "2001:db8:9::1"), (EAST6, WEST6)],
)
def test_packets_outside_the_selectors_are_dropped_at_both_ends(
    source: str, destination: str
) -> None:
    inner = udp(source, destination)
    assert joined().west.outbound(inner).reason == _NO_POLICY

    here = _asymmetric(("10.1.0.0/16", "2001:db8:1::/48"), ("10.2.0.0/16", "2001:db8:2::/48"))
    assert _inbound(here, inner) == _WRONG
    assert _inbound(here, inner) == _WRONG, "a second look is no milder"


@pytest.mark.parametrize(
    ("west_ts", "east_ts", "ports", "reason"),
    [
        ("10.1.0.0/16[udp]", "10.2.0.0/16[udp/53]", (1000, 53), None),
        ("10.1.0.0/16[udp]", "10.2.0.0/16[udp/53]", (1000, 54), _WRONG),
        ("10.1.0.0/16[udp/1000-1999]", "10.2.0.0/16[udp]", (1999, 9), None),
        ("10.1.0.0/16[udp/1000-1999]", "10.2.0.0/16[udp]", (2000, 9), _WRONG),
        ("10.1.0.0/16[tcp]", "10.2.0.0/16[tcp]", (1000, 53), _WRONG),
        ("10.1.0.0/16[tcp]", "10.2.0.0/16", (1000, 53), _WRONG),
        ("10.1.0.1", "10.2.0.1", (1000, 53), None),
        ("10.1.0.2-10.1.0.9", "10.2.0.1", (1000, 53), _WRONG),
    ],
)
def test_ports_and_protocols_are_checked_after_decryption(
    west_ts: str, east_ts: str, ports: tuple[int, int], reason: DropReason | None
) -> None:
    here = _asymmetric((west_ts,), (east_ts,))
    for _ in range(2):
        assert _inbound(here, udp(ports=ports)) == reason


@pytest.mark.parametrize(
    ("west_ts", "east_ts", "ports", "reason"),
    [
        ("10.1.0.0/16[udp]", "10.2.0.0/16[udp/53]", (1000, 53), None),
        ("10.1.0.0/16[udp]", "10.2.0.0/16[udp/53]", (1000, 54), _NO_POLICY),
        ("10.1.0.0/16[tcp]", "10.2.0.0/16[tcp]", (1000, 53), _NO_POLICY),
    ],
)
def test_ports_and_protocols_are_checked_before_sealing(
    west_ts: str, east_ts: str, ports: tuple[int, int], reason: DropReason | None
) -> None:
    here = joined(make_ends(west_ts=(west_ts,), east_ts=(east_ts,)))
    for _ in range(2):
        assert here.west.outbound(udp(ports=ports)).reason == reason


@pytest.mark.parametrize(("source", "destination"), [(WEST, EAST), (WEST6, EAST6)])
def test_fragments_pass_where_ports_do_not_matter(source: str, destination: str) -> None:
    here = joined()
    first = fragment(source, destination, 0, more=True, payload=udp()[20:] + bytes(1))
    later = fragment(source, destination, 16, more=False, payload=bytes(24))
    for inner in (first, later):
        sealed = here.west.outbound(inner)
        assert here.east.inbound(sealed.octets, 1.0).octets == inner


@pytest.mark.parametrize(
    ("source", "destination", "west_ts", "east_ts"),
    [
        (WEST, EAST, "10.1.0.0/16[udp]", "10.2.0.0/16[udp/53]"),
        (WEST6, EAST6, "2001:db8:1::/48[udp]", "2001:db8:2::/48[udp/53]"),
    ],
)
def test_later_fragments_match_no_ports(
    source: str, destination: str, west_ts: str, east_ts: str
) -> None:
    first = fragment(source, destination, 0, more=True, payload=udp()[20:] + bytes(1))
    later = fragment(source, destination, 16, more=False, payload=udp()[20:])  # looks like port 53
    tiny = fragment(source, destination, 0, more=True, payload=b"\x00\x35")
    strict = joined(make_ends(west_ts=(west_ts,), east_ts=(east_ts,)))
    here = _asymmetric((west_ts,), (east_ts,))

    assert strict.west.outbound(first).reason is None
    assert _inbound(here, first) is None
    for hidden in (later, tiny):
        assert strict.west.outbound(hidden).reason == _NO_POLICY
        assert _inbound(here, hidden) == _WRONG


def test_opaque_ports_take_only_what_shows_none() -> None:
    opaque = parse_selector("10.1.0.0/16[udp]")._replace(
        start_port=OPAQUE_PORTS[0], end_port=OPAQUE_PORTS[1]
    )
    ends = make_ends(west_ts=("10.1.0.0/16[udp]",), east_ts=("10.2.0.0/16[udp]",))
    west = Processor(SeededRng())
    west.install(dataclasses.replace(ends.west, local_ts=(opaque,)))

    assert west.outbound(udp()).reason == _NO_POLICY
    assert west.outbound(fragment(WEST, EAST, 16, more=False, payload=bytes(8))).reason is None


def test_icmp_type_and_code_belong_to_the_sender() -> None:
    # West may send echo requests (type 8, code 0) and receives no ICMP but the replies.
    ends = make_ends(west_ts=("10.1.0.0/16[icmp/2048]",), east_ts=("10.2.0.0/16[icmp/0]",))
    here = joined(ends)

    request, reply = echo(WEST, EAST, 8), echo(EAST, WEST, 0)
    assert here.east.inbound(here.west.outbound(request).octets, 1.0).octets == request
    assert here.west.inbound(here.east.outbound(reply).octets, 1.0).octets == reply
    assert here.west.outbound(echo(WEST, EAST, 0)).reason == _NO_POLICY
    assert here.east.outbound(echo(EAST, WEST, 8)).reason == _NO_POLICY


def test_icmp_errors_about_flows_of_the_sa_pass() -> None:
    about = udp(EAST, WEST)  # what east sent and could not be delivered
    for source in (WEST, "10.1.0.254"):
        error = icmp_error(source, EAST, about)
        here = joined()
        assert here.east.inbound(here.west.outbound(error).octets, 1.0).octets == error


@pytest.mark.parametrize(
    ("source", "destination", "about"),
    [
        (WEST, EAST, udp("10.2.0.1", "10.9.0.1")),  # a flow to somebody else
        (WEST, EAST, udp("10.9.0.1", WEST)),  # a flow of somebody else
        (WEST, EAST, udp("10.2.0.7", WEST)),  # a flow of another host than the one told
        (WEST, EAST, udp(WEST, EAST)),  # a flow in the wrong direction
        (WEST, EAST, b""),
        (WEST, EAST, b"\x45" + bytes(10)),
        (WEST6, EAST6, udp("2001:db8:2::1", "2001:db8:9::1")),
    ],
)
def test_icmp_errors_about_foreign_flows_are_dropped(
    source: str, destination: str, about: bytes
) -> None:
    here = joined()
    error = icmp_error(source, destination, about)
    assert _inbound(here, error) == _WRONG


def test_icmp_errors_pass_unread_where_a_selector_names_icmp() -> None:
    ends = make_ends(west_ts=("10.1.0.0/16[icmp]",), east_ts=("10.2.0.0/16[icmp]",))
    error = icmp_error(WEST, EAST, udp("10.2.0.1", "10.9.0.1"))
    assert _inbound(joined(ends), error) is None


def test_icmp_errors_of_routers_take_the_sa_of_the_return_traffic() -> None:
    ends = make_ends(west_ts=("10.1.0.0/16[udp]",), east_ts=("10.2.0.0/16[udp]",))
    here = joined(ends)
    error = icmp_error("172.16.0.1", EAST, udp(EAST, WEST))
    assert here.east.inbound(here.west.outbound(error).octets, 1.0).octets == error

    foreign = icmp_error("172.16.0.1", EAST, udp(EAST, "10.9.0.1"))
    assert here.west.outbound(foreign).reason == _NO_POLICY


def _install(west: Processor, spi: int, west_ts: str, east_ts: str) -> int:
    west.install(make_ends(west_ts=(west_ts,), east_ts=(east_ts,), spis=(spi, spi + 1)).west)
    return spi


def test_the_narrower_remote_selector_decides() -> None:
    west = Processor(SeededRng())
    wide = _install(west, 0x1000, "10.1.0.0/16", "0.0.0.0/0")
    host = _install(west, 0x1100, "10.1.0.0/16", "10.2.0.1")
    subnet = _install(west, 0x1200, "10.1.0.0/16", "10.2.0.0/16")
    dns = _install(west, 0x1300, "10.1.0.0/16", "10.2.0.0/16[udp/53]")

    assert west.outbound(udp(WEST, "10.2.0.1")).spi == host
    assert west.outbound(udp(WEST, "10.2.0.2", ports=(1, 53))).spi == dns
    assert west.outbound(udp(WEST, "10.2.0.2", ports=(1, 54))).spi == subnet
    assert west.outbound(udp(WEST, "10.9.0.1")).spi == wide


def test_among_equals_the_newest_decides_and_its_removal_uncovers_the_older() -> None:
    west = Processor(SeededRng())
    older = _install(west, 0x1000, "10.1.0.0/16", "10.2.0.0/16")
    newer = _install(west, 0x1100, "10.1.0.0/16", "10.2.0.0/16")

    assert west.outbound(udp()).spi == newer
    west.remove(newer)
    assert west.outbound(udp()).spi == older
    west.remove(older)
    assert west.outbound(udp()).reason == _NO_POLICY


def test_the_flow_caches_are_bounded() -> None:
    here = joined()
    for port in range(MAX_FLOWS + 100):
        inner = udp(ports=(port % 65536, 53))
        assert here.east.inbound(here.west.outbound(inner).octets, 1.0).reason is None
        here.west.outbound(udp(WEST, _OUTSIDE, ports=(port % 65536, 53)))
    assert len(here.west._outbound_flows) <= MAX_FLOWS
    assert len(here.east._inbound_flows) <= MAX_FLOWS


def test_caches_forget_a_removed_sa() -> None:
    here = joined()
    here.east.inbound(here.west.outbound(udp()).octets, 1.0)
    here.west.remove(here.ends.west.spi)
    here.east.remove(here.ends.east.spi)
    assert not here.west._outbound_flows
    assert not here.east._inbound_flows
    assert here.west.outbound(udp()).reason == _NO_POLICY


_hosts = st.sampled_from([WEST, EAST, _OUTSIDE, "10.1.255.255", "10.2.0.0"])


@given(
    source=_hosts,
    destination=_hosts,
    protocol=st.sampled_from([0, 1, 6, 17, 47, 50, 132, 255]),
    payload=st.binary(max_size=30),
    selectors=st.tuples(
        st.sampled_from(["10.1.0.0/16", "10.1.0.0/16[udp/0-255]", "0.0.0.0/0[tcp]"]),
        st.sampled_from(["10.2.0.0/16", "10.2.0.0/16[17/53]", "0.0.0.0/0", "10.2.0.1[tcp]"]),
    ),
)
def test_caches_never_change_a_decision(
    source: str, destination: str, protocol: int, payload: bytes, selectors: tuple[str, str]
) -> None:
    inner = packet(source, destination, protocol, payload)
    first, other = parse_selector(selectors[0]), parse_selector(selectors[1])
    here = joined(make_ends(west_ts=(selectors[0],), east_ts=(selectors[1],)))
    headers = read_headers(inner)
    expected = _plainly_fits(first, headers.source, headers.source_port, protocol)
    expected &= _plainly_fits(other, headers.destination, headers.destination_port, protocol)

    for _ in range(3):
        assert (here.west.outbound(inner).reason is None) == expected


def _plainly_fits(selector: TrafficSelector, address: bytes, port: int, protocol: int) -> bool:
    is_any = (selector.start_port, selector.end_port) == (0, 65535)
    return (
        selector.start <= address <= selector.end
        and selector.protocol in {0, protocol}
        and (is_any or (port != HIDDEN and selector.start_port <= port <= selector.end_port))
    )


@given(st.binary(min_size=1, max_size=120))
def test_inner_headers_that_lie_are_dropped(octets: bytes) -> None:
    """Whatever is sealed by an authenticated peer, only well-formed packets come out."""
    here = joined()
    half: OutboundSa = here.outbound
    for version in (4, 6):
        inner = bytes((version << 4 | octets[0] & 15,)) + octets[1:]
        sealed = half.seal(inner)
        assert sealed is not None
        verdict = here.east.inbound(sealed, 1.0)
        if verdict.reason is None:
            assert read_headers(verdict.octets).end == len(verdict.octets)
            continue
        try:
            read_headers(inner)
        except MalformedMessage:
            assert verdict.reason == DropReason.MALFORMED_PACKET
        else:
            assert verdict.reason == _WRONG


@pytest.mark.parametrize("version", [4, 6])
def test_the_next_header_must_fit_the_packet(version: int) -> None:
    here = joined()
    inner = udp(WEST, EAST) if version == 4 else udp(WEST6, EAST6)
    trailer = encode_trailer(len(inner), 4, 41 if version == 4 else 4)
    sealed = here.outbound._seal(inner + trailer, 1)
    assert here.east.inbound(sealed, 1.0).reason == DropReason.MALFORMED_PACKET
