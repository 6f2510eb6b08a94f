"""Transport mode: what two hosts send each other, and nothing of it in clear."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.capture import Capture
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.ping import ping
from ipsecme.lab.sites import OUTER_IPV4, OUTER_IPV6, two_hosts, two_hosts_across_nat
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan
from ipsecme.lab.traffic import transfer
from ipsecme.lab.vm_python import run_program
from ipsecme.lab.wait import wait_until
from ipsecme.wire.ip import read_headers
from ipsecme.wire.numbers import IpProtocol
from ipsecme.wire.pcap import decode_pcap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.lab.host import Interface
    from ipsecme.lab.network import Lab

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("_tun")]

TRANSPORT = Tunnel(psk="a secret of both hosts", mode="transport")
_ETHERNET_OCTETS = 14
_NEIGHBOURS = {131, 132, 133, 134, 135, 136, 137, 143}
TRANSPORT_STORY = Path(__file__).with_name("transport_story.py")
NAT_OUTSIDE = "192.0.2.254"


@contextlib.contextmanager
def nothing_in_clear(lab: Lab, interface: Interface) -> Iterator[None]:
    """Fail when anything but IKE, ESP and neighbour discovery passes an interface."""
    path = lab.folder / "clear.pcap"
    with Capture(interface, path, all_but_ipsec=True) as capture:
        yield
        capture.stop()
    assert capture.lost == 0
    frames = [packet.data for packet in decode_pcap(path.read_bytes())[1]]
    found = [frame.hex() for frame in frames if not is_expected(frame[_ETHERNET_OCTETS:])]
    assert found == []


def is_expected(packet: bytes) -> bool:
    """Tell whether a packet is neighbour discovery, or IPsec on its way through the NAT."""
    headers = read_headers(packet)
    if headers.protocol == IpProtocol.UDP:
        return headers.source_port in {500, 4500}  # the NAT gave the destination another one
    return headers.protocol == IpProtocol.IPV6_ICMP and headers.source_port >> 8 in _NEIGHBOURS


@pytest.mark.parametrize("outer", [OUTER_IPV4, OUTER_IPV6], ids=["IPv4", "IPv6"])
def test_two_hosts(lab: Lab, outer: tuple[str, str]) -> None:
    west, east = two_hosts(lab, outer=outer)
    caller = Ipsecme(west, TRANSPORT, remote=east)
    called = Ipsecme(east, TRANSPORT, remote=west)
    story = Story(lab, caller, called)
    story.bring_up(by=caller)
    for peer in (caller, called):
        (ike,) = peer.status().connections[0].ike_sas
        assert [child.mode for child in ike.children] == ["transport"]
    with nothing_in_clear(lab, east.outside):
        story.ping()
        story.transfer(megabytes=5)
        with story.traffic():
            story.rekey_child(by=called)
            story.rekey_child(by=caller)
            story.rekey_ike(by=called)
    story.delete_ike(by=called)
    # Without the SA the hosts talk as they did before.
    assert ping(west.host, west.address, east.address, count=2).received == 2


@pytest.mark.requirement("R7296-160")
@pytest.mark.usefixtures("_nftables")
def test_one_host_is_behind_a_nat(lab: Lab) -> None:
    west, east = two_hosts_across_nat(lab)
    hidden = Ipsecme(west, TRANSPORT, remote=east)
    outside = Ipsecme(east, TRANSPORT, remote=west)
    story = Story(lab, hidden, outside)
    story.bring_up(by=hidden)
    with nothing_in_clear(lab, east.outside):
        assert ping(west.host, west.address, east.address).received == 5
        assert ping(east.host, east.address, NAT_OUTSIDE).received == 5
        # TCP and UDP check their sums, which cover the addresses that the NAT has changed.
        report = transfer((west.host, west.address), (east.host, east.address), 5_000_000)
        assert report.intact
        with story.traffic():
            story.rekey_child(by=outside)
            story.rekey_child(by=hidden)
    story.delete_ike(by=outside)


@pytest.mark.interop
@pytest.mark.requirement("R7296-010")
def test_strongswan_declines_and_a_tunnel_will_do(lab: Lab) -> None:
    west, east = two_hosts(lab)
    prefers = replace(TRANSPORT, mode="prefer-transport")
    ours = Ipsecme(west, prefers, remote=east)
    strongswan = StrongSwan(east, replace(TRANSPORT, mode="tunnel"), remote=west)
    story = Story(lab, ours, strongswan)
    for caller in (ours, strongswan):
        story.bring_up(by=caller)
        (ike,) = ours.status().connections[0].ike_sas
        assert [child.mode for child in ike.children] == ["tunnel"]
        with nothing_in_clear(lab, east.outside):
            story.ping()
        story.rekey_child(by=ours)
        story.delete_ike(by=caller)


@pytest.mark.interop
@pytest.mark.requirement("R7296-010")
def test_strongswan_declines_and_loses_the_child_sa(lab: Lab) -> None:
    west, east = two_hosts(lab)
    ours = Ipsecme(west, TRANSPORT, remote=east)
    strongswan = StrongSwan(east, replace(TRANSPORT, mode="tunnel"), remote=west)
    for peer in (ours, strongswan):
        lab.at_end(peer.stop)
        peer.start()
    with pytest.raises(StepFailed, match="declined transport mode"):
        ours.initiate()
    wait_until(
        lambda: [len(sa.children) for sa in strongswan.sas()] == [0],
        "an IKE SA without Child SA at strongSwan",
        seconds=10,
    )


@pytest.mark.vm
@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.requirement("R7296-010", "R7296-158", "R7296-160")
def test_with_the_esp_of_a_kernel() -> None:
    """strongSwan and its kernel speak transport mode, on one link and across a NAT."""
    result = run_program(TRANSPORT_STORY, seconds=1500)
    assert result.status == 0, result.output
    assert result.output.count("intact=True") == 8, result.output
