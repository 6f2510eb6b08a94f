"""MOBIKE: the SAs follow an end that changes its address (RFC 4555)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.ike.events import IkeSaEstablished
from ipsecme.wire.numbers import ExchangeType
from support.pair import A, B, Link, Node, Pair, peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.ike.sa import IkeSa
    from ipsecme.ike.services import Datagram

A2, A3, B2 = "198.51.100.1", "203.0.113.1", "198.51.100.2"


class Network:
    """A link filter: which addresses have a cable in, in both directions."""

    def __init__(self, *addresses: str) -> None:
        self.up = {A, A2, A3, B, B2} if not addresses else set(addresses)

    def __call__(self, _sender: str, datagram: Datagram) -> bool:
        return {datagram.path.local.address, datagram.path.remote.address} <= self.up


def tell(pair: Pair, node: Node, addresses: Sequence[str], source: str | None = None) -> None:
    """Tell a node its addresses, and by which it reaches everybody (by default the first)."""
    best = addresses[0] if source is None and addresses else source
    node.endpoint.handle_addresses(addresses, pair.now, lambda _remote: best)
    pair.flush(node)


def connected(link: Link | None = None, **options: bool) -> tuple[Pair, Network]:
    network = Network()
    link = link or Link()
    link.filter = network
    pair = Pair(link, a=peer("a", **options), b=peer("b", **options))  # type: ignore[arg-type]
    for node, own in ((pair.a, [A, A2]), (pair.b, [B])):
        tell(pair, node, own)
    pair.establish()
    pair.check_sads()
    return pair, network


def sa_of(node: Node) -> IkeSa:
    (found,) = [sa for sa in node.endpoint._sas.values() if sa.state.value == "established"]
    return found


def where(node: Node) -> tuple[str, str]:
    """Return between which addresses the ESP packets of a node go."""
    (pair,) = {p.path for p in node.current}
    return pair.local.address, pair.remote.address


def informational(pair: Pair, sender: str) -> list[list[str]]:
    return [
        m.types
        for m in pair.messages
        if m.sender == sender and m.header.exchange == ExchangeType.INFORMATIONAL
    ]


def test_both_ends_agree_and_meet_on_port_4500_without_a_nat() -> None:
    pair, _ = connected()
    auth = [m.types for m in pair.messages if m.header.exchange == ExchangeType.IKE_AUTH]
    assert auth[0][-2:] == ["MOBIKE_SUPPORTED", "ADDITIONAL_IP4_ADDRESS"]
    assert auth[1][-1] == "MOBIKE_SUPPORTED"
    up = pair.a.events[0]
    assert isinstance(up, IkeSaEstablished)
    assert (up.nat, str(up.path)) == ("none", f"{A}:4500 to {B}:4500")
    assert not pair.a.current[0].path.encapsulated
    assert sa_of(pair.b).mobility.peer_addresses == (A2,)


def test_the_sas_follow_a_client_to_its_other_address_and_back() -> None:
    pair, network = connected()
    spis = set(pair.a.sad)
    for here, gone in ((A2, A), (A, A2)):
        network.up -= {gone}
        network.up |= {here}
        pair.messages.clear()
        tell(pair, pair.a, [here])
        pair.drive(2)
        pair.check_sads()
        assert where(pair.a) == (here, B)
        assert where(pair.b) == (B, here)
        assert informational(pair, "a")[0] == [
            "UPDATE_SA_ADDRESSES",
            "NAT_DETECTION_SOURCE_IP",
            "NAT_DETECTION_DESTINATION_IP",
            "NO_ADDITIONAL_ADDRESSES",
            "COOKIE2",
        ]
        assert informational(pair, "b") == [
            ["NAT_DETECTION_SOURCE_IP", "NAT_DETECTION_DESTINATION_IP", "COOKIE2"],
            ["COOKIE2"],
        ]
    assert set(pair.a.sad) == spis
    for node in (pair.a, pair.b):
        assert node.names().count("IkeSaEstablished") == 1
        assert node.names().count("PathChanged") == 2


def test_without_the_check_packets_follow_at_once() -> None:
    pair, network = connected(return_routability=False)
    network.up -= {A}
    tell(pair, pair.a, [A2])
    pair.drive(2)
    assert where(pair.b) == (B, A2)
    assert informational(pair, "b") == [
        ["NAT_DETECTION_SOURCE_IP", "NAT_DETECTION_DESTINATION_IP", "COOKIE2"]
    ]
