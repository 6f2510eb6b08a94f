"""ESP on an SPI that nobody has (RFC 7296, sections 1.5 and 3.10.1)."""

from __future__ import annotations

import pytest

from ipsecme.base import Path, Transport
from ipsecme.ike.events import ChildSaClosed
from ipsecme.wire.ike import FLAG_INITIATOR, NO_SPI, Header, Message, NotifyPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType, PayloadType
from support.pair import A, B, Pair

STRANGER = Path(Transport(B, 4500), Transport("203.0.113.9", 12345), encapsulated=True)


def esp_arrives(pair: Pair, spi: int, path: Path) -> list[Message]:
    """Have `b` hear of ESP of nobody; return what it sends in the clear."""
    pair.b.endpoint.handle_unknown_spi(spi, path, pair.now)
    return [Message.decode(d.data) for d in pair.b.drain(pair.now) if d.path == path]


@pytest.mark.requirement("R7296-025", "R7296-026")
def test_a_stranger_gets_an_unprotected_hint_at_the_port_from_which_it_sent() -> None:
    pair = Pair()
    (hint,) = esp_arrives(pair, 0x12345678, STRANGER)
    assert hint.exchange == ExchangeType.INFORMATIONAL
    assert hint.flags == FLAG_INITIATOR
    assert (hint.spi_i, hint.spi_r, hint.message_id) == (NO_SPI, NO_SPI, 0)
    assert hint.payloads == [NotifyPayload(NotifyType.INVALID_SPI, b"\x12\x34\x56\x78")]


@pytest.mark.requirement("R7296-025")
def test_hints_are_few() -> None:
    pair = Pair()
    hints = [bool(esp_arrives(pair, 0x1000 + number, STRANGER)) for number in range(50)]
    assert sum(hints) == 10
    assert pair.b.endpoint.counters["esp_unknown_spi"] == 50
    pair.now += 2
    assert esp_arrives(pair, 0x2000, STRANGER)


@pytest.mark.requirement("R7296-025", "R7296-205")
def test_a_peer_hears_it_within_the_ike_sa_and_replaces_what_was_lost() -> None:
    pair = Pair()
    pair.establish()
    (mine,) = pair.a.current
    lost = mine.outbound.spi
    before = len(pair.messages)
    pair.b.endpoint.handle_unknown_spi(lost, Path(Transport(B, 500), Transport(A, 500)), pair.now)
    pair.flush(pair.b)
    pair.drive(3)
    told = pair.messages[before]
    assert told.header.next_payload == PayloadType.SK
    assert told.only(NotifyPayload) == NotifyPayload(NotifyType.INVALID_SPI, lost.to_bytes(4))
    assert pair.a.reasons(ChildSaClosed) == ["lost_by_peer"]
    pair.check_sads()
    assert pair.a.current[0].outbound.spi != lost


def test_an_spi_that_is_not_in_use_changes_nothing() -> None:
    pair = Pair()
    pair.establish()
    path = Path(Transport(B, 500), Transport(A, 500))
    pair.b.endpoint.handle_unknown_spi(0xDEADBEEF, path, pair.now)
    pair.flush(pair.b)
    pair.drive(3)
    assert not pair.a.of(ChildSaClosed)
    pair.check_sads()


@pytest.mark.requirement("R7296-025", "R7296-042")
def test_an_unprotected_notice_is_never_answered_and_changes_nothing() -> None:
    pair = Pair()
    pair.establish()
    (mine,) = pair.a.current
    notice = NotifyPayload(NotifyType.INVALID_SPI, mine.outbound.spi.to_bytes(4))
    (sa,) = pair.a.endpoint._registry
    for spis in ((NO_SPI, NO_SPI), (sa.spi_i, sa.spi_r), (b"12345678", NO_SPI)):
        for flags in (FLAG_INITIATOR, 0):
            message = Message(*spis, ExchangeType.INFORMATIONAL, flags, 0, [notice])
            path = Path(Transport(A, 500), Transport(B, 500))
            pair.a.endpoint.receive_datagram(message.encode(), path, pair.now)
            assert not pair.a.drain(pair.now)
    assert not pair.a.of(ChildSaClosed)
    assert pair.a.endpoint.counters["dropped_unprotected"] >= 2
    pair.check_sads()


def test_an_encrypted_request_of_no_ike_sa_is_still_answered() -> None:
    pair = Pair()
    header = Header(b"12345678", b"87654321", PayloadType.SK, 0x20,
                    ExchangeType.INFORMATIONAL, FLAG_INITIATOR, 3, 28 + 16)  # fmt: skip
    pair.b.endpoint.receive_datagram(header.encode() + b"\0\0\0\x10" + bytes(12), STRANGER, 0.0)
    (answer,) = [Message.decode(d.data) for d in pair.b.drain(0.0)]
    assert answer.payloads == [NotifyPayload(NotifyType.INVALID_IKE_SPI)]
