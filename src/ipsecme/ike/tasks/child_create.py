"""Creating a Child SA, in IKE_AUTH or by itself (RFC 7296, sections 1.2, 1.3.1, 2.9 and 2.17)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.base import Incompatible, PeerError, ProtocolViolation
from ipsecme.crypto.keymat import child_keys
from ipsecme.ike.child import ChildSa
from ipsecme.ike.collision import Nonces
from ipsecme.ike.events import ChildSaFailed
from ipsecme.ike.failures import NotifyReceived, Refused, notify_of, reason_of
from ipsecme.ike.internal_addresses import (
    every_address,
    local_selectors,
    own_addresses,
    remote_selectors,
)
from ipsecme.ike.jobs import CreateChild
from ipsecme.ike.narrowing import narrow_request, texts
from ipsecme.ike.state import IkeState
from ipsecme.ike.tasks.base import Task
from ipsecme.ike.tasks.init import NONCE_OCTETS
from ipsecme.ike.transport_mode import Agreed, between_hosts, find_transport_policy, read_answer
from ipsecme.policy.parameters import Mode, SaHalf, SaPair
from ipsecme.policy.proposal import Choice, choose, confirm, offer
from ipsecme.policy.selector import contains, narrow
from ipsecme.wire.ike import KePayload, NoncePayload, NotifyPayload, SaPayload, TsPayload
from ipsecme.wire.numbers import ExchangeType, KeId, NotifyType, PayloadType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.base import Secret
    from ipsecme.crypto.ke import KeyExchange
    from ipsecme.ike.config import ChildConfig
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.trigger import Trigger
    from ipsecme.policy.proposal import Proposal
    from ipsecme.wire import ike as wire
    from ipsecme.wire.ike import TrafficSelector

__all__ = ["ChildCreate"]

Selectors = tuple["TrafficSelector", ...]
_SPI_OCTETS = 4
_RESERVED_SPIS = 256
_NO_PAIR = (
    "the peer makes a Child SA for one pair of addresses at a time (SINGLE_PAIR_REQUIRED); write "
    "one address into local_ts and remote_ts, or let a packet ask for it"
)
_MAX_CLOSED = 64  # more Deletes of what we do not know are not worth remembering


class ChildCreate(Task):
    """SA, [Ni, KE,] TSi and TSr of both messages.

    In IKE_AUTH the nonces are those of IKE_SA_INIT and no key exchange takes place; a failure there
    is told to the peer and leaves the IKE SA alone (section 1.2).
    """

    __slots__ = (
        "_asked",
        "_choice",
        "_closed",
        "_failure",
        "_key_exchange",
        "_more_possible",
        "_nonce",
        "_offer",
        "_outbound_spi",
        "_peer_nonce",
        "_shared",
        "_spi",
        "_trigger",
        "agreed",
        "config",
        "created",
    )

    def __init__(self, config: ChildConfig | None = None, trigger: Trigger | None = None) -> None:
        self.config = config
        self._trigger = trigger
        self._more_possible = False
        self.created: ChildSa | None = None
        self.agreed: Agreed
        self._key_exchange: KeyExchange | None = None
        self._shared: Secret | None = None
        self._failure: PeerError | None = None
        self._nonce = b""
        self._peer_nonce = b""
        self._spi = 0
        self._closed: set[bytes] = set()

    # what a rekeying says differently

    def proposals(self, ctx: ExchangeContext, config: ChildConfig) -> tuple[Proposal, ...]:
        """Return what is acceptable; without key exchange in IKE_AUTH."""
        if ctx.exchange == ExchangeType.IKE_AUTH:
            return tuple(dict.fromkeys(p.without_key_exchange() for p in config.proposals))
        return config.proposals

    def selectors(self, ctx: ExchangeContext, config: ChildConfig) -> tuple[Selectors, Selectors]:
        """Return the local and remote selectors to ask for."""
        local = local_selectors(config, ctx.internal)
        if config.local_assigned and not ctx.internal.assigned:
            local = (*every_address(ctx.connection.request_families), *config.local_ts)
        remote = remote_selectors(config, ctx.internal)
        packet = self._trigger
        if packet is None:
            return local, remote
        if packet.alone:
            return (packet.local,), (packet.remote,)
        return _with_first(packet.local, local), _with_first(packet.remote, remote)

    def requested_mode(self, config: ChildConfig) -> Mode:
        """Return the mode to ask for."""
        return config.mode

    def replaced_spi(self) -> int | None:
        """Return the inbound SPI of the Child SA that is being rekeyed."""
        return None

    # the initiator's side

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write [USE_TRANSPORT_MODE,] SA, [Ni, KEi,] TSi, TSr."""
        if self.config is None:
            return
        services = ctx.sa.services
        self._spi = services.new_esp_spi()
        proposals = self.proposals(ctx, self.config)
        self._offer = offer(proposals, self._spi.to_bytes(_SPI_OCTETS))
        if self.requested_mode(self.config) is Mode.TRANSPORT:
            ctx.out.append(NotifyPayload(NotifyType.USE_TRANSPORT_MODE))
        ctx.out.append(SaPayload(self._offer))
        if ctx.exchange != ExchangeType.IKE_AUTH:
            self._nonce = self._nonce or services.rng.octets(NONCE_OCTETS)
            ctx.out.append(NoncePayload(self._nonce))
            self._offer_key_exchange(ctx, proposals)
        local, remote = self._asked = self._to_ask(ctx, self.config)
        ctx.out.append(TsPayload(PayloadType.TSi, local))
        ctx.out.append(TsPayload(PayloadType.TSr, remote))

    def _to_ask(self, ctx: ExchangeContext, config: ChildConfig) -> tuple[Selectors, Selectors]:
        """Return the local and remote selectors of the request."""
        local, remote = self.selectors(ctx, config)
        if self.requested_mode(config) is Mode.TRANSPORT:
            return between_hosts(local, remote, ctx.sa.child_path())
        return local, remote

    def _offer_key_exchange(self, ctx: ExchangeContext, proposals: Sequence[Proposal]) -> None:
        methods = [method for proposal in proposals for method in proposal.ke if method]
        if not methods:
            return
        if self._key_exchange is None:
            self._key_exchange = ctx.sa.services.key_exchange.generate(methods[0])
        ctx.out.append(KePayload(self._key_exchange.method, self._key_exchange.public))

    def read_response(self, ctx: ExchangeContext) -> None:
        """Check the choice against the offer and take the Child SA up."""
        if self.config is None:
            return
        error = ctx.error()
        if error is not None and not (error.type.is_known and ctx.find(SaPayload)):
            # An error that nobody knows here has the whole request failed (section 3.10.1).
            refusal = NotifyReceived(error)
            if ctx.exchange != ExchangeType.IKE_AUTH:
                raise refusal
            ctx.on_commit(lambda: self._ask_alone_or_report(ctx, refusal))
            if ctx.find(SaPayload) is not None:
                ctx.on_commit(lambda: ctx.sa.delete_unborn_child(self._spi, ctx.now))
            return
        try:
            self._accept(ctx, self.config)
        except PeerError as error:
            if ctx.exchange != ExchangeType.IKE_AUTH:
                raise
            # The IKE SA stands; the peer has a Child SA now that it must give up again.
            failure = error
            ctx.on_commit(lambda: self._report(ctx, failure))
            ctx.on_commit(lambda: ctx.sa.delete_unborn_child(self._spi, ctx.now))

    def _accept(self, ctx: ExchangeContext, config: ChildConfig) -> None:
        if ctx.refusal is not None and config.local_assigned:
            raise ctx.refusal
        sa_payload = ctx.find(SaPayload)
        tsi = ctx.find_role(TsPayload, PayloadType.TSi)
        tsr = ctx.find_role(TsPayload, PayloadType.TSr)
        if sa_payload is None or tsi is None or tsr is None:
            raise ProtocolViolation("the response lacks SA, TSi or TSr")
        if ctx.notify(NotifyType.ADDITIONAL_TS_POSSIBLE) is not None:
            ctx.sa.services.counters["additional_ts_possible"] += 1
        choice = confirm(sa_payload.proposals, self._offer, _SPI_OCTETS)
        self._outbound_spi = _peer_spi(choice.proposal)
        self._finish_key_exchange(ctx, choice.ke)
        local, remote = self._asked
        ranges = tuple(tsi.ranges()), tuple(tsr.ranges())
        agreed = self.agreed = read_answer(ctx, config, self.requested_mode(config), ranges)
        for answered, offered in ((agreed.local_ts, local), (agreed.remote_ts, remote)):
            if not answered or not all(contains(offered, selector) for selector in answered):
                raise Refused(
                    NotifyType.TS_UNACCEPTABLE,
                    f"the peer widened the selectors to {texts(answered)} from {texts(offered)}",
                )
        if config.local_assigned:
            local = narrow(agreed.local_ts, local_selectors(config, ctx.internal))
            agreed = self.agreed = agreed._replace(local_ts=local)
        if not agreed.local_ts:
            raise Refused(
                NotifyType.TS_UNACCEPTABLE,
                f"the address that the peer assigned is not in its {texts(tsi.ranges())}",
            )
        if ctx.exchange != ExchangeType.IKE_AUTH:
            nonce = ctx.find(NoncePayload)
            if nonce is None:
                raise ProtocolViolation("the response lacks a nonce")
            self._peer_nonce = nonce.data
        self._create(ctx, config, choice, Nonces(self._nonce, self._peer_nonce))

    def _finish_key_exchange(self, ctx: ExchangeContext, method: KeId) -> None:
        ke = ctx.find(KePayload)
        if not method:
            self._shared = None
            return
        if ke is None or self._key_exchange is None or ke.method != method:
            raise ProtocolViolation("the response lacks the KE payload of the chosen method")
        if self._key_exchange.method != method:
            raise ProtocolViolation("the peer chose a key exchange that it did not ask for")
        self._shared = self._key_exchange.agree(ke.data)

    def retry_method(self, ctx: ExchangeContext, error: PeerError) -> KeId | None:
        """Return the key exchange method that the peer asks for, if it is one that we offered."""
        if not isinstance(error, NotifyReceived) or self.config is None:
            return None
        if error.notify.type != NotifyType.INVALID_KE_PAYLOAD or self._key_exchange is None:
            return None
        method = KeId.of(int.from_bytes(error.notify.data))
        offered = {m for proposal in self.proposals(ctx, self.config) for m in proposal.ke}
        return method if method in offered and method != self._key_exchange.method else None

    def failed(self, ctx: ExchangeContext, error: PeerError) -> None:
        """Try once more with the peer's key exchange method, or report."""
        if self.config is None:
            return
        method = self.retry_method(ctx, error)
        if method is not None:
            self._key_exchange = ctx.sa.services.key_exchange.generate(method)
            ctx.sa.repeat_exchange(ctx, [self])
            return
        if ctx.exchange == ExchangeType.IKE_AUTH:
            return  # the IKE SA itself failed, and says so
        self._ask_alone_or_report(ctx, error)
        if ctx.find(SaPayload) is not None:
            # The peer holds its half of a Child SA that we cannot accept; it knows our SPI.
            ctx.sa.delete_unborn_child(self._spi, ctx.now)

    def _ask_alone_or_report(self, ctx: ExchangeContext, error: PeerError) -> None:
        """Ask for the packet's own pair of addresses if the peer wants that (section 2.9)."""
        config, packet = self.config, self._trigger
        kind = error.notify.type if isinstance(error, NotifyReceived) else None
        if kind != NotifyType.SINGLE_PAIR_REQUIRED or config is None:
            self._report(ctx, error)
        elif packet is None or packet.alone:
            self._report(ctx, Refused(NotifyType.SINGLE_PAIR_REQUIRED, _NO_PAIR))
        else:
            ctx.sa.queue(CreateChild(config, replace(packet, alone=True)), ctx.now)

    def note_closed(self, spi: bytes) -> None:
        """Note a Delete for what may be ours: it can overtake the answer with the SPI."""
        if len(self._closed) < _MAX_CLOSED:
            self._closed.add(spi)

    # the responder's side

    def check_idle(self, ctx: ExchangeContext) -> None:
        """Refuse for now while the IKE SA itself is being replaced or closed (section 2.25.2)."""
        sa = ctx.sa
        if ctx.exchange == ExchangeType.IKE_AUTH:
            return
        if sa.state is not IkeState.ESTABLISHED or sa.rekeying() is not None:
            raise Refused(NotifyType.TEMPORARY_FAILURE, "the IKE SA is being replaced or closed")

    def read_request(self, ctx: ExchangeContext) -> None:
        """Choose algorithms and narrow the selectors; refuse without touching the IKE SA."""
        self.check_idle(ctx)
        try:
            self._read_offer(ctx)
        except (Incompatible, Refused) as failure:
            if ctx.exchange != ExchangeType.IKE_AUTH:
                raise
            self._failure = failure

    def _read_offer(self, ctx: ExchangeContext) -> None:
        sa_payload = ctx.find(SaPayload)
        tsi = ctx.find_role(TsPayload, PayloadType.TSi)
        tsr = ctx.find_role(TsPayload, PayloadType.TSr)
        if sa_payload is None or tsi is None or tsr is None:
            if ctx.exchange != ExchangeType.IKE_AUTH or ctx.connection.childless == "never":
                raise ProtocolViolation("the request lacks SA, TSi or TSr")
            raise Refused(NotifyType.NO_ADDITIONAL_SAS, "the peer asks for no Child SA")
        if sa_payload.proposals[0].number != 1:
            raise ProtocolViolation("the first proposal's number is not 1")
        if len(ctx.sa.children) >= ctx.connection.max_children and self.replaced_spi() is None:
            raise Refused(
                NotifyType.NO_ADDITIONAL_SAS,
                f"the peer has {len(ctx.sa.children)} Child SAs, as many as max_children allows",
            )
        if ctx.refusal is not None:
            raise ctx.refusal
        self.config = config = self._match(ctx, tsr.ranges(), tsi.ranges())
        self._choice = choose(sa_payload.proposals, self.proposals(ctx, config), _SPI_OCTETS)
        self._outbound_spi = _peer_spi(self._choice.proposal)
        if ctx.exchange != ExchangeType.IKE_AUTH:
            self._read_key_exchange(ctx, self._choice.ke)

    def candidates(self, ctx: ExchangeContext) -> Sequence[ChildConfig]:
        """Return the configured Child SAs that the request may be for."""
        return ctx.connection.children

    def _match(
        self, ctx: ExchangeContext, local: list[TrafficSelector], remote: list[TrafficSelector]
    ) -> ChildConfig:
        candidates = self.candidates(ctx)
        found = find_transport_policy(ctx, candidates, local, remote)
        if found is not None:
            config, self.agreed = found
            return config
        narrowed = narrow_request(ctx, candidates, local, remote)
        self.agreed = Agreed(Mode.TUNNEL, narrowed.local, narrowed.remote)
        self._more_possible = narrowed.more
        return narrowed.config

    def _read_key_exchange(self, ctx: ExchangeContext, method: KeId) -> None:
        nonce = ctx.find(NoncePayload)
        if nonce is None:
            raise ProtocolViolation("the request lacks a nonce")
        self._peer_nonce = nonce.data
        if not method:
            return
        ke = ctx.find(KePayload)
        if ke is None or ke.method != method:
            raise Refused(
                NotifyType.INVALID_KE_PAYLOAD,
                f"the peer sent {ke.method.name if ke else 'no key exchange'}, not {method.name}",
                method.to_bytes(2),
            )
        self._key_exchange = ctx.sa.services.key_exchange.generate(method)
        self._shared = self._key_exchange.agree(ke.data)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Write what agrees to the request, or in IKE_AUTH the Notify that says why not."""
        if self._failure is not None:
            if ctx.find(SaPayload) is not None:
                failure = self._failure
                ctx.out.append(notify_of(failure))
                ctx.on_commit(lambda: self._report(ctx, failure))
            return
        services = ctx.sa.services
        config = self.config
        if config is None:
            raise ProtocolViolation("no Child SA was chosen")
        self._spi = services.new_esp_spi()
        chosen = self._choice.proposal
        answer = type(chosen)(
            chosen.number, chosen.protocol, self._spi.to_bytes(_SPI_OCTETS), chosen.transforms
        )
        if self.agreed.mode is Mode.TRANSPORT:
            ctx.out.append(NotifyPayload(NotifyType.USE_TRANSPORT_MODE))
        ctx.out.append(SaPayload((answer,)))
        if ctx.exchange != ExchangeType.IKE_AUTH:
            self._nonce = services.rng.octets(NONCE_OCTETS)
            ctx.out.append(NoncePayload(self._nonce))
            if self._key_exchange is not None:
                ctx.out.append(KePayload(self._key_exchange.method, self._key_exchange.public))
        ctx.out.append(TsPayload(PayloadType.TSi, self.agreed.remote_ts))
        ctx.out.append(TsPayload(PayloadType.TSr, self.agreed.local_ts))
        if self._more_possible:
            ctx.out.append(NotifyPayload(NotifyType.ADDITIONAL_TS_POSSIBLE))
        self._create(ctx, config, self._choice, Nonces(self._peer_nonce, self._nonce))

    # both

    def _create(
        self, ctx: ExchangeContext, config: ChildConfig, choice: Choice, nonces: Nonces
    ) -> None:
        sa = ctx.sa
        suite = choice.esp_suite()
        if ctx.exchange == ExchangeType.IKE_AUTH:
            nonces = sa.nonces
        keys = child_keys(suite, sa.suite.prf, sa.keys.d, nonces.joined(), self._shared)
        mine, theirs = (keys.ei, keys.ai), (keys.er, keys.ar)
        if not ctx.is_initiator:
            mine, theirs = theirs, mine
        pair = SaPair(
            connection=ctx.connection.name,
            child=config.name,
            inbound=SaHalf(self._spi, *theirs),
            outbound=SaHalf(self._outbound_spi, *mine),
            suite=suite,
            mode=self.agreed.mode,
            local_ts=self.agreed.local_ts,
            remote_ts=self.agreed.remote_ts,
            path=sa.child_path(),
            replaces=self.replaced_spi(),
            outbound_ready=ctx.is_initiator or self.replaced_spi() is None,
            replay_window=config.replay_window,
            own_addresses=own_addresses(self.agreed.local_ts, ctx.internal),
            original=self.agreed.original,
        )
        child = ChildSa(config, pair, ctx.now)
        self.created = child
        ctx.on_commit(lambda: sa.children.take(child, ctx.now, is_initiator=ctx.is_initiator))
        if choice.proposal.spi in self._closed and ctx.is_initiator:
            ctx.on_commit(lambda: sa.children.drop(child, "deleted_by_peer", ctx.now))
        self.on_created(ctx, child, nonces)

    def on_created(self, ctx: ExchangeContext, child: ChildSa, nonces: Nonces) -> None:
        """Go on after the Child SA is agreed; a rekeying settles what becomes of the old one."""

    def _report(self, ctx: ExchangeContext, error: PeerError) -> None:
        sa = ctx.sa
        name = self.config.name if self.config else ""
        detail = str(error)
        event = ChildSaFailed(sa.name, name, sa.handle, reason_of(error), detail)
        ctx.sa.services.publish(event)


def _with_first(first: TrafficSelector, others: Selectors) -> Selectors:
    """Put the selector of a packet first; said twice it would say nothing."""
    return (first, *(selector for selector in others if selector != first))


def _peer_spi(proposal: wire.Proposal) -> int:
    spi = int.from_bytes(proposal.spi)
    if spi < _RESERVED_SPIS:
        raise ProtocolViolation(f"ESP SPI {spi} is reserved (RFC 4303, section 2.1)")
    return spi
