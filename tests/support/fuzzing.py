"""What must hold for any octets; the fuzz targets and the replay of their corpus share these.

Each function takes octets from a fuzzer and raises when a promise of the code is broken.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage, Path, Transport
from ipsecme.esp import DropReason, Processor
from ipsecme.esp.transform import sealer, sizes
from ipsecme.ike.services import Datagram
from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    HEADER_OCTETS,
    Header,
    Message,
)
from ipsecme.wire.numbers import ExchangeType, PayloadType
from support.esp import (
    CBC_SUITE,
    ESN_SUITE,
    GCM_SUITE,
    LOCAL,
    LOCAL6,
    REMOTE,
    REMOTE6,
    Ends,
    SeededRng,
    make_ends,
)
from support.pair import A, B, Node, Pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.ike.sa import IkeSa

__all__ = ["TARGETS"]

Payloads = tuple[int, bytes]  # the type of the first, and the chain

_GENERIC_OCTETS = 4


def message(data: bytes) -> None:
    """A datagram decodes or is malformed; what was decoded survives encoding and decoding."""
    try:
        decoded = Message.decode(data)
    except MalformedMessage:
        return
    encoded = decoded.encode()
    again = Message.decode(encoded)
    if again != decoded:
        raise AssertionError(f"{decoded} became {again}")
    if again.encode() != encoded:
        raise AssertionError("encoding is not a fixed point")


def endpoint(data: bytes) -> None:
    """No datagram, and no authenticated nonsense either, raises out of the engine or breaks it."""
    if len(data) < 4:
        return
    mode, exchange, first, rest = data[0] % 4, data[1], data[2], data[3:]
    if data[0] & 0x80:
        _half_open(exchange, first, rest)
        return
    if mode == 0:
        _first_request(rest)
        return
    if mode == 1:
        _answer_init(rest)
        return
    pair = Pair()
    pair.establish()
    sender, receiver = (pair.a, pair.b) if exchange & 1 else (pair.b, pair.a)
    if mode == 2:
        kind = ExchangeType.of(34 + (exchange >> 1) % 5)
        _request(pair, (sender, receiver), kind, (first, rest))
    else:
        _response(pair, (sender, receiver), (first, rest))
    pair.drive(2)


def _first_request(data: bytes) -> None:
    """A stranger sends anything at all."""
    pair = Pair()
    path = Path(Transport(B, 500), Transport(A, 500))
    pair.deliver(pair.b, Datagram(data, path))
    if pair.b.sad or any(sa.peer for sa in pair.b.endpoint._registry):
        raise AssertionError("a stranger got more than a half-open IKE SA")


def _answer_init(chain: bytes) -> None:
    """An initiator gets a response to IKE_SA_INIT that anybody may have written."""
    pair = Pair()
    pair.link.loss = 1.0
    pair.initiate()
    (sa,) = pair.a.endpoint._registry
    header = Header(
        sa.spi_i,
        chain[:8].ljust(8, b"\0"),
        chain[8] if len(chain) > 8 else 0,
        0x20,
        ExchangeType.IKE_SA_INIT,
        FLAG_RESPONSE,
        0,
        HEADER_OCTETS + len(chain[9:]),
    )
    pair.deliver(pair.a, Datagram(header.encode() + chain[9:], pair.sent[0][1].path))
    pair.drive(2)
    if pair.a.sad or pair.a.endpoint.status()[0].state == "up":
        raise AssertionError("a stranger was taken for the peer")


def _half_open(exchange: int, first: int, chain: bytes) -> None:
    """Who agreed on keys and proved nothing sends any payloads, to either end."""
    pair = Pair()
    pair.link.filter = lambda _, sent: sent.data[18] == ExchangeType.IKE_SA_INIT
    pair.initiate()
    pair.drive(0.5)
    sender, receiver = (pair.a, pair.b) if exchange & 1 else (pair.b, pair.a)
    kind = ExchangeType.of(34 + (exchange >> 1) % 5)
    flags = 0 if sender is pair.a else FLAG_RESPONSE
    pair.deliver(receiver, _sealed(_only(sender), kind, flags, 1, (first, chain)))
    pair.drive(2)
    if receiver.sad or any(sa.state == "up" for sa in receiver.endpoint.status()):
        raise AssertionError("who proved nothing was taken for the peer")


def _request(pair: Pair, ends: tuple[Node, Node], kind: ExchangeType, payloads: Payloads) -> None:
    """A peer that knows the keys sends a request with any payloads."""
    sender, receiver = ends
    sa = _only(sender)
    mid = sa.dialogue.requests.next_id
    sa.dialogue.requests.next_id += 1
    pair.deliver(receiver, _sealed(sa, kind, 0, mid, payloads))


def _response(pair: Pair, ends: tuple[Node, Node], payloads: Payloads) -> None:
    """A peer that knows the keys answers our request with any payloads."""
    sender, receiver = ends
    pair.link.filter = lambda name, _: name != receiver.name
    pair.rekey(receiver, ("net", None)[payloads[0] & 1])
    pair.link.filter = None
    sa = _only(receiver)
    mid, request = next(iter(sa.dialogue.requests.outstanding.items()))
    theirs = _only(sender)
    kind = request.context.exchange
    pair.deliver(receiver, _sealed(theirs, kind, FLAG_RESPONSE, mid, payloads))


def _only(node: Node) -> IkeSa:
    (sa,) = node.endpoint._registry
    return sa


def _sealed(
    sa: IkeSa, exchange: ExchangeType, flags: int, mid: int, payloads: Payloads
) -> Datagram:
    first, chain = payloads
    if sa.sealing is None:
        raise AssertionError("no keys")
    flags |= FLAG_INITIATOR if sa.original_initiator else 0
    octets = _GENERIC_OCTETS + sa.sealing.sealed_octets(len(chain))
    header = Header(
        sa.spi_i, sa.spi_r, PayloadType.SK, 0x20, exchange, flags, mid, HEADER_OCTETS + octets
    )
    front = header.encode() + bytes((first, 0)) + octets.to_bytes(2)
    path = Path(sa.path.remote, sa.path.local)
    return Datagram(front + sa.sealing.seal(front, chain), path)


def esp(data: bytes) -> None:
    """No packet, sealed by whomever, raises out of the ESP engine or is delivered unchecked.

    Half of the inputs are sealed with the peer's keys, so that they are read behind the ICV.
    """
    if len(data) < 2:
        return
    suite = (GCM_SUITE, CBC_SUITE, ESN_SUITE)[data[0] % 3]
    ends = make_ends(suite)
    west, east = Processor(SeededRng(1)), Processor(SeededRng(2))
    west.install(ends.west)
    east.install(ends.east)
    if data[0] & 0x80:
        verdict = east.inbound(_sealed_esp(ends, data[1:]), 0.0)
        if verdict.reason in {DropReason.BAD_ICV, DropReason.BAD_LENGTH, DropReason.UNKNOWN_SPI}:
            raise AssertionError(f"the peer's own packet is dropped for {verdict.reason.name}")
        if verdict.reason is None:
            _check_delivered(verdict.octets)
        return
    spi = ends.east.spi.to_bytes(4)
    for packet in (data[1:], spi + data[1:]):
        if east.inbound(packet, 0.0).reason is None:
            raise AssertionError("a packet that nobody sealed was delivered")
    sent = west.outbound(data[1:])
    if sent.reason is None:
        received = east.inbound(sent.octets, 0.0)
        if received.reason is None:
            _check_delivered(received.octets)
        elif received.reason != DropReason.WRONG_SELECTORS:  # ICMP errors: the receiver asks more
            raise AssertionError(f"what was sealed is dropped for {received.reason.name}")


def _sealed_esp(ends: Ends, plain: bytes) -> bytes:
    """Seal octets as they are; pad length and next header are theirs too."""
    size = sizes(ends.east.suite)
    whole = plain.ljust(-(-max(len(plain), 2) // size.alignment) * size.alignment, b"\0")
    return sealer(ends.west.suite, ends.west.outbound, SeededRng(3))(whole, 1)


def _check_delivered(packet: bytes) -> None:
    """Look at the addresses where the standards have them, without the project's own reader."""
    if packet[0] >> 4 == 4:
        source, destination, local, remote = packet[12:16], packet[16:20], LOCAL, REMOTE
    else:
        source, destination, local, remote = packet[8:24], packet[24:40], LOCAL6, REMOTE6
    for address, network in ((source, local), (destination, remote)):
        if ipaddress.ip_address(address) not in ipaddress.ip_network(network):
            raise AssertionError(f"delivered outside {network}: {packet.hex()}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "message": message,
    "endpoint": endpoint,
    "esp": esp,
}
