"""Whatever arrives: no exception, no state from the unauthenticated, and the next exchange
works.
"""

from __future__ import annotations

import gc
import random
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from ipsecme.base import Path, Transport
from ipsecme.ike.events import ChildSaFailed, IkeSaClosed
from ipsecme.ike.protect import seal_message
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    NO_SPI,
    Attribute,
    DeletePayload,
    EncryptedPayload,
    Header,
    IdentityPayload,
    KePayload,
    Message,
    NoncePayload,
    NotifyPayload,
    Payload,
    Proposal,
    SaPayload,
    Transform,
    TsPayload,
    UnknownPayload,
    UnknownSelector,
)
from ipsecme.wire.numbers import (
    AttributeType,
    ExchangeType,
    IdType,
    KeId,
    NotifyType,
    PayloadType,
    ProtocolId,
    TransformType,
    TsType,
)
from support.pair import Node, Pair, peer

if TYPE_CHECKING:
    from ipsecme.ike.sa import IkeSa

PEER = Path(Transport("192.0.2.2", 500), Transport("192.0.2.1", 500))
STRANGER = Path(Transport("192.0.2.2", 500), Transport("203.0.113.66", 500))


def only_sa(node: Node) -> IkeSa:
    """Return the one IKE SA of a node."""
    (sa,) = node.endpoint._registry
    return sa


def state_of(node: Node) -> tuple[object, ...]:
    """Return what must not change by a message that is not the peer's."""
    return (
        [
            (
                sa.state,
                sa.path,
                sa.dialogue.requests.next_id,
                sa.dialogue.responses.next_id,
                sa.last_inbound_at,
                len(sa.children),
            )
            for sa in node.endpoint._registry
        ],
        dict(node.sad),
        node.endpoint.half_open,
        len(node.events),
    )


def still_works(pair: Pair) -> None:
    """Another rekeying of each kind passes."""
    pair.rekey(pair.a, "net")
    pair.drive(10)
    pair.rekey(pair.b)
    pair.drive(10)
    pair.check_sads()


def send_sealed(pair: Pair, payloads: list[Payload], exchange: ExchangeType) -> list[NotifyPayload]:
    """Let `a` send a request with these payloads; return the Notify payloads of the answer."""
    sa = only_sa(pair.a)
    assert sa.sealing is not None
    assert sa.opening is not None
    flags = FLAG_INITIATOR if sa.original_initiator else 0
    mid = sa.dialogue.requests.next_id
    message = Message(sa.spi_i, sa.spi_r, exchange, flags, mid, payloads)
    datagram = seal_message(message, sa.sealing)
    path = Path(sa.path.remote, sa.path.local)
    sa.dialogue.requests.next_id += 1
    pair.b.endpoint.receive_datagram(datagram, path, pair.now)
    answers = pair.b.drain(pair.now)
    if not answers:
        return []
    from ipsecme.ike.protect import inside, open_message

    opened = open_message(answers[0].data, Header.decode(answers[0].data), sa.opening)
    assert isinstance(opened, bytes)
    return [p for p in inside(opened) if isinstance(p, NotifyPayload)]


def test_each_truncation_and_each_flipped_octet_of_a_handshake_is_survived() -> None:
    model = Pair()
    model.establish()
    for index in range(4):
        size = len(model.sent[index][1].data)
        for position in range(0, size, 7):
            pair = Pair()
            pair.initiate()
            while len(pair.sent) <= index:
                pair.step(pair.now + 10)
            sender, datagram = pair.sent[index]
            node = pair.b if sender == "a" else pair.a
            path = Path(datagram.path.remote, datagram.path.local)
            flipped = bytearray(datagram.data)
            flipped[position] ^= 0x55
            for data in (bytes(flipped), datagram.data[:position], datagram.data + bytes(position)):
                node.endpoint.receive_datagram(data, path, pair.now)
                pair.flush(node)
            pair.drive(60)
            # A flipped octet of IKE_SA_INIT may spoil this attempt, as nothing protects it; the
            # signed octets reveal it, and what is up is the same at both ends.
            if index >= 2:
                pair.check_sads()


