"""A client gets its addresses from a gateway and is reached by them (RFC 7296, section 2.19).

Both programs play both parts, and we play both at once. The client has no network behind it: what
it sends into the tunnel comes from the addresses that the gateway lends.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Tunnel
from ipsecme.lab.ping import ping
from ipsecme.lab.sites import INNER_IPV4, INNER_IPV6, two_sites
from ipsecme.lab.strongswan import StrongSwan
from ipsecme.lab.wait import wait_until

if TYPE_CHECKING:
    from ipsecme.lab.host import Host
    from ipsecme.lab.network import Lab
    from ipsecme.lab.peer import Peer, Site

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("_tun")]

TUNNEL = Tunnel(psk="a secret of client and gateway")
RANGES = ("10.9.0.0/24", "fd00:9::/120")
FIRST = ("10.9.0.1", "fd00:9::1")
NAME_SERVERS = ("10.2.0.53", "2001:db8:2::53")


def client_and_gateway(lab: Lab) -> tuple[Site, Site]:
    """Make a client without a network, and a gateway that lends addresses to whoever calls it."""
    west, east = two_sites(lab, inner=[INNER_IPV4, INNER_IPV6])
    client = replace(west, asks_for=("ipv4", "ipv6"), networks=(), inner=(), reachable_as=None)
    return client, replace(east, lends=RANGES, name_servers=NAME_SERVERS)


def start(lab: Lab, *peers: Peer) -> None:
    """Start daemons that end with the lab."""
    for peer in peers:
        lab.at_end(peer.stop)
        peer.start()


def addresses(host: Host) -> set[str]:
    """Return the addresses of a host."""
    return {
        entry["local"]
        for link in json.loads(host.run(["ip", "-j", "addr"]))
        for entry in link["addr_info"]
    }


def check_traffic(client: Site, gateway: Site, own: tuple[str, ...] = FIRST) -> None:
    """Both ends reach each other by the client's addresses, in both families."""
    for address, inner in zip(own, gateway.inner, strict=True):
        assert ping(client.host, address, inner).received == 5
        assert ping(gateway.host, inner, address).received == 5


def check_life(client: Peer, gateway: Peer) -> None:
    """Rekey everything from both ends: the addresses stay, and the traffic goes on."""
    check_traffic(client.site, gateway.site)
    for peer in (client, gateway):
        before = {sa.spi_initiator for sa in peer.sas()}
        peer.rekey_ike()
        peer.rekey_child()
        wait_until(
            lambda peer=peer, before=before: settled(peer, before),  # type: ignore[misc]
            "a new IKE SA with one Child SA",
        )
        check_traffic(client.site, gateway.site)


def settled(peer: Peer, before: set[int]) -> bool:
    live = [sa for sa in peer.sas() if sa.established]
    return (
        len(live) == 1
        and live[0].spi_initiator not in before
        and sum(child.installed for child in live[0].children) == 1
    )


def our_leases(gateway: Ipsecme) -> list[tuple[str, ...]]:
    (connection,) = gateway.status().connections
    return [sa.leased for sa in connection.ike_sas]


def check_our_client(client: Ipsecme) -> None:
    """What the gateway assigned stands on the device, in the status, and in the resolver's file."""
    (connection,) = client.status().connections
    (sa,) = connection.ike_sas
    assert sa.assigned == FIRST
    assert sa.dns == NAME_SERVERS
    assert set(FIRST) <= addresses(client.site.host)
    resolver = client.folder / "control.resolv.conf"
    assert resolver.read_text() == "".join(f"nameserver {one}\n" for one in NAME_SERVERS)


def check_gone(client: Ipsecme) -> None:
    """Nothing of what was assigned is left at the client."""
    wait_until(
        lambda: not set(FIRST) & addresses(client.site.host), "the addresses are off the device"
    )
    assert not (client.folder / "control.resolv.conf").exists()


