"""IKE_SA_INIT and IKE_AUTH between two engines."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.ike.config import AdmissionConfig, Identity, Retransmission
from ipsecme.ike.events import ChildSaCreated, IkeKeysDerived, IkeSaEstablished
from ipsecme.wire.ike import (
    FLAG_RESPONSE,
    NO_SPI,
    Header,
    KePayload,
    Message,
    NoncePayload,
    NotifyPayload,
    SaPayload,
)
from ipsecme.wire.numbers import ExchangeType, KeId, NotifyType
from support.pair import A, B, Link, Pair, peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.ike.services import Datagram

CBC = "aes128-sha256-ecp256"
GCM = "aes256gcm16-prfsha256-x25519"


def all_but(lost: int) -> Callable[[str, Datagram], bool]:
    """Return a filter that loses one datagram, counted from 0."""
    keep = iter(index != lost for index in range(100))
    return lambda _sender, _datagram: next(keep)


def inits(pair: Pair, sender: str) -> list[Message]:
    """Return the IKE_SA_INIT messages that one end sent."""
    return [
        Message.decode(d.data)
        for name, d in pair.sent
        if name == sender and Header.decode(d.data).exchange == ExchangeType.IKE_SA_INIT
    ]


def head(datagram: Datagram) -> Header:
    return Header.decode(datagram.data)


def test_two_round_trips_bring_both_sas_up() -> None:
    pair = Pair()
    pair.establish()
    assert pair.a.names() == ["IkeSaEstablished", "ChildSaCreated"]
    assert pair.b.names() == ["IkeSaEstablished", "ChildSaCreated"]
    assert len(pair.sent) == 4
    pair.check_sads()


@pytest.mark.requirement("R7296-034", "R7296-171", "R7296-059")
def test_the_message_ids_and_flags_are_those_of_section_2_2() -> None:
    pair = Pair()
    pair.establish()
    headers = [Header.decode(d.data) for _, d in pair.sent]
    assert [h.message_id for h in headers] == [0, 0, 1, 1]
    assert [h.from_original_initiator for h in headers] == [True, False, True, False]
    assert [h.is_response for h in headers] == [False, True, False, True]
    assert headers[0].spi_r == NO_SPI
    assert headers[1].spi_r != NO_SPI


@pytest.mark.requirement("R7296-034", "R7296-035")
def test_each_end_counts_its_own_requests_and_retries_of_the_first_count_nothing() -> None:
    pair = Pair(
        a=peer("a", ike=("aes256gcm16-prfsha256-x25519-ecp256",)),
        b=peer("b", ike=("aes256gcm16-prfsha256-ecp256",)),
        admission=AdmissionConfig(cookie_threshold=0),
    )
    pair.establish()
    for node in (pair.a, pair.a, pair.b):
        pair.rekey(node, "net")
        pair.drive(10)
    asked = {
        name: [h.message_id for n, d in pair.sent if n == name and not (h := head(d)).is_response]
        for name in "ab"
    }
    # Three times IKE_SA_INIT, IKE_AUTH, then a rekeying and a Delete for each.
    assert asked["a"] == [0, 0, 0, 1, 2, 3, 4, 5]
    assert asked["b"] == [0, 1]
    for (_, datagram), (_, answer) in itertools.pairwise(pair.sent):
        if head(answer).is_response:
            assert head(answer).message_id == head(datagram).message_id


@pytest.mark.parametrize(
    "ike", [GCM, CBC, "aes256-sha512-prfsha384-x25519", "aes192gcm-prfsha512-ecp256"]
)
@pytest.mark.parametrize(
    "esp", ["aes256gcm16", "aes128gcm16-noesn", "aes256-sha384-esn", "aes128-sha512"]
)
def test_each_suite_works(ike: str, esp: str) -> None:
    pair = Pair(a=peer("a", ike=(ike,), esp=(esp,)), b=peer("b", ike=(ike,), esp=(esp,)))
    pair.establish()
    pair.check_sads()
    pair.rekey(pair.b)
    pair.drive()
    pair.rekey(pair.a, "net")
    pair.drive(10)
    pair.check_sads()


@pytest.mark.requirement("R7296-183", "R7296-071")
def test_the_responders_order_of_preference_decides() -> None:
    pair = Pair(
        a=peer("a", esp=("aes128gcm16-aes256gcm16",)), b=peer("b", esp=("aes256gcm16-aes128gcm16",))
    )
    pair.establish()
    created = pair.b.of(ChildSaCreated)[0]
    assert isinstance(created, ChildSaCreated)
    assert created.suite.key_bits == 256


@pytest.mark.requirement("R7296-068", "R7296-069", "STM-07")
def test_another_key_exchange_is_asked_for_and_all_else_stays() -> None:
    pair = Pair(
        a=peer("a", ike=("aes256gcm16-prfsha256-x25519-ecp256",)),
        b=peer("b", ike=("aes256gcm16-prfsha256-ecp256",)),
    )
    pair.establish()
    pair.check_sads()
    first, second = inits(pair, "a")
    assert first.spi_i == second.spi_i
    assert first.message_id == second.message_id == 0
    payloads = {type(p): p for p in first.payloads}, {type(p): p for p in second.payloads}
    assert payloads[0][SaPayload] == payloads[1][SaPayload]
    assert payloads[0][NoncePayload] == payloads[1][NoncePayload]
    methods = [p[KePayload].method for p in payloads]  # type: ignore[attr-defined]
    assert methods == [KeId.CURVE25519, KeId.ECP_256]
    refusal = inits(pair, "b")[0]
    assert refusal.spi_r == NO_SPI
    assert refusal.payloads == [
        NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, KeId.ECP_256.to_bytes(2))
    ]


@pytest.mark.requirement("R7296-060", "R7296-061", "M-61")
def test_a_cookie_is_asked_for_under_load_and_brought_first() -> None:
    pair = Pair(admission=AdmissionConfig(cookie_threshold=0))
    pair.establish()
    pair.check_sads()
    first, second = inits(pair, "a")
    cookie = second.payloads[0]
    assert isinstance(cookie, NotifyPayload)
    assert cookie.type == NotifyType.COOKIE
    assert second.payloads[1:] == first.payloads
    assert (second.spi_i, second.spi_r) == (first.spi_i, NO_SPI)
    assert pair.b.endpoint.counters["cookies_asked"] == 1


@pytest.mark.requirement("R7296-065", "R7296-110")
def test_a_cookie_and_another_key_exchange_together() -> None:
    pair = Pair(
        a=peer("a", ike=("aes256gcm16-prfsha256-x25519-ecp256",)),
        b=peer("b", ike=("aes256gcm16-prfsha256-ecp256",)),
        admission=AdmissionConfig(cookie_threshold=0),
    )
    pair.establish()
    pair.check_sads()
    # The cookie is kept in the retry for the other method (section 2.6.1): three requests in all.
    assert len(inits(pair, "a")) == 3


@pytest.mark.requirement("R7296-065")
def test_a_responder_may_want_a_new_cookie_for_the_other_key_exchange() -> None:
    """The secret changes while the messages travel, so that the first cookie is void again."""
    patient = Retransmission(first_wait=10)
    pair = Pair(
        Link(latency=1.0),
        a=peer("a", ike=("aes256gcm16-prfsha256-x25519-ecp256",), retransmission=patient),
        b=peer("b", ike=("aes256gcm16-prfsha256-ecp256",)),
        admission=AdmissionConfig(cookie_threshold=0, cookie_seconds=1.1),
    )
    pair.initiate()
    pair.drive(20)
    pair.check_sads()
    asked = [
        p.type for m in inits(pair, "b")[:-1] for p in m.payloads if isinstance(p, NotifyPayload)
    ]
    assert asked == [NotifyType.COOKIE, NotifyType.INVALID_KE_PAYLOAD, NotifyType.COOKIE]


@pytest.mark.requirement("R7296-064", "R7296-133")
@pytest.mark.parametrize("latency", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("wanted", ["cookie", "key exchange", "both"])
def test_answers_to_earlier_forms_of_the_first_request_harm_nothing(
    latency: float, wanted: str
) -> None:
    """The round trip is so long that several copies of the first request are under way."""
    threshold = 1000 if wanted == "key exchange" else 0
    method = "x25519-ecp256" if wanted == "cookie" else "ecp256"
    pair = Pair(
        Link(latency=latency, duplicate=0.2),
        a=peer("a", ike=("aes256gcm16-prfsha256-x25519-ecp256",)),
        b=peer("b", ike=(f"aes256gcm16-prfsha256-{method}",)),
        admission=AdmissionConfig(cookie_threshold=threshold),
    )
    pair.initiate()
    pair.drive(40)
    pair.check_sads()
    assert pair.a.names() == ["IkeSaEstablished", "ChildSaCreated"]
    assert pair.a.endpoint.counters["init_retries"] == (2 if wanted == "both" else 1)


@pytest.mark.requirement("R7296-064", "STM-16")
def test_a_responder_that_asks_for_cookies_forever_is_left() -> None:
    pair = Pair(link=Link(filter=lambda sender, _: sender == "a"))
    pair.initiate()
    spi_i = pair.a.endpoint.status()[0].ike_sas[0].spi_i
    for n in range(20):
        cookie = NotifyPayload(NotifyType.COOKIE, bytes([n]) * 8)
        answer = Message(
            bytes.fromhex(spi_i), NO_SPI, ExchangeType.IKE_SA_INIT, FLAG_RESPONSE, 0, [cookie]
        )
        path = pair.sent[0][1].path
        pair.a.endpoint.receive_datagram(answer.encode(), path, pair.now)
        pair.flush(pair.a)
    assert len(inits(pair, "a")) == 5
    pair.drive(10)
    assert "goes on answering COOKIE" in pair.a.events[0].detail  # type: ignore[union-attr]


@pytest.mark.requirement("R7296-046")
def test_initial_contact_replaces_what_the_peer_forgot() -> None:
    pair = Pair()
    pair.establish()
    restarted = Pair(a=peer("a"), seed=7)
    pair.a = restarted.a
    pair.initiate()
    pair.drive()
    assert pair.b.names()[2:] == [
        "ChildSaClosed",
        "IkeSaClosed",
        "IkeSaEstablished",
        "ChildSaCreated",
    ]
    pair.check_sads()


@pytest.mark.requirement("R7296-046", "R7296-115")
def test_initial_contact_of_somebody_without_the_key_replaces_nothing() -> None:
    pair = Pair()
    pair.establish()
    before = dict(pair.b.sad)
    honest = pair.a
    pair.a = Pair(a=peer("a", psk=b"another secret, as long as it"), seed=7).a
    pair.initiate()
    pair.drive(1)
    claim = next(m for m in pair.messages[::-1] if m.header.exchange == ExchangeType.IKE_AUTH)
    assert claim.types == ["AUTHENTICATION_FAILED"]
    assert any("INITIAL_CONTACT" in m.types for m in pair.messages[-2:])
    assert pair.b.names()[2:] == ["IkeSaFailed"]
    assert pair.b.sad == before
    pair.a = honest
    pair.rekey(pair.a, "net")
    pair.drive(10)
    pair.check_sads()


@pytest.mark.requirement("R7296-046")
def test_initial_contact_is_sent_in_the_first_ike_auth_and_only_without_another_ike_sa() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a)
    pair.drive(40)
    having = [m.header for m in pair.messages if "INITIAL_CONTACT" in m.types]
    assert [(h.exchange, h.message_id) for h in having] == [(ExchangeType.IKE_AUTH, 1)]
    pair = Pair()
    pair.establish()
    (old,) = pair.a.endpoint._registry
    pair.a.endpoint._registry.reopen(old, [], pair.now)
    pair.flush(pair.a)
    pair.drive(1)
    assert sum("INITIAL_CONTACT" in m.types for m in pair.messages) == 1


def test_any_identity_will_do_where_none_is_demanded() -> None:
    pair = Pair(b=peer("b", remote_id=None))
    pair.establish()
    pair.check_sads()


def test_several_child_sas_come_up_one_after_the_other() -> None:
    def children(side: str) -> tuple:  # type: ignore[type-arg]
        one = peer(side).children[0]
        far, near = (
            ("10.4.0.0/16", "10.3.0.0/16") if side == "a" else ("10.3.0.0/16", "10.4.0.0/16")
        )
        other = peer(side, local_ts=(near,), remote_ts=(far,)).children[0]
        return (one, type(other)("second", other.local_ts, other.remote_ts, other.proposals))

    pair = Pair(a=peer("a", children=children("a")), b=peer("b", children=children("b")))
    pair.establish()
    pair.check_sads(pairs=2)
    assert {p.child for p in pair.a.current} == {"net", "second"}
    assert {p.child for p in pair.b.current} == {"net", "second"}


def test_a_child_sa_asked_for_meanwhile_is_created_too() -> None:
    one = peer("a").children[0]
    other = peer("a", local_ts=("10.3.0.0/16",), remote_ts=("10.4.0.0/16",)).children[0]
    second = replace(other, name="second")
    far = replace(second, local_ts=second.remote_ts, remote_ts=second.local_ts)
    pair = Pair(
        a=peer("a", children=(one, second)), b=peer("b", children=(*peer("b").children, far))
    )
    pair.initiate(child="net")
    pair.initiate(child="second")
    pair.initiate(child="net")
    pair.drive()
    pair.check_sads(pairs=2)
    assert len(pair.a.endpoint._registry) == 1


@pytest.mark.parametrize(("listen", "answered"), [(None, True), (B, True), ("192.0.2.3", False)])
def test_a_connection_may_be_bound_to_one_address_of_ours(
    listen: str | None, answered: bool
) -> None:
    pair = Pair(b=replace(peer("b"), listen_address=listen))
    pair.establish()
    assert bool(pair.b.sad) == answered


def test_keys_are_exported_only_on_demand() -> None:
    pair = Pair()
    pair.establish()
    assert not pair.a.of(IkeKeysDerived)
    pair = Pair(export_keys=True)
    pair.establish()
    pair.rekey(pair.a)
    pair.drive()
    mine, theirs = pair.a.of(IkeKeysDerived), pair.b.of(IkeKeysDerived)
    assert len(mine) == len(theirs) == 2
    assert mine == theirs
    assert "Secret(...)" in repr(mine[0])


def test_losing_any_one_datagram_does_not_matter() -> None:
    for lost in range(4):
        pair = Pair(Link(filter=all_but(lost)))
        pair.establish()
        pair.check_sads()
        assert pair.a.names() == ["IkeSaEstablished", "ChildSaCreated"]
        assert pair.b.names() == ["IkeSaEstablished", "ChildSaCreated"]


@pytest.mark.requirement("R7296-028", "R7296-029", "R7296-032")
def test_a_retransmission_is_the_same_octets_and_gets_the_same_answer() -> None:
    dropped: list[bytes] = []

    def lose_first_responses(sender: str, datagram: object) -> bool:
        data = datagram.data  # type: ignore[attr-defined]
        mid = Header.decode(data).message_id
        if sender == "b" and dropped.count(bytes([mid])) < 2:
            dropped.append(bytes([mid]))
            return False
        return True

    pair = Pair(Link(filter=lose_first_responses))
    pair.drive(0)
    pair.initiate()
    pair.drive(20)
    pair.check_sads()
    for mid in (0, 1):
        for sender in "ab":
            same = {
                d.data
                for n, d in pair.sent
                if n == sender and Header.decode(d.data).message_id == mid
            }
            assert len(same) == 1
    assert pair.b.endpoint.counters["repeated_requests"] == 4


@pytest.mark.requirement("R7296-193")
def test_identities_parse_and_print() -> None:
    for text in ("192.0.2.1", "2001:db8::1", "gw.example.com", "alice@example.com", "@#00ff"):
        assert str(Identity.parse(text)) == text
    assert Identity.parse("GW.Example.Com").matches(Identity.parse("gw.example.com"))
    assert not Identity.parse("192.0.2.1").matches(Identity.parse("192.0.2.2"))


@pytest.mark.requirement("R7296-043")
def test_retransmission_waits_grow_and_end() -> None:
    waits = [Retransmission().wait(n) for n in range(1, 11)]
    assert waits == sorted(waits)
    assert 120 < sum(waits) < 300


def test_both_ends_may_call_at_once() -> None:
    pair = Pair()
    pair.initiate(pair.a)
    pair.initiate(pair.b)
    pair.drive(10)
    assert len(pair.a.of(IkeSaEstablished)) == 2
    assert len(pair.b.of(IkeSaEstablished)) == 2
    pair.check_sads(pairs=2)
    pair.terminate(pair.a)
    pair.drive(10)
    assert not pair.a.sad
    assert not pair.b.sad


def test_addresses_of_the_events_are_those_of_the_path() -> None:
    pair = Pair()
    pair.establish()
    up = pair.a.events[0]
    assert isinstance(up, IkeSaEstablished)
    assert (up.path.local.address, up.path.remote.address) == (A, B)