@pytest.mark.requirement("R7296-033", "R7296-172", "STM-18")
def test_everything_sent_comes_back_to_its_sender() -> None:
    pair = Pair()
    pair.establish()
    before = state_of(pair.a), state_of(pair.b)
    for sender, datagram in list(pair.sent):
        node = pair.a if sender == "a" else pair.b
        node.endpoint.receive_datagram(datagram.data, datagram.path, pair.now)
    assert (state_of(pair.a), state_of(pair.b)) == before
    assert pair.a.endpoint.counters["dropped_reflected"] == 2
    pair.a.drain(pair.now)
    pair.b.drain(pair.now)
    still_works(pair)


@pytest.mark.requirement("R7296-172")
@pytest.mark.parametrize("established", [False, True])
def test_the_role_that_a_flag_claims_has_to_be_the_peers(established: bool) -> None:
    """An answer that calls its sender the original initiator, whom it is for."""
    pair = Pair()
    pair.initiate()
    pair.link.filter = lambda sender, _: sender == "a" or established
    pair.drive(0.2)
    sa = only_sa(pair.a)
    answer = Message.decode(next(d.data for name, d in pair.sent if name == "b"))
    assert answer.payloads
    answer.flags |= FLAG_INITIATOR
    answer.spi_i, answer.spi_r = answer.spi_r, sa.spi_i
    before = state_of(pair.a)
    pair.a.endpoint.receive_datagram(answer.encode(), PEER, pair.now)
    assert state_of(pair.a) == before
    assert (sa.agreed_suite is not None) == established
    assert pair.a.endpoint.counters["dropped_wrong_peer_spi"] == 1


def test_everything_recorded_arrives_again() -> None:
    pair = Pair()
    pair.establish()
    pair.rekey(pair.a, "net")
    pair.drive(1)
    recorded = list(pair.sent)
    before = state_of(pair.a), state_of(pair.b)
    for sender, datagram in recorded:
        node = pair.b if sender == "a" else pair.a
        node.endpoint.receive_datagram(datagram.data, STRANGER, pair.now)
    assert (state_of(pair.a), state_of(pair.b)) == before
    pair.a.drain(pair.now)
    pair.b.drain(pair.now)
    still_works(pair)


@pytest.mark.requirement("R7296-132", "R7296-133", "R7296-144", "STM-18")
@pytest.mark.parametrize(
    "kind",
    [
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.AUTHENTICATION_FAILED,
        NotifyType.INVALID_IKE_SPI,
        NotifyType.INVALID_SYNTAX,
    ],
)
def test_forged_errors_in_clear_end_nothing(kind: NotifyType) -> None:
    pair = Pair()
    pair.initiate()
    for step in range(4):
        spi_i = next(iter(pair.a.endpoint._registry)).spi_i
        for exchange in (ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH):
            for mid in (0, 1):
                forged = Message(
                    spi_i, bytes(8), exchange, FLAG_RESPONSE, mid, [NotifyPayload(kind)]
                )
                path = Path(*reversed(STRANGER[:2]))
                pair.a.endpoint.receive_datagram(forged.encode(), path, pair.now)
                pair.flush(pair.a)
        if step < 3:
            pair.step(pair.now + 1)
    pair.drive(10)
    assert pair.a.names() == ["IkeSaEstablished", "ChildSaCreated"]
    pair.check_sads()


@pytest.mark.requirement("R7296-216", "PAR-12")
@given(
    st.binary(max_size=200), st.integers(0, 3), st.integers(34, 38), st.sampled_from([8, 32, 40, 0])
)
@settings(max_examples=300, deadline=None)
def test_any_octets_behind_a_fitting_header(
    body: bytes, mid: int, exchange: int, flags: int
) -> None:
    pair = Pair()
    pair.establish()
    before = state_of(pair.a), state_of(pair.b)
    for node in (pair.a, pair.b):
        sa = only_sa(node)
        for first in (46, 53, 33, 41, 200):
            header = Header(
                sa.spi_i,
                sa.spi_r,
                first,
                0x20,
                ExchangeType.of(exchange),
                flags,
                mid,
                28 + len(body),
            )
            path = Path(sa.path.local, sa.path.remote)
            node.endpoint.receive_datagram(header.encode() + body, path, pair.now)
    assert (state_of(pair.a), state_of(pair.b)) == before
    pair.a.drain(pair.now)
    pair.b.drain(pair.now)
    still_works(pair)