@pytest.mark.interop
def test_a_strongswan_client_and_our_gateway(lab: Lab) -> None:
    west, east = client_and_gateway(lab)
    client, gateway = StrongSwan(west, TUNNEL, remote=east), Ipsecme(east, TUNNEL, remote=west)
    start(lab, gateway, client)
    client.initiate()
    assert our_leases(gateway) == [FIRST]
    assert set(FIRST) <= addresses(west.host)
    check_life(client, gateway)
    assert our_leases(gateway) == [FIRST]
    client.delete_ike()
    wait_until(lambda: our_leases(gateway) == [], "the lease ends with the IKE SA")
    client.initiate()
    assert our_leases(gateway) == [FIRST]
    check_traffic(west, east)


@pytest.mark.interop
def test_our_client_and_a_strongswan_gateway(lab: Lab) -> None:
    west, east = client_and_gateway(lab)
    client, gateway = Ipsecme(west, TUNNEL, remote=east), StrongSwan(east, TUNNEL, remote=west)
    start(lab, gateway, client)
    client.initiate()
    check_our_client(client)
    check_life(client, gateway)
    check_our_client(client)
    client.delete_ike()
    check_gone(client)
    client.initiate()  # and wishes for what it had
    check_our_client(client)
    check_traffic(west, east)


def test_our_client_and_our_gateway(lab: Lab) -> None:
    west, east = client_and_gateway(lab)
    client, gateway = Ipsecme(west, TUNNEL, remote=east), Ipsecme(east, TUNNEL, remote=west)
    start(lab, gateway, client)
    client.initiate()
    check_our_client(client)
    assert our_leases(gateway) == [FIRST]
    (connection,) = client.status().connections
    assert connection.ike_sas[0].networks == east.networks
    check_life(client, gateway)
    check_our_client(client)
    gateway.delete_ike()
    check_gone(client)
    assert our_leases(gateway) == []


@pytest.mark.interop
def test_a_client_that_authenticates_anew_keeps_its_addresses(lab: Lab) -> None:
    west, east = client_and_gateway(lab)
    client, gateway = Ipsecme(west, TUNNEL, remote=east), StrongSwan(east, TUNNEL, remote=west)
    client._connection += "reauthenticate = 6\n"
    start(lab, gateway, client)
    client.initiate()
    first = client.sas()[0].spi_initiator
    wait_until(lambda: settled(client, {first}), "another IKE SA in the place of the first")
    assert "reassigning online lease" in gateway.log_text()
    check_our_client(client)
    check_traffic(west, east)


def test_a_tunnel_to_everywhere_starts_at_the_assigned_addresses(lab: Lab) -> None:
    west, east = client_and_gateway(lab)
    east = replace(east, networks=("0.0.0.0/0", "::/0"))
    client, gateway = Ipsecme(west, TUNNEL, remote=east), Ipsecme(east, TUNNEL, remote=west)
    start(lab, gateway, client)
    client.initiate()
    for own, far in zip(FIRST, ("198.51.100.7", "2001:db8:ffff::7"), strict=True):
        (route,) = json.loads(west.host.run(["ip", "-j", "route", "get", far]))
        assert (route["dev"], route["prefsrc"]) == ("ipsec0", own)
    check_traffic(west, east)


def test_two_clients_have_two_addresses(lab: Lab) -> None:
    west, east = client_and_gateway(lab)
    host = lab.host("south")
    outside, _ = lab.link(host, east.host, ("198.51.100.9/24", "198.51.100.1/24"))
    south = replace(
        west, host=host, outside=outside, address="198.51.100.9", identity="south.example"
    )
    gateway = Ipsecme(east, TUNNEL, remote=west)
    # Whoever has the secret may come, to either address.
    gateway._connection = re.sub(r"(?m)^(local|remote_id) = .*\n", "", gateway._connection)
    clients = [
        Ipsecme(west, TUNNEL, remote=east),
        Ipsecme(south, TUNNEL, remote=replace(east, reachable_as="198.51.100.1")),
    ]
    start(lab, gateway, *clients)
    for client in clients:
        client.initiate()
    second = tuple(one.removesuffix("1") + "2" for one in FIRST)
    assert sorted(our_leases(gateway)) == [FIRST, second]
    for client, own in zip(clients, (FIRST, second), strict=True):
        check_traffic(client.site, east, own)
    clients[0].delete_ike()
    wait_until(lambda: our_leases(gateway) == [second], "the first lease has ended")
    check_traffic(south, east, second)
