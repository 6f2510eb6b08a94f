"""NAT detection and traversal (RFC 7296, section 2.23)."""

from __future__ import annotations

import hashlib
import ipaddress

import pytest

from ipsecme.base import Path, Transport
from ipsecme.ike.events import IkeSaEstablished, PathChanged
from ipsecme.ike.tasks.natd import detection_hash
from ipsecme.wire.ike import Header, NotifyPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType
from support.crafted import Outgoing, edit
from support.pair import NAT_ADDRESS, A, B, Pair, peer


@pytest.mark.requirement("R7296-147")
def test_the_hash_is_sha1_over_spis_address_and_port() -> None:
    spi_i, spi_r = bytes(range(8)), bytes(8)
    v4 = detection_hash(spi_i, spi_r, Transport("192.0.2.1", 500))
    v6 = detection_hash(spi_i, spi_r, Transport("2001:db8::1", 4500))
    # By sha1sum over the octets written out.
    assert v4.hex() == "0c2765788bb4317853269fbdd80011b85b67ed2a"
    assert v6.hex() == "ca56e50f9d0bdf955717f87a0966d1c5684e9f76"


@pytest.mark.requirement("R7296-147")
def test_both_ends_describe_the_path_of_ike_sa_init() -> None:
    pair = Pair()
    pair.establish()
    request, response = pair.messages[:2]
    spi_i, spi_r = response.header.spi_i, response.header.spi_r
    for message, spi, here, there in ((request, bytes(8), A, B), (response, spi_r, B, A)):
        hashes = [p.data for p in message.payloads if isinstance(p, NotifyPayload)][:2]
        assert [t for t in message.types if "NAT" in t] == [
            "NAT_DETECTION_SOURCE_IP",
            "NAT_DETECTION_DESTINATION_IP",
        ]
        assert hashes == [
            hashlib.sha1(spi_i + spi + ipaddress.ip_address(end).packed + b"\1\xf4").digest()
            for end in (here, there)
        ]


@pytest.mark.requirement("R7296-149", "R7296-152", "M-80")
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


@pytest.mark.requirement("NET-01")
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
    # What waits for an answer follows, too.
    pair.link.filter = lambda sender, _: sender == "a"
    pair.rekey(pair.b, "net")
    assert pair.sent[-1][1].path.remote.port == 44_507
    pair.rebind_nat()
    pair.rekey(pair.a, "net")
    pair.drive(2)
    repeated = [d for name, d in pair.sent if name == "b" and not Header.decode(d.data).is_response]
    assert repeated[-1].data == repeated[-2].data
    assert repeated[-1].path.remote.port == 44_514
    pair.link.filter = None
    pair.drive(20)
    pair.check_sads()
    change, second = pair.b.of(PathChanged)
    assert second.new.remote.port == 44_514
    assert isinstance(change, PathChanged)
    assert change.new.remote == Transport(NAT_ADDRESS, 44_507)
    assert {p.path.remote.port for p in pair.b.sad.values()} == {44_514}


@pytest.mark.requirement("R7296-154", "NET-02")
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


@pytest.mark.requirement("R7296-148", "NET-01")
@pytest.mark.parametrize("sender", ["a", "b"])
@pytest.mark.parametrize("place", [0, 1, 5, None])
def test_one_of_several_source_hashes_that_fits_shows_that_there_is_no_nat(
    sender: str, place: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`place` is where among wrong ones the right one stands; None leaves it out."""

    def multiply(message: Outgoing) -> None:
        if message.exchange != ExchangeType.IKE_SA_INIT or message.sender != sender:
            return
        source = NotifyType.NAT_DETECTION_SOURCE_IP
        kinds = [p.type if isinstance(p, NotifyPayload) else None for p in message.payloads]
        at = kinds.index(source)
        right = message.payloads.pop(at)
        several: list[NotifyPayload] = [NotifyPayload(source, bytes([n]) * 20) for n in range(5)]
        message.payloads[at:at] = several
        if place is not None:
            message.payloads.insert(at + place, right)

    edit(monkeypatch, multiply)
    pair = Pair(a=peer("a", mobike=False))
    pair.establish()
    (seen,) = (pair.b if sender == "a" else pair.a).of(IkeSaEstablished)
    assert seen.nat == ("remote" if place is None else "none")
    if place is not None:
        pair.check_sads()


@pytest.mark.requirement("R7296-151", "M-80")
@pytest.mark.parametrize("nat", [False, True])
@pytest.mark.parametrize("mobike", [False, True])
@pytest.mark.parametrize("forced", [False, True])
def test_esp_in_udp_leaves_from_the_nat_traversal_port_alone(
    *, nat: bool, mobike: bool, forced: bool
) -> None:
    a = peer("a", mobike=mobike, encapsulate=forced)
    pair = Pair(a=a, b=peer("b", nat=nat, mobike=mobike), nat=nat)
    pair.establish()
    for node in (pair.a, pair.b):
        pair.rekey(node, "net")
        pair.drive(10)
        pair.rekey(node)
        pair.drive(10)
    paths = [node.current[0].path for node in (pair.a, pair.b)]
    for path in paths:
        assert path.encapsulated == (nat or forced)
        if path.encapsulated:
            assert path.local.port == 4500
    assert paths[0].remote.port == (4500 if nat or forced else paths[0].remote.port)
    pair.check_sads()


@pytest.mark.requirement("R7296-151")
def test_esp_that_comes_to_the_ike_port_is_dropped() -> None:
    pair = Pair(nat=True)
    pair.establish()
    spi = pair.b.current[0].spi
    (sa,) = pair.b.endpoint._registry
    heard = sa.last_inbound_at
    pair.drive(1)
    path = Path(Transport("192.0.2.2", 500), Transport(NAT_ADDRESS, 44_500))
    sent = len(pair.sent)
    for size in (0, 8, 16, 20, 36, 100, 1400):
        pair.b.endpoint.receive_datagram(spi.to_bytes(4) + bytes(3) + b"\1" * size, path, pair.now)
    pair.flush(pair.b)
    assert len(pair.sent) == sent
    assert pair.b.endpoint.counters["dropped_malformed"] == 7
    assert sa.last_inbound_at == heard
