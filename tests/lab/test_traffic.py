"""Captures, loss and translation, and traffic that counts exactly."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.capture import Capture
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.firewall import drop_share, masquerade, publish
from ipsecme.lab.ping import ping
from ipsecme.lab.sites import OUTER_IPV4, OUTER_IPV6
from ipsecme.lab.traffic import Stream, transfer
from ipsecme.lab.wait import wait_until
from ipsecme.wire.pcap import LINKTYPE_ETHERNET, decode_pcap

if TYPE_CHECKING:
    from ipsecme.lab.host import Host, Interface
    from ipsecme.lab.network import Lab

pytestmark = pytest.mark.root

WEST, EAST = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def ends(lab: Lab) -> tuple[Interface, Interface]:
    return lab.link(lab.host("west"), lab.host("east"), OUTER_IPV4, OUTER_IPV6)


def test_capture_holds_every_packet_in_order(lab: Lab, ends: tuple[Interface, Interface]) -> None:
    path = lab.folder / "west.pcap"
    with Capture(ends[0], path) as capture:
        ping(ends[0].host, WEST, EAST, count=5, octets=900)
    link_type, packets = decode_pcap(path.read_bytes())
    assert link_type == LINKTYPE_ETHERNET
    icmp = [packet for packet in packets if packet.data[12:14] == b"\x08\x00"]
    assert [packet.data[34] for packet in icmp] == [8, 0] * 5  # echo request, echo reply
    assert all(packet.original_octets == 14 + 20 + 8 + 900 for packet in icmp)
    times = [packet.time_nanoseconds for packet in packets]
    assert times == sorted(times)
    assert (capture.packets, capture.left_out, capture.lost) == (len(packets), 0, 0)


def test_capture_keeps_to_its_limit(lab: Lab, ends: tuple[Interface, Interface]) -> None:
    path = lab.folder / "west.pcap"
    with Capture(ends[0], path, limit_octets=2000) as capture:
        ping(ends[0].host, WEST, EAST, count=5, octets=900)
    assert path.stat().st_size <= 2000 + 24
    assert len(decode_pcap(path.read_bytes())[1]) == capture.packets
    assert capture.left_out >= 8


@pytest.mark.parametrize(("source", "target"), [(WEST, EAST), ("2001:db8::1", "2001:db8::2")])
def test_transfer_arrives_whole(
    ends: tuple[Interface, Interface], source: str, target: str
) -> None:
    report = transfer((ends[0].host, source), (ends[1].host, target), 3_000_001)
    assert report.octets == 3_000_001
    assert report.intact


def test_transfer_to_nowhere_is_told(lab: Lab, ends: tuple[Interface, Interface]) -> None:
    alone = lab.host("alone")
    alone.add_address("lo", "203.0.113.1/32")
    with pytest.raises(StepFailed, match=f"TCP from {WEST} to 203.0.113.1: .*unreachable"):
        transfer((ends[0].host, WEST), (alone, "203.0.113.1"), 1000, seconds=5)


def test_stream_over_a_good_link_loses_nothing(ends: tuple[Interface, Interface]) -> None:
    with Stream((ends[0].host, WEST), (ends[1].host, EAST), interval_seconds=0.005) as stream:
        wait_until(lambda: stream.sent >= 50, "fifty datagrams")
    report = stream.report
    assert report is not None
    assert report.sent == report.arrived == report.returned >= 50
    assert (report.lost, report.refused, report.repeated) == (0, 0, 0)
    assert report.lost_at_seconds == ()


@pytest.mark.usefixtures("_nftables")
def test_stream_counts_exactly_what_the_firewall_drops(lab: Lab) -> None:
    west, east = lab.host("west"), lab.host("east")
    for host in (west, east):  # or the firewall would count the kernel's own multicasts too
        host.set_parameter("net/ipv6/conf/all/disable_ipv6", 1)
    _, inbound = lab.link(west, east, OUTER_IPV4)
    drop_share(inbound, 30)
    with Stream((west, WEST), (east, EAST), interval_seconds=0.002) as stream:
        wait_until(lambda: stream.sent >= 200, "two hundred datagrams")
    report = stream.report
    assert report is not None
    assert report.lost == dropped(east) > 0
    assert report.arrived == report.returned == report.sent - report.lost
    assert len(report.lost_at_seconds) == report.lost


@pytest.mark.usefixtures("_nftables")
def test_translator_hides_address_and_port(lab: Lab) -> None:
    inside, router, outside = lab.host("inside"), lab.host("router"), lab.host("outside")
    lab.link(inside, router, ("10.0.0.2/24", "10.0.0.1/24"))
    uplink, _ = lab.link(router, outside, ("192.0.2.254/24", "192.0.2.2/24"))
    inside.add_route("default", "10.0.0.1")
    router.forward()
    masquerade(uplink, ports="20000-29999")
    publish(uplink, "10.0.0.2", (4500,))

    with bound(inside, "10.0.0.2", 500) as here, bound(outside, "192.0.2.2", 500) as there:
        here.sendto(b"ike", ("192.0.2.2", 500))
        _, (address, port) = there.recvfrom(100)
        assert address == "192.0.2.254"
        assert 20000 <= port <= 29999
        there.sendto(b"answer", (address, port))
        assert here.recvfrom(100) == (b"answer", ("192.0.2.2", 500))

    with bound(inside, "10.0.0.2", 4500) as here, bound(outside, "192.0.2.2", 4500) as there:
        there.sendto(b"esp", ("192.0.2.254", 4500))
        assert here.recvfrom(100) == (b"esp", ("192.0.2.2", 4500))


def bound(host: Host, address: str, port: int) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(10)
        made.bind((address, port))
        return made

    return host.call(make)


def dropped(host: Host) -> int:
    """Return what the rule of `drop_share` counted."""
    words = host.run(["nft", "list", "ruleset"]).split()
    return int(words[words.index("packets") + 1])
