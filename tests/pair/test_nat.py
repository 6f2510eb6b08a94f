"""NAT detection and traversal (RFC 7296, section 2.23)."""

from __future__ import annotations

import pytest

from ipsecme.base import Transport
from ipsecme.ike.events import IkeSaEstablished, PathChanged
from ipsecme.ike.tasks.natd import detection_hash
from ipsecme.wire.ike import Header
from support.pair import NAT_ADDRESS, Pair, peer


@pytest.mark.requirement("R7296-147")
def test_the_hash_is_sha1_over_spis_address_and_port() -> None:
    spi_i, spi_r = bytes(range(8)), bytes(8)
    v4 = detection_hash(spi_i, spi_r, Transport("192.0.2.1", 500))
    v6 = detection_hash(spi_i, spi_r, Transport("2001:db8::1", 4500))
    # By sha1sum over the octets written out.
    assert v4.hex() == "0c2765788bb4317853269fbdd80011b85b67ed2a"
    assert v6.hex() == "ca56e50f9d0bdf955717f87a0966d1c5684e9f76"


@pytest.mark.requirement("R7296-149", "R7296-152")
def test_behind_a_nat_ike_and_esp_move_to_port_4500() -> None:
    pair = Pair(nat=True)
    pair.establish()
    pair.check_sads()
    up_a, up_b = pair.a.events[0], pair.b.events[0]
    assert isinstance(up_a, IkeSaEstablished)
    assert isinstance(up_b, IkeSaEstablished)
    assert (up_a.nat, up_b.nat) == ("local", "remote")
    ports = [(d.path.local.port, d.path.remote.port) for name, d in pair.sent if name == "a"]
    assert ports == [(500, 500), (4500, 4500)]
    (mine,), (theirs,) = pair.a.current, pair.b.current
    assert mine.path.encapsulated
    assert theirs.path.encapsulated
    assert theirs.path.remote == Transport(NAT_ADDRESS, 44_500)


def test_without_nat_nothing_moves() -> None:
    pair = Pair(a=peer("a", mobike=False))
    pair.establish()
    assert {d.path.local.port for _, d in pair.sent} == {500}
    assert not pair.a.current[0].path.encapsulated


@pytest.mark.requirement("R7296-153")
def test_only_the_end_behind_the_nat_sends_keepalives() -> None:
    pair = Pair(nat=True)
    pair.establish()
    pair.drive(100)
    keepalives = [name for name, d in pair.sent if d.data == b"\xff"]
    assert set(keepalives) == {"a"}
    assert len(keepalives) == 5


@pytest.mark.parametrize("forcing", ["a", "b"])
def test_encapsulation_can_be_forced_from_either_end(forcing: str) -> None:
    pair = Pair(a=peer("a", encapsulate=forcing == "a"), b=peer("b", encapsulate=forcing == "b"))
    pair.establish()
    pair.check_sads()
    assert pair.a.current[0].path.encapsulated
    assert pair.b.current[0].path.encapsulated
    pair.rekey(pair.a, "net")
    pair.drive(10)
    pair.rekey(pair.b)
    pair.drive(10)
    pair.rekey(pair.b, "net")
    pair.drive(10)
    pair.check_sads()
    assert pair.b.current[0].path.encapsulated


@pytest.mark.requirement("R7296-154", "R7296-156")
def test_the_end_without_nat_follows_a_rebound_peer_and_answers_there() -> None:
    pair = Pair(nat=True, a=peer("a", mobike=False))
    pair.establish()
    pair.rebind_nat()
    pair.rekey(pair.a, "net")
    pair.drive(1)
    pair.check_sads()
    (change,) = pair.b.of(PathChanged)
    assert isinstance(change, PathChanged)
    assert change.new.remote == Transport(NAT_ADDRESS, 44_507)
    assert {p.path.remote.port for p in pair.b.sad.values()} == {44_507}


@pytest.mark.requirement("R7296-154")
@pytest.mark.parametrize("mobike", [False, True])
def test_a_forged_or_repeated_message_from_elsewhere_moves_nothing(mobike: bool) -> None:
    pair = Pair(nat=True, a=peer("a", mobike=mobike))
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.drive(4)
    before = pair.b.current[0].path
    requests = [
        d
        for name, d in pair.sent
        if name == "a" and len(d.data) > 1 and not Header.decode(d.data).is_response
    ]
    last = requests[-1]
    arriving = pair.cross(pair.a, last)
    assert arriving is not None
    elsewhere = arriving.path._replace(remote=Transport("203.0.113.66", 4500))
    pair.b.endpoint.receive_datagram(last.data, elsewhere, pair.now)
    assert pair.b.endpoint.counters["repeated_requests"] == 1
    damaged = last.data[:23] + bytes([last.data[23] + 1]) + last.data[24:]
    pair.b.endpoint.receive_datagram(damaged, elsewhere, pair.now)
    pair.flush(pair.b)
    assert pair.b.current[0].path == before
    assert not pair.b.of(PathChanged)


@pytest.mark.requirement("R7296-155")
def test_a_host_behind_a_nat_does_not_follow() -> None:
    """A fresh message by another way changes nothing, although the peer's next answers go there."""
    pair = Pair(nat=True, a=peer("a", mobike=False))
    pair.establish()
    before = pair.a.current[0].path
    pair.link.filter = lambda sender, _: sender == "a"
    pair.rekey(pair.b, "net")
    request = pair.cross(pair.b, pair.sent[-1][1])
    assert request is not None
    elsewhere = request.path._replace(remote=Transport("203.0.113.66", 4500))
    pair.a.endpoint.receive_datagram(request.data, elsewhere, pair.now)
    (answer,) = pair.a.drain(pair.now)
    assert answer.path == elsewhere  # section 2.11
    assert not pair.a.of(PathChanged)
    (sa,) = pair.a.endpoint._registry
    assert sa.path == before
    assert {p.path for p in pair.a.sad.values()} == {before}