@pytest.mark.requirement("PAR-05")
@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_octets_at_all(data: bytes) -> None:
    pair = Pair()
    pair.b.endpoint.receive_datagram(data, STRANGER, pair.now)
    pair.b.drain(pair.now)
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("R7296-055")
@pytest.mark.parametrize("exchange", [ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL])
def test_a_request_with_an_unknown_critical_payload_is_refused_as_a_whole(
    exchange: ExchangeType,
) -> None:
    pair = Pair()
    pair.establish()
    stranger = UnknownPayload(PayloadType.of(200), 0x80, b"?")
    delete = DeletePayload(ProtocolId.IKE)
    (notify,) = send_sealed(pair, [delete, stranger], exchange)
    assert notify.type == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
    assert notify.data == bytes([200])
    # After IKE_AUTH it takes a Delete, or INVALID_SYNTAX, to end an IKE SA (section 2.21.3).
    assert not pair.b.of(IkeSaClosed)
    still_works(pair)


@pytest.mark.requirement("R7296-136")
@pytest.mark.parametrize(
    ("payloads", "kind"),
    [
        (
            [UnknownPayload(PayloadType.of(200), 0x80, b"?")],
            NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD,
        ),
        ([], NotifyType.INVALID_SYNTAX),
        ([UnknownPayload(PayloadType.NOTIFY, 0, b"\0\4")], NotifyType.INVALID_SYNTAX),
    ],
)
def test_a_bad_ike_auth_is_answered_with_one_notify_under_the_keys(
    payloads: list[Payload], kind: NotifyType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at the proof of identity then."""
    from ipsecme.ike.auth import proof

    monkeypatch.setattr(proof, "check", None)
    pair = Pair()
    pair.initiate()
    while len(pair.sent) < 3:
        pair.step(pair.now + 1)
    only_sa(pair.a).dialogue.requests.next_id = 1
    (notify,) = send_sealed(pair, payloads, ExchangeType.IKE_AUTH)
    assert notify.type == kind
    assert not pair.b.sad
    assert pair.b.names() == ["IkeSaFailed"]
    assert pair.b.endpoint.half_open == 0


@pytest.mark.requirement("R7296-137")
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("kind", "data", "ends"),
    [
        (NotifyType.AUTHENTICATION_FAILED, b"", True),
        (NotifyType.INVALID_SYNTAX, b"", True),
        (NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, b"\xc8", True),
        (NotifyType.NO_PROPOSAL_CHOSEN, b"", False),
        (NotifyType.TS_UNACCEPTABLE, b"", False),
        (NotifyType.TEMPORARY_FAILURE, b"", False),
        (NotifyType.of(9_000), b"", False),
    ],
)
def test_which_errors_end_an_ike_sa_right_after_ike_auth(
    kind: NotifyType, data: bytes, ends: bool, later: bool
) -> None:
    pair = Pair()
    pair.establish()
    if later:
        assert send_sealed(pair, [], ExchangeType.INFORMATIONAL) == []
    assert send_sealed(pair, [NotifyPayload(kind, data)], ExchangeType.INFORMATIONAL) == []
    ended = ends and (not later or kind == NotifyType.AUTHENTICATION_FAILED)
    assert bool(pair.b.of(IkeSaClosed)) == ended
    if not ended:
        still_works(pair)


@pytest.mark.requirement("R7296-204")
@pytest.mark.parametrize("exchange", ["child", "ike"])
def test_an_unknown_error_in_a_response_fails_the_request_and_no_more(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ipsecme.ike.failures import Refused
    from ipsecme.ike.tasks.child_rekey import ChildRekey
    from ipsecme.ike.tasks.ike_rekey import IkeRekey

    def refuse(_task: object, _ctx: object) -> None:
        raise Refused(NotifyType.of(9_000), "for no reason that anybody knows")

    pair = Pair()
    pair.establish()
    before = set(pair.a.sad)
    with monkeypatch.context() as patch:
        patch.setattr(ChildRekey if exchange == "child" else IkeRekey, "read_request", refuse)
        pair.rekey(pair.a, "net" if exchange == "child" else None)
        pair.drive(1)
    assert len(pair.a.endpoint._registry) == 1
    assert set(pair.a.sad) == before
    assert not pair.a.of(IkeSaClosed)
    assert bool(pair.a.of(ChildSaFailed)) == (exchange == "child")
    still_works(pair)


@pytest.mark.requirement("R7296-211")
@pytest.mark.parametrize("beside", [False, True])
def test_selectors_of_an_unknown_type_are_passed_over(beside: bool) -> None:
    pair = Pair()
    pair.establish()
    strange = UnknownSelector(TsType.of(200), 0, bytes(12))
    known = (parse_selector("10.1.0.0/16"), parse_selector("10.2.0.0/16"))
    tsi, tsr = (((strange, one) if beside else (strange,)) for one in known)
    transforms = (
        Transform(TransformType.ENCR, 20, (Attribute(AttributeType.KEY_LENGTH, 256),)),
        Transform(TransformType.ESN, 1),
    )
    payloads: list[Payload] = [
        SaPayload((Proposal(1, ProtocolId.ESP, b"\1\2\3\4", transforms),)),
        NoncePayload(bytes(32)),
        TsPayload(PayloadType.TSi, tsi),
        TsPayload(PayloadType.TSr, tsr),
    ]
    notifies = send_sealed(pair, payloads, ExchangeType.CREATE_CHILD_SA)
    assert [n.type for n in notifies] == ([] if beside else [NotifyType.TS_UNACCEPTABLE])
    assert len(pair.b.sad) == 1 + beside
    assert not pair.b.of(IkeSaClosed)


@pytest.mark.requirement("R7296-173")
def test_what_is_encrypted_holds_nothing_encrypted() -> None:
    pair = Pair()
    pair.establish()
    nested = EncryptedPayload(PayloadType.of(0), bytes(40))
    (notify,) = send_sealed(pair, [nested], ExchangeType.INFORMATIONAL)
    assert notify.type == NotifyType.INVALID_SYNTAX


@pytest.mark.requirement("R7296-054")
def test_an_unknown_payload_that_is_not_critical_is_skipped() -> None:
    pair = Pair()
    pair.establish()
    stranger = UnknownPayload(PayloadType.of(200), 0, b"?")
    assert send_sealed(pair, [stranger], ExchangeType.INFORMATIONAL) == []
    assert not pair.b.of(IkeSaClosed)
    still_works(pair)


@pytest.mark.requirement("R7296-141", "R7296-174", "STM-01")
@pytest.mark.parametrize(
    ("exchange", "payloads"),
    [
        (ExchangeType.CREATE_CHILD_SA, []),
        (ExchangeType.IKE_AUTH, [IdentityPayload(PayloadType.IDi, IdType.ID_FQDN, b"x")]),
        (ExchangeType.of(200), []),
        (
            ExchangeType.CREATE_CHILD_SA,
            [
                NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.AH, b"1234"),
                NoncePayload(bytes(16)),
            ],
        ),
    ],
)
def test_requests_that_make_no_sense_get_invalid_syntax(
    exchange: ExchangeType, payloads: list[Payload]
) -> None:
    pair = Pair()
    pair.establish()
    (notify,) = send_sealed(pair, payloads, exchange)
    assert notify.type == NotifyType.INVALID_SYNTAX
    assert pair.b.reasons(IkeSaClosed) == ["invalid_syntax"]
    assert not pair.b.sad


@pytest.mark.requirement("R7296-141")
def test_invalid_syntax_ends_the_ike_sa_at_the_end_that_hears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that lacks what it needs: both ends forget the IKE SA, and no Delete is sent."""
    from ipsecme.ike.tasks.child_rekey import ChildRekey

    pair = Pair()
    pair.establish()
    monkeypatch.setattr(ChildRekey, "build_request", lambda _task, _ctx: None)
    pair.rekey(pair.a, "net")
    pair.drive(1)
    for node in (pair.a, pair.b):
        assert node.reasons(IkeSaClosed) == ["invalid_syntax"]
        assert not node.sad
    assert not any(isinstance(p, DeletePayload) for m in pair.messages for p in m.payloads)


@pytest.mark.requirement("R7296-208", "R7296-165", "STM-06")
def test_deletes_of_what_is_not_there_are_answered_and_harmless() -> None:
    pair = Pair()
    pair.establish()
    inbound = only_sa(pair.a).children
    (child,) = inbound
    spi = child.spi.to_bytes(4)
    payloads: list[Payload] = [
        DeletePayload(ProtocolId.ESP, (b"\1\2\3\4", b"\0\0\0\0")),
        DeletePayload(ProtocolId.AH, (spi,)),
        DeletePayload(ProtocolId.ESP, ()),
    ]
    send_sealed(pair, payloads, ExchangeType.INFORMATIONAL)
    pair.check_sads()
    send_sealed(
        pair,
        [DeletePayload(ProtocolId.ESP, (spi, spi)), DeletePayload(ProtocolId.IKE)] * 2,
        ExchangeType.INFORMATIONAL,
    )
    assert pair.b.reasons(IkeSaClosed) == ["deleted_by_peer"]
    assert not pair.b.sad


@pytest.mark.requirement("R7296-217", "R7296-136")
def test_a_thousand_bad_messages_do_not_spoil_a_good_one() -> None:
    pair = Pair()
    pair.establish()
    rng = random.Random(1)
    good = pair.sent[2][1].data
    before = state_of(pair.b)
    for _ in range(1000):
        bad = bytearray(good)
        bad[23] = 2  # the Message ID that is expected next
        bad[rng.randrange(32, len(bad))] ^= 1 << rng.randrange(8)
        pair.b.endpoint.receive_datagram(bytes(bad), STRANGER, pair.now)
    assert pair.b.endpoint.counters["dropped_integrity_failure"] == 1000
    assert state_of(pair.b) == before
    assert not pair.b.drain(pair.now)
    still_works(pair)


@pytest.mark.requirement("R7296-027", "R7296-143", "R7296-050", "PAR-11")
def test_strays_are_answered_sparingly_and_responses_never() -> None:
    pair = Pair()
    stray = Header(b"12345678", b"87654321", 46, 0x20, ExchangeType.INFORMATIONAL, 8, 5, 28)
    for _ in range(50):
        pair.b.endpoint.receive_datagram(stray.encode(), STRANGER, pair.now)
    answers = pair.b.drain(pair.now)
    assert 1 <= len(answers) <= 10
    answer = Message.decode(answers[0].data)
    assert (answer.spi_i, answer.spi_r) == (b"12345678", b"87654321")
    assert (answer.message_id, answer.exchange) == (5, ExchangeType.INFORMATIONAL)
    assert answer.flags == FLAG_RESPONSE
    assert answer.payloads == [NotifyPayload(NotifyType.INVALID_IKE_SPI)]
    assert not pair.b.endpoint._registry
    pair.now += 2  # answers would be possible again
    for flags in (FLAG_RESPONSE, FLAG_RESPONSE | FLAG_INITIATOR):
        response = stray._replace(flags=flags)
        pair.b.endpoint.receive_datagram(response.encode(), STRANGER, pair.now)
        assert not pair.b.drain(pair.now)
    pair.b.endpoint.receive_datagram(stray.encode(), STRANGER, pair.now)
    (again,) = pair.b.drain(pair.now)
    assert again.path == STRANGER


@pytest.mark.requirement("R7296-052", "AUT-11")
@pytest.mark.parametrize(
    ("version", "notify"), [(0x30, NotifyType.INVALID_MAJOR_VERSION), (0x10, None)]
)
def test_other_major_versions(version: int, notify: NotifyType | None) -> None:
    pair = Pair()
    header = Header(b"12345678", NO_SPI, 0, version, ExchangeType.IKE_SA_INIT, 8, 0, 28)
    pair.b.endpoint.receive_datagram(header.encode(), STRANGER, pair.now)
    answers = [Message.decode(d.data) for d in pair.b.drain(pair.now)]
    assert [a.version for a in answers] == ([] if notify is None else [0x20])
    assert [a.payloads for a in answers] == ([] if notify is None else [[NotifyPayload(notify)]])
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("R7296-051", "R7296-053")
def test_a_higher_minor_version_and_reserved_bits_are_ignored() -> None:
    pair = Pair()
    pair.initiate()
    data = bytearray(pair.sent[0][1].data)
    data[17] = 0x2F
    data[19] |= 0x47
    path = Path(*reversed(pair.sent[0][1].path[:2]))
    pair.b.endpoint.receive_datagram(bytes(data), path, pair.now)
    assert pair.b.endpoint.half_open == 1


@pytest.mark.requirement("R7296-189", "STM-07", "CRY-02")
@pytest.mark.parametrize("size", [0, 31, 33, 65000 - 28])
def test_public_values_of_a_wrong_size_leave_nothing_behind(size: int) -> None:
    pair = Pair()
    pair.initiate()
    message = Message.decode(pair.sent[0][1].data)
    for index, payload in enumerate(message.payloads):
        if isinstance(payload, KePayload):
            message.payloads[index] = KePayload(KeId.CURVE25519, bytes(size))
    pair.b.endpoint.receive_datagram(message.encode(), PEER, pair.now)
    (answer,) = pair.b.drain(pair.now)
    assert Message.decode(answer.data).payloads == [NotifyPayload(NotifyType.INVALID_SYNTAX)]
    assert not pair.b.endpoint._registry


@pytest.mark.requirement("R7296-103", "CRY-01")
def test_a_low_order_point_is_refused_by_both_roles() -> None:
    pair = Pair()
    pair.initiate()
    message = Message.decode(pair.sent[0][1].data)
    message.payloads = [
        KePayload(p.method, bytes(32)) if isinstance(p, KePayload) else p for p in message.payloads
    ]
    pair.b.endpoint.receive_datagram(message.encode(), PEER, pair.now)
    (answer,) = pair.b.drain(pair.now)
    assert Message.decode(answer.data).payloads == [NotifyPayload(NotifyType.INVALID_SYNTAX)]
    pair.drive(0.011)
    response = Message.decode(next(d.data for n, d in pair.sent if n == "b"))
    response.payloads = [
        KePayload(p.method, bytes(32)) if isinstance(p, KePayload) else p for p in response.payloads
    ]
    other = Pair()
    other.initiate()
    response.spi_i = next(iter(other.a.endpoint._registry)).spi_i
    path = Path(*reversed(STRANGER[:2]))
    other.a.endpoint.receive_datagram(response.encode(), path, other.now)
    assert only_sa(other.a).agreed_suite is None
    assert other.a.endpoint.counters["dropped_init_response_refused"] == 1
    other.drive()
    other.check_sads()


@pytest.mark.requirement("AUT-12")
def test_a_stripped_offer_is_noticed() -> None:
    """Somebody in the middle removes the better algorithms; AUTH covers the message (2.15)."""
    both = ("aes256gcm16-prfsha256-x25519", "aes128-sha256-x25519")
    pair = Pair(a=peer("a", ike=both), b=peer("b", ike=both))
    pair.initiate()
    pair._queue.clear()
    message = Message.decode(pair.sent[0][1].data)
    for index, payload in enumerate(message.payloads):
        if isinstance(payload, SaPayload):
            weaker = payload.proposals[1]
            message.payloads[index] = SaPayload((weaker._replace(number=1),))
    path = Path(*reversed(pair.sent[0][1].path[:2]))
    pair.b.endpoint.receive_datagram(message.encode(), path, pair.now)
    pair.flush(pair.b)
    pair.drive(0.2)  # before the true request is repeated
    assert not pair.a.sad
    assert not pair.b.sad


@pytest.mark.requirement("R7296-019", "STM-01", "STM-02")
def test_requests_before_authentication_are_dropped() -> None:
    pair = Pair()
    pair.initiate()
    while len(pair.sent) < 3:
        pair.step(pair.now + 1)
    initiator, responder = only_sa(pair.a), only_sa(pair.b)
    for sa, node in ((initiator, pair.b), (responder, pair.a)):
        assert sa.sealing is not None
        flags = FLAG_INITIATOR if sa.original_initiator else 0
        mid = 1 if sa.original_initiator else 0
        message = Message(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, flags, mid, [])
        before = state_of(node)
        path = Path(sa.path.remote, sa.path.local)
        node.endpoint.receive_datagram(seal_message(message, sa.sealing), path, pair.now)
        assert state_of(node) == before
        assert node.endpoint.counters["dropped_request_before_authentication"] == 1
    pair.drive()
    pair.check_sads()


@pytest.mark.requirement("R7296-103")
def test_keys_of_a_closed_ike_sa_are_forgotten() -> None:
    pair = Pair()
    pair.establish()
    kept = [weakref.ref(only_sa(node)) for node in (pair.a, pair.b)]
    pair.rekey(pair.a)
    pair.drive(60)
    kept += [weakref.ref(only_sa(node)) for node in (pair.a, pair.b)]
    pair.terminate(pair.b)
    pair.drive(60)
    gc.collect()
    assert [sa() for sa in kept] == [None] * 4


@pytest.mark.requirement("R7296-101", "R7296-103", "AUT-10", "CRY-08")
def test_nonces_and_public_values_are_never_used_twice() -> None:
    seen: set[bytes] = set()
    for seed in range(50):
        pair = Pair(seed=seed)
        pair.establish()
        for _, datagram in pair.sent[:2]:
            for payload in Message.decode(datagram.data).payloads:
                if isinstance(payload, (NoncePayload, KePayload)):
                    assert payload.data not in seen
                    seen.add(payload.data)
