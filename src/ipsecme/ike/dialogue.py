"""Dialogue: the exchange of requests and responses on one IKE SA (RFC 7296, sections 2.1 to 2.3).

Owns both windows, the sealing and opening of messages, retransmission and the answers to requests.
What exchanges mean is the tasks' business, what becomes of the IKE SA is `IkeSa`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage, PeerError
from ipsecme.crypto.protection import IntegrityFailure
from ipsecme.ike.context import ExchangeContext
from ipsecme.ike.exchange import row_for
from ipsecme.ike.failures import Refused, ends_ike_sa, notify_of
from ipsecme.ike.mobility import hear_answer, ways
from ipsecme.ike.protect import inside, open_message, seal_fragments, seal_message
from ipsecme.ike.reassembly import Fragment, Reassembly
from ipsecme.ike.schedule import IkeTimer
from ipsecme.ike.state import ACCEPTS, IkeState
from ipsecme.ike.suspend import Received, Suspend, Suspended
from ipsecme.ike.tasks.init import Retry, Stale
from ipsecme.ike.window import (
    MANY_MESSAGE_IDS,
    MAX_WINDOW,
    Outstanding,
    RequestWindow,
    ResponseWindow,
)
from ipsecme.wire.ike import FLAG_INITIATOR, FLAG_RESPONSE, Header, Message, NotifyPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.base import Path
    from ipsecme.ike.sa import IkeSa
    from ipsecme.ike.tasks.base import Task
    from ipsecme.wire.ike import Payload

__all__ = ["Dialogue"]


class Dialogue:
    """Both directions of an IKE SA's exchanges."""

    __slots__ = ("_first_fragment", "_fragments_in", "_sa", "_suspended", "requests", "responses")

    def __init__(self, sa: IkeSa) -> None:
        self._sa = sa
        self.requests = RequestWindow()
        self.responses = ResponseWindow(sa.services.config.window)
        # Of the peer's request and of its response, which may arrive interleaved.
        self._fragments_in = {False: Reassembly(), True: Reassembly()}
        self._first_fragment = b""
        self._suspended: Suspended | None = None

    @property
    def in_flight(self) -> list[Task]:
        """The tasks that wait for a response."""
        return [task for request in self.requests.outstanding.values() for task in request.tasks]

    @property
    def is_long(self) -> bool:
        """True when the Message IDs have grown so far that the IKE SA should be rekeyed."""
        return max(self.requests.next_id, self.responses.next_id) >= MANY_MESSAGE_IDS

    # our requests

    def begin(self, exchange: ExchangeType, tasks: list[Task], now: float) -> None:
        """Send a request built by `tasks`."""
        ctx = ExchangeContext(self._sa, exchange, self._sa.path, now, is_initiator=True)
        datagrams = self._build_request(ctx, tasks, self.requests.next_id)
        request = self.requests.add(datagrams, ctx, tasks)
        self._transmit(request, now)

    def _build_request(
        self, ctx: ExchangeContext, tasks: list[Task], message_id: int
    ) -> list[bytes]:
        ctx.inside, ctx.out = [], []
        for task in tasks:
            task.build_request(ctx)
        return self._encode(ctx.exchange, message_id, ctx.out, flags=0)

    def _transmit(self, request: Outstanding, now: float) -> None:
        sa = self._sa
        for path in ways(sa, request.sendings):
            for datagram in request.datagrams:
                sa.services.send(datagram, path)
        sa.arm_retransmission(request.message_id, request.sendings, now)

    def retransmit(self, message_id: int, now: float) -> None:
        """Send a request again, octet for octet, or give the peer up."""
        request = self.requests.outstanding.get(message_id)
        if request is None:
            return
        sa = self._sa
        if request.sendings >= sa.retransmission.tries:
            sa.lose_peer(now)
            return
        request.sendings += 1
        sa.services.counters["retransmissions"] += 1
        self._transmit(request, now)

    def restart(self, now: float) -> None:
        """Send what waits for an answer at once, by the new path, and be patient anew."""
        for request in self.requests.outstanding.values():
            if self._suspended is None or self._suspended.ours is not request:
                request.sendings = 1
                self._transmit(request, now)

    # what arrives

    def receive(self, header: Header, datagram: bytes, path: Path, now: float) -> None:
        """Take a message of this IKE SA; whatever it holds, nothing is raised."""
        if header.is_response:
            self._receive_response(header, datagram, path, now)
        else:
            self._receive_request(header, datagram, path, now)

    def _receive_response(self, header: Header, datagram: bytes, path: Path, now: float) -> None:
        request = self.requests.outstanding.get(header.message_id)
        if request is None or request.context.exchange != header.exchange:
            self._drop("unexpected_response")
            return
        request.context.path = path
        request.context.now = now
        request.context.sendings = request.sendings
        if header.exchange == ExchangeType.IKE_SA_INIT:
            self._receive_init_response(request, header, datagram, now)
            return
        if self._suspended is not None and self._suspended.ours is request:
            self._drop("suspended")
            return
        opened = self._open(header, datagram)
        if opened is None:
            return
        self._sa.disarm_retransmission(header.message_id)
        self._sa.hear_from_peer(path, now)
        self._take_response(request, Received(header, datagram, opened), now)
        hear_answer(self._sa, request.sendings, path, now)

    def _take_response(self, request: Outstanding, received: Received, now: float) -> None:
        ctx = request.context
        del self.requests.outstanding[request.message_id]
        try:
            ctx.inside = list(inside(received.opened))
            self._read_response(request)
        except Suspend as suspend:
            self.requests.outstanding[request.message_id] = request
            self._suspend(suspend, ctx, received, request)
            return
        except PeerError as error:
            self._fail(request, error, now)
            return
        ctx.commit()
        self._sa.after_exchange(ctx.exchange, now)

    def _read_response(self, request: Outstanding) -> None:
        ctx = request.context
        self._count_unknown(ctx)
        stranger = ctx.critical_stranger()
        if stranger is not None:
            raise Refused(NotifyType.INVALID_SYNTAX, f"critical payload {stranger} in a response")
        for task in request.tasks:
            task.read_response(ctx)
        if ctx.exchange != ExchangeType.IKE_SA_INIT:
            self._note_window(ctx)

    def _count_unknown(self, ctx: ExchangeContext) -> None:
        """Leave a trace of notifications that nobody knows here (section 3.10.1)."""
        unknown = sum(1 for p in ctx.inside if type(p) is NotifyPayload and not p.type.is_known)
        if unknown:
            self._sa.services.counters["unknown_notifies"] += unknown

    def _note_window(self, ctx: ExchangeContext) -> None:
        """Take SET_WINDOW_SIZE from any protected message; a window never shrinks (section 2.3)."""
        notify = ctx.notify(NotifyType.SET_WINDOW_SIZE)
        if notify is None:
            return
        size = min(int.from_bytes(notify.data), MAX_WINDOW)
        requests = self.requests
        ctx.on_commit(lambda: setattr(requests, "size", max(requests.size, size)))

    def _fail(self, request: Outstanding, error: PeerError, now: float) -> None:
        for task in request.tasks:
            task.failed(request.context, error)
        self._sa.exchange_failed(request.context.exchange, error, now)

    def _receive_init_response(
        self, request: Outstanding, header: Header, datagram: bytes, now: float
    ) -> None:
        """Read an answer that anybody may have written: what does not fit is only remembered."""
        sa, ctx = self._sa, request.context
        try:
            ctx.inside = Message.decode(datagram, header).payloads
            ctx.spi_r = header.spi_r
            ctx.on_commit(lambda: sa.learn_responder(header.spi_r, datagram))
            self._read_response(request)
        except Stale:
            ctx.discard()
            self._drop("stale_init_response")
            return
        except Retry:
            ctx.discard()
            sa.have_hope()
            request.datagrams = self._build_request(ctx, request.tasks, 0)
            request.sendings = 1
            sa.services.counters["init_retries"] += 1
            (sa.init_request,) = request.datagrams
            self._transmit(request, now)
            return
        except PeerError as error:
            ctx.discard()
            self._drop("init_response_refused")
            sa.doubt(error, now)
            return
        del self.requests.outstanding[header.message_id]
        sa.have_hope()
        sa.disarm_retransmission(header.message_id)
        sa.hear_from_peer(ctx.path, now)
        ctx.commit()
        sa.after_exchange(ctx.exchange, now)

    def _receive_request(self, header: Header, datagram: bytes, path: Path, now: float) -> None:
        sa = self._sa
        repeated = self.responses.repeated(header.message_id, datagram)
        if repeated is not None:
            sa.services.counters["repeated_requests"] += 1
            for answer in repeated:
                sa.services.send(answer, path)
            return
        if self._waits_for(header.message_id):
            self._drop("suspended")
            return
        if not self.responses.is_expected(header.message_id):
            self._drop("message_id_outside_window")
            return
        if sa.state is IkeState.CLOSED or header.exchange == ExchangeType.IKE_SA_INIT:
            self._drop("closed")
            return
        if sa.state is IkeState.HALF_OPEN and sa.original_initiator:
            self._drop("request_before_authentication")
            return
        opened = self._open(header, datagram)
        if opened is None:
            return
        if sa.state is IkeState.HALF_OPEN and header.exchange != ExchangeType.IKE_AUTH:
            self._drop("request_before_authentication")
            return
        sa.hear_from_peer(path, now)
        ctx = ExchangeContext(sa, header.exchange, path, now, is_initiator=False)
        first_of_request = self._first_fragment or datagram
        self._first_fragment = b""
        self._take_request(ctx, Received(header, first_of_request, opened))

    def _take_request(self, ctx: ExchangeContext, received: Received) -> None:
        """Answer a request; what was asked outside the engine is in `ctx`."""
        sa, now = self._sa, ctx.now
        message_id = ctx.message_id = received.header.message_id
        try:
            error = self._respond(ctx, received.opened)
        except Suspend as suspend:
            self._suspend(suspend, ctx, received, None)
            return
        payloads = ctx.out if error is None else [notify_of(error)]
        response = self._encode(ctx.exchange, message_id, payloads, flags=FLAG_RESPONSE)
        self.responses.answer(message_id, received.datagram, response)
        if error is None:
            ctx.commit()
        for answer in response:
            sa.services.send(answer, ctx.path)
        if error is not None:
            sa.request_refused(ctx.exchange, error, now, fatal=ends_ike_sa(error))
        sa.pump(now)

    def _respond(self, ctx: ExchangeContext, opened: bytes) -> PeerError | None:
        """Let the tasks read and answer; return what the peer did wrong, if anything."""
        try:
            ctx.inside = list(inside(opened))
            self._count_unknown(ctx)
            for task in self._admit(ctx):
                task.read_request(ctx)
                task.build_response(ctx)
            self._note_window(ctx)
        except PeerError as error:
            ctx.discard()
            return error
        return None

    def _admit(self, ctx: ExchangeContext) -> list[Task]:
        stranger = ctx.critical_stranger()
        if stranger is not None:
            raise Refused(
                NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD,
                f"payload {int(stranger)} is unknown here and the peer insists on it",
                bytes((stranger,)),
            )
        row = row_for(ctx)
        if row is None or ctx.exchange not in ACCEPTS[self._sa.state]:
            raise MalformedMessage(f"{ctx.exchange.name} has no place in this IKE SA")
        missing = row.required - {payload.payload_type for payload in ctx.inside}
        if missing:
            names = ", ".join(sorted(kind.name for kind in missing))
            raise MalformedMessage(f"the request to {row.story} lacks {names}")
        return [task() for task in row.tasks]

    # waiting for answers from outside

    @property
    def question(self) -> int | None:
        """The number of the question that a message waits for."""
        return self._suspended.number if self._suspended is not None else None

    @property
    def late(self) -> str:
        """Say what an IKE SA that is not established in time has waited for."""
        if self._suspended is not None:
            return "the check of the peer's certificate took too long"
        return "the peer did not authenticate in time"

    def _waits_for(self, message_id: int) -> bool:
        """Tell whether this request of the peer's is the one that is suspended."""
        waiting = self._suspended
        if waiting is None or waiting.ours is not None:
            return False
        return waiting.received.header.message_id == message_id

    def _suspend(
        self,
        suspend: Suspend,
        ctx: ExchangeContext,
        received: Received,
        ours: Outstanding | None,
    ) -> None:
        """Ask, and keep the message until the answer comes; repetitions of it are ignored."""
        ctx.discard()
        services = self._sa.services
        number = services.next_question(self._sa)
        self._suspended = Suspended(number, suspend.key, received, ctx.path, ctx.answers, ours)
        services.commands.append(suspend.question(number))
        if ours is not None:  # the peer's requests have their limit already
            limit = services.config.admission.half_open_seconds
            self._sa.timers.arm(IkeTimer.HALF_OPEN, ctx.now + limit)

    def resume(self, number: int, answer: object, now: float) -> None:
        """Read the message that waits again, from the start, with one more answer."""
        waiting = self._suspended
        if waiting is None or waiting.number != number or self._sa.state is IkeState.CLOSED:
            self._drop("late_answer")
            return
        self._suspended = None
        waiting.answers[waiting.key] = answer
        if waiting.ours is not None:
            waiting.ours.context.now = now
            self._take_response(waiting.ours, waiting.received, now)
            return
        exchange = waiting.received.header.exchange
        ctx = ExchangeContext(self._sa, exchange, waiting.path, now, is_initiator=False)
        ctx.answers = waiting.answers
        self._take_request(ctx, waiting.received)

    def _open(self, header: Header, datagram: bytes) -> bytes | None:
        opening = self._sa.opening
        if opening is None:
            self._drop("no_keys")
            return None
        try:
            opened = open_message(datagram, header, opening)
            if isinstance(opened, Fragment):
                return self._collect(header, datagram, opened)
        except IntegrityFailure:
            self._drop("integrity_failure")
        except MalformedMessage:
            self._drop("malformed")
        else:
            return opened
        return None

    def _collect(self, header: Header, datagram: bytes, fragment: Fragment) -> bytes | None:
        """Return the whole message when this was its last fragment."""
        sa = self._sa
        if not sa.fragmentation:
            self._drop("fragment_not_negotiated")
            return None
        sa.services.counters["fragments_in"] += 1
        if fragment.number == 1 and not header.is_response:
            self._first_fragment = datagram
        return self._fragments_in[header.is_response].add(header.message_id, fragment)

    def _encode(
        self,
        exchange: ExchangeType,
        message_id: int,
        payloads: Sequence[Payload],
        flags: int,
    ) -> list[bytes]:
        sa = self._sa
        flags |= FLAG_INITIATOR if sa.original_initiator else 0
        message = Message(sa.spi_i, sa.spi_r, exchange, flags, message_id, list(payloads))
        if exchange == ExchangeType.IKE_SA_INIT or sa.sealing is None:
            return [message.encode()]
        if sa.fragmentation:
            limit = sa.services.config.fragment_octets
            return seal_fragments(message, sa.sealing, limit)
        return [seal_message(message, sa.sealing)]

    def _drop(self, reason: str) -> None:
        self._sa.services.counters[f"dropped_{reason}"] += 1

    # IKE_SA_INIT as its responder

    def answer_init(self, message: Message) -> bytes:
        """Return the answer to a first request; raises `PeerError` and leaves nothing behind."""
        sa = self._sa
        ctx = ExchangeContext(sa, message.exchange, sa.path, sa.created_at, is_initiator=False)
        ctx.inside = message.payloads
        self._count_unknown(ctx)
        for task in self._admit_init(ctx):
            task.read_request(ctx)
            task.build_response(ctx)
        response = self._encode(ctx.exchange, 0, ctx.out, flags=FLAG_RESPONSE)
        ctx.commit()
        self.responses.answer(0, sa.init_request, response)
        return response[0]

    def _admit_init(self, ctx: ExchangeContext) -> list[Task]:
        stranger = ctx.critical_stranger()
        if stranger is not None:
            raise Refused(
                NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, "unknown payload", bytes((stranger,))
            )
        row = row_for(ctx)
        if row is None:
            raise MalformedMessage(f"{ctx.exchange.name} does not open an IKE SA")
        return [task() for task in row.tasks]
