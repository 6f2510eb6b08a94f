"""IkeSa: one IKE SA with its Child SAs (RFC 7296, section 2).

Owns identity, keys, path, lifetimes and children, and the verbs by which tasks change them. How
messages travel is `Dialogue`'s business, what exchanges mean the tasks'.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ipsecme.base import LocalMisuse, PeerError, TimerTable
from ipsecme.crypto.protection import protection
from ipsecme.ike import events
from ipsecme.ike.auth.choice import PeerWishes
from ipsecme.ike.child import ChildSa, rekey_delay
from ipsecme.ike.children import Children
from ipsecme.ike.dialogue import Dialogue
from ipsecme.ike.exchange import authenticating_tasks, opening_tasks, tasks_for
from ipsecme.ike.failures import AuthenticationFailed, ends_ike_sa, passes_by, reason_of
from ipsecme.ike.internal_addresses import InternalAddresses
from ipsecme.ike.jobs import (
    CloseChild,
    CloseIke,
    CreateChild,
    Job,
    RekeyIke,
)
from ipsecme.ike.mobility import Mobility, follow_nat, hand_on
from ipsecme.ike.reauthentication import reauthentication_delay
from ipsecme.ike.schedule import IkeTimer, on_timer, patience
from ipsecme.ike.state import IkeState
from ipsecme.ike.tasks.child_create import ChildCreate
from ipsecme.ike.tasks.child_rekey import ChildRekey
from ipsecme.ike.tasks.ike_rekey import IkeRekey
from ipsecme.ike.tasks.informational import DeleteChild, ReportFailure
from ipsecme.wire.numbers import ExchangeType

if TYPE_CHECKING:
    from ipsecme.base import Path, Transport
    from ipsecme.crypto.keymat import IkeKeys
    from ipsecme.crypto.protection import Protection
    from ipsecme.crypto.suite import IkeSuite
    from ipsecme.ike.auth.proof import Authenticated
    from ipsecme.ike.collision import Nonces
    from ipsecme.ike.config import ChildConfig, Identity, PeerConfig, Retransmission
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.services import Services
    from ipsecme.ike.tasks.base import Task
    from ipsecme.policy.proposal import Proposal
    from ipsecme.wire.ike import Header, Message

__all__ = ["IkeSa"]

_LINGER_SECONDS = 30.0  # a closed IKE SA still answers repeated requests
_PUT_OFF_SECONDS = 300.0
_DOUBT_SECONDS = 3.0  # how long to hope for a better answer after a bad unprotected one


class IkeSa:
    """One IKE SA; `handle`, its local SPI in hexadecimal, names it in events."""

    def __init__(
        self,
        services: Services,
        spis: tuple[bytes, bytes],
        path: Path,
        now: float,
        *,
        original_initiator: bool,
        candidates: tuple[PeerConfig, ...],
    ) -> None:
        self.services = services
        self.spi_i, self.spi_r = spis
        self.path = path
        self.original_initiator = original_initiator
        self.candidates = candidates
        self.peer: PeerConfig | None = candidates[0] if original_initiator else None
        self.peer_identity: Identity | None = None
        self.state = IkeState.HALF_OPEN
        self.mobility = Mobility()
        self.dialogue = Dialogue(self)
        self.timers: TimerTable[IkeTimer | int] = TimerTable()
        self.children = Children(self)
        self.heir: IkeSa | None = None
        self.jobs: deque[Job] = deque()
        self.wishes = PeerWishes()
        self.init_request = b""
        self.init_response = b""
        self.local_behind_nat = False
        self.remote_behind_nat = False
        self.internal = InternalAddresses()
        self.fragmentation = False  # both ends can reassemble (RFC 7383)
        self.sealing: Protection | None = None
        self.opening: Protection | None = None
        self.created_at = self.last_inbound_at = now
        self.established_at = self.rekey_at = self.expires_at = 0.0
        self.scheduled_at: float | None = None  # kept by the endpoint
        self.request_key: tuple[bytes, Transport] | None = None  # kept by the endpoint
        self._suite: IkeSuite | None = None
        self._keys: IkeKeys | None = None
        self._nonces: Nonces | None = None
        self._doubt: PeerError | None = None
        self.peer_takes_childless = False
        self._wanted: list[CreateChild] = []
        self._put_off_since: float | None = None
        self.predecessor: IkeSa | None = None  # goes when this one is up (reauthentication)
        self.reopens: list[CreateChild] | None = None  # with which another is opened at the end

    # who and what

    @property
    def local_spi(self) -> bytes:
        """The SPI that we chose."""
        return self.spi_i if self.original_initiator else self.spi_r

    @property
    def handle(self) -> str:
        """The name in events."""
        return self.local_spi.hex()

    @property
    def name(self) -> str:
        """The connection's name, or nothing while the peer is unknown."""
        return self.peer.name if self.peer else ""

    @property
    def suite(self) -> IkeSuite:
        """The chosen algorithms."""
        if self._suite is None:
            raise LocalMisuse("no algorithms are agreed on yet")
        return self._suite

    @property
    def agreed_suite(self) -> IkeSuite | None:
        """The chosen algorithms, or None while there are none."""
        return self._suite

    @property
    def keys(self) -> IkeKeys:
        """SK_d and the others."""
        if self._keys is None:
            raise LocalMisuse("there are no keys yet")
        return self._keys

    @property
    def nonces(self) -> Nonces:
        """Ni and Nr of the exchange that made this IKE SA."""
        if self._nonces is None:
            raise LocalMisuse("there are no nonces yet")
        return self._nonces

    @property
    def forces_encapsulation(self) -> bool:
        """True when policy wants ESP in UDP even without a NAT."""
        return any(peer.encapsulate for peer in ((self.peer,) if self.peer else self.candidates))

    @property
    def nat(self) -> str:
        """Who is behind a NAT: none, local, remote or both."""
        names = {
            (False, False): "none",
            (True, False): "local",
            (False, True): "remote",
            (True, True): "both",
        }
        return names[self.local_behind_nat, self.remote_behind_nat]

    @property
    def retransmission(self) -> Retransmission:
        """When to repeat requests; a Delete is not worth waiting long for."""
        return patience(self)

    @property
    def is_live(self) -> bool:
        """True until a Delete, a failure or a successor ends its use."""
        return self.state in (IkeState.HALF_OPEN, IkeState.ESTABLISHED)

    def acceptable_proposals(self) -> tuple[Proposal, ...]:
        """Return what any connection with this peer's address accepts."""
        return tuple(dict.fromkeys(p for peer in self.candidates for p in peer.proposals))

    def suite_is_accepted_by(self, peer: PeerConfig) -> bool:
        """Check the agreed algorithms against one connection, now that the peer is known."""
        suite = self.suite
        return any(
            (suite.encr, suite.key_bits) in p.encr
            and suite.prf in p.prf
            and suite.ke in p.ke
            and (not suite.integ or suite.integ in p.integ)
            for p in peer.proposals
        )

    # beginnings

    def start(self, children: list[CreateChild], now: float) -> None:
        """Send IKE_SA_INIT; the first of `children` comes with IKE_AUTH, the others after it."""
        self._wanted = list(children)
        self.dialogue.begin(ExchangeType.IKE_SA_INIT, opening_tasks(), now)
        self.init_request = self.services.datagrams[-1].data

    def want(self, children: list[CreateChild]) -> None:
        """Create these Child SAs, too, when the peer is authenticated."""
        self._wanted += [job for job in children if job not in self._wanted]

    def expects(self, config: ChildConfig) -> bool:
        """Tell whether such a Child SA is asked for already, or will be."""
        wanted = [job.config for job in self._wanted]
        wanted += [job.config for job in self.jobs if isinstance(job, CreateChild)]
        wanted += [
            task.config
            for task in self.dialogue.in_flight
            if isinstance(task, ChildCreate) and task.replaced_spi() is None and task.config
        ]
        return config in wanted

    def answer_init(self, message: Message, datagram: bytes) -> None:
        """Answer a first request; raises `PeerError` before anything has happened."""
        self.init_request = datagram
        self.init_response = self.dialogue.answer_init(message)
        limit = self.services.config.admission.half_open_seconds
        self.timers.arm(IkeTimer.HALF_OPEN, self.created_at + limit)
        self.services.send(self.init_response, self.path)

    def learn_responder(self, spi_r: bytes, datagram: bytes) -> None:
        """Note the SPI and the message of the responder whose keys we share now."""
        self.spi_r = spi_r
        self.init_response = datagram

    def take_keys(self, suite: IkeSuite, keys: IkeKeys, nonces: Nonces) -> None:
        """Begin to protect messages."""
        self._suite, self._keys, self._nonces = suite, keys, nonces
        rng = self.services.rng
        ours = protection(suite, keys.ei, keys.ai, rng)
        theirs = protection(suite, keys.er, keys.ar, rng)
        if not self.original_initiator:
            ours, theirs = theirs, ours
        self.sealing, self.opening = ours, theirs

    def become_established(
        self, proof: Authenticated, now: float, *, initial_contact: bool
    ) -> None:
        """Begin the life of an IKE SA whose peer is authenticated."""
        peer, identity = proof.peer, proof.identity
        self.peer, self.peer_identity = peer, identity
        self.established_at = now
        registry = self.services.registry
        if initial_contact and not proof.is_anonymous:
            for other in registry.with_identity(peer, identity):
                other.close("replaced", "the peer has no other IKE SA with us", now)
        registry.identify(self)
        self.begin_life(now)
        self.export_keys()
        self.services.publish(
            events.IkeSaEstablished(
                peer.name,
                self.handle,
                self.original_initiator,
                str(identity),
                self.path,
                self.suite,
                self.nat,
            )
        )

    def begin_life(self, now: float) -> None:
        """Start the timers of an established IKE SA."""
        if self.peer is None:
            raise LocalMisuse("an IKE SA without a peer")
        self.state = IkeState.ESTABLISHED
        self.init_request = self.init_response = b""
        lifetimes = self.peer.lifetimes
        self.rekey_at = now + rekey_delay(lifetimes, self.services.rng)
        self.expires_at = now + lifetimes.hard
        self.timers.disarm(IkeTimer.HALF_OPEN)
        self.timers.disarm(IkeTimer.DOUBT)
        self.timers.arm(IkeTimer.REKEY, self.rekey_at)
        self.timers.arm(IkeTimer.EXPIRE, self.expires_at)
        self.timers.arm(IkeTimer.LIVENESS, now + self.peer.liveness)
        if self.local_behind_nat:
            self.timers.arm(IkeTimer.KEEPALIVE, now + self.services.config.keepalive)

    def export_keys(self) -> None:
        """Give the keys out as an event, if that was asked for."""
        if not self.services.config.export_keys:
            return
        keys = self.keys
        self.services.publish(
            events.IkeKeysDerived(
                self.name,
                self.spi_i,
                self.spi_r,
                self.suite,
                sk_ei=keys.ei,
                sk_er=keys.er,
                sk_ai=keys.ai,
                sk_ar=keys.ar,
            )
        )

    # after messages

    def receive(self, header: Header, datagram: bytes, path: Path, now: float) -> None:
        """Take a message whose SPI is ours."""
        self.dialogue.receive(header, datagram, path, now)

    def hear_from_peer(self, path: Path, now: float) -> None:
        """Note a sign of life, and follow a peer whose NAT gave it another port (2.23)."""
        self.last_inbound_at = now
        follow_nat(self, path)

    def child_path(self) -> Path:
        """Return the path for ESP: inside UDP only where there is a NAT, or policy wants it so.

        It is that of the IKE SA, however a message came (section 2.23; RFC 4555, section 3.3).
        """
        if self.mobility.is_agreed and self.mobility.held is not None:
            return self.mobility.held
        needs_udp = self.local_behind_nat or self.remote_behind_nat or self.forces_encapsulation
        return self.path._replace(encapsulated=needs_udp and self.path.encapsulated)

    def after_exchange(self, exchange: ExchangeType, now: float) -> None:
        """Go on after an exchange of ours that succeeded."""
        if exchange == ExchangeType.CREATE_CHILD_SA:
            self._put_off_since = None
        if exchange == ExchangeType.IKE_SA_INIT:
            self.dialogue.begin(ExchangeType.IKE_AUTH, authenticating_tasks(self._first()), now)
            return
        if exchange == ExchangeType.IKE_AUTH:
            if self.predecessor is not None:
                self.predecessor.delete("reauthenticated", now)
                self.predecessor = None
            existing = {child.config.name for child in self.children}
            self.jobs.extend(
                job
                for job in self._wanted
                if job.config.name not in existing
                and (self.internal.assigned or not job.config.local_assigned)
            )
            self._wanted.clear()
        self.pump(now)

    def _first(self) -> CreateChild | None:
        """Return what comes with IKE_AUTH: a Child SA, unless the peer takes none (RFC 6023)."""
        peer = self.peer
        if self.peer_takes_childless:
            if not self._wanted or (peer is not None and peer.childless == "prefer"):
                return None
        elif not self._wanted and peer is not None:
            self._wanted += map(CreateChild, peer.children[:1])
        return self._wanted.pop(0) if self._wanted else None

    def exchange_failed(self, exchange: ExchangeType, error: PeerError, now: float) -> None:
        """Judge an exchange of ours that the peer refused, or whose answer we cannot accept."""
        if self.state is IkeState.HALF_OPEN:
            self.fail(reason_of(error), str(error))
            if isinstance(error, AuthenticationFailed):
                # The responder holds an IKE SA that we will not use: tell it (section 2.21.2).
                self.dialogue.begin(ExchangeType.INFORMATIONAL, [ReportFailure()], now)
                self.timers.arm(IkeTimer.LINGER, now + _LINGER_SECONDS)
                self.state = IkeState.CLOSED
            else:
                self.finish(now)
            return
        if ends_ike_sa(error) and self.state is not IkeState.CLOSED:
            self.close(reason_of(error), f"{exchange.name}: {error}", now)
            return
        self.pump(now)

    def request_refused(
        self, exchange: ExchangeType, error: PeerError, now: float, *, fatal: bool
    ) -> None:
        """Report a request of the peer's that we refused; end the IKE SA where the RFC says so."""
        self.services.counters["requests_refused"] += 1
        if self.state is IkeState.HALF_OPEN:
            self.fail(reason_of(error), str(error))
            self.finish(now)
        elif fatal:
            self.close(reason_of(error), f"{exchange.name}: {error}", now)
        elif exchange == ExchangeType.CREATE_CHILD_SA and not passes_by(error):
            self.services.publish(
                events.ChildSaFailed(self.name, "", self.handle, reason_of(error), str(error))
            )

    def doubt(self, error: PeerError, now: float) -> None:
        """Note a bad answer that nobody signed: it may be forged, so wait for a better one."""
        if self._doubt is None:
            self.timers.arm(IkeTimer.DOUBT, now + _DOUBT_SECONDS)
        self._doubt = error

    def have_hope(self) -> None:
        """Give the peer time again: it answered in a way that leads on."""
        self.timers.disarm(IkeTimer.DOUBT)
        self._doubt = None

    # requests of ours

    def queue(self, job: Job, now: float) -> None:
        """Do a job as soon as the window allows; after a rekeying the successor does it."""
        if self.heir is not None and not isinstance(job, CloseIke):
            self.heir.queue(job, now)
            return
        if job not in self.jobs:
            self.jobs.append(job)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Begin waiting jobs while the window has room."""
        if self.state in (IkeState.HALF_OPEN, IkeState.CLOSED):
            return
        if self._is_worn_out():
            self.jobs.appendleft(RekeyIke())
        while self.jobs and self.dialogue.requests.is_open and self._may_begin(self.jobs[0]):
            planned = tasks_for(self.jobs.popleft(), self)
            if planned is not None:
                self.dialogue.begin(*planned, now)

    def _is_worn_out(self) -> bool:
        """Tell whether the Message IDs demand a rekeying that is not under way (section 2.2)."""
        if self.state is not IkeState.ESTABLISHED or not self.dialogue.is_long:
            return False
        return RekeyIke() not in self.jobs and self.rekeying() is None

    def _may_begin(self, job: Job) -> bool:
        """Keep apart what disturbs each other when the window takes several (section 2.25)."""
        if isinstance(job, (RekeyIke, CloseIke)):
            return not self.dialogue.requests.outstanding
        return self.rekeying() is None

    def repeat_exchange(self, ctx: ExchangeContext, tasks: list[Task]) -> None:
        """Begin an exchange again with tasks that changed their mind."""
        self.dialogue.begin(ctx.exchange, tasks, ctx.now)

    def rekeying(self) -> IkeRekey | None:
        """Return our rekeying of this IKE SA that waits for its answer."""
        for task in self.dialogue.in_flight:
            if isinstance(task, IkeRekey):
                return task
        return None

    def rekeying_of(self, child: ChildSa) -> ChildRekey | None:
        """Return our rekeying of a Child SA that waits for its answer."""
        for task in self.dialogue.in_flight:
            if isinstance(task, ChildRekey) and task.old is child:
                return task
        return None

    def creating_children(self) -> list[ChildCreate]:
        """Return our requests for new Child SAs that wait for an answer, rekeyings included."""
        return [task for task in self.dialogue.in_flight if isinstance(task, ChildCreate)]

    def is_changing_children(self) -> bool:
        """Tell whether we create, rekey or close a Child SA right now (section 2.25.1)."""
        return any(isinstance(t, (ChildCreate, DeleteChild)) for t in self.dialogue.in_flight)

    def delete_unborn_child(self, spi: int, now: float) -> None:
        """Ask the peer to close its half of a Child SA that we did not take."""
        self.queue(CloseChild(None, spi, "refused"), now)

    # successors and endings

    def successor(
        self, spis: tuple[bytes, bytes], now: float, *, original_initiator: bool
    ) -> IkeSa:
        """Return a new IKE SA with the same peer; it is not yet in use."""
        new = IkeSa(
            self.services,
            spis,
            self.path,
            now,
            original_initiator=original_initiator,
            candidates=self.candidates,
        )
        new.peer, new.peer_identity = self.peer, self.peer_identity
        new.local_behind_nat, new.remote_behind_nat = self.local_behind_nat, self.remote_behind_nat
        new.fragmentation = self.fragmentation
        new.mobility = self.mobility
        new.established_at = self.established_at
        due = self.timers.deadline(IkeTimer.REAUTHENTICATE)
        if due is not None:
            new.rearm_reauthentication(due)
        return new

    def put_off(self, now: float) -> None:
        """Note a TEMPORARY_FAILURE; one that lasts for minutes ends the IKE SA (section 2.25)."""
        if self._put_off_since is None:
            self._put_off_since = now
        elif now - self._put_off_since > _PUT_OFF_SECONDS:
            self.delete("temporary_failure", now)

    def arm_reauthentication(self, told: float | None, now: float) -> None:
        """Plan the next authentication; `told` is the peer's AUTH_LIFETIME in seconds."""
        delay = reauthentication_delay(self, told)
        if delay is not None:
            self.rearm_reauthentication(now + delay)

    def rearm_reauthentication(self, at: float) -> None:
        """Authenticate anew at another time."""
        self.timers.arm(IkeTimer.REAUTHENTICATE, at)

    def rekey_later(self, at: float) -> None:
        """Try to rekey at another time."""
        self.timers.arm(IkeTimer.REKEY, at)

    def delete(self, reason: str, now: float) -> None:
        """Ask the peer to close this IKE SA with us; nothing else is begun on it."""
        if self.state is IkeState.HALF_OPEN:
            self.fail("refused", "given up here")
            self.finish(now)
            return
        if self.state in (IkeState.CLOSING, IkeState.CLOSED):
            return
        self.state = IkeState.CLOSING
        self.jobs.clear()
        self.queue(CloseIke(reason), now)

    def close(self, reason: str, detail: str, now: float) -> None:
        """End, with all Child SAs."""
        if self.state is IkeState.CLOSED:
            return
        self.children.drop_all("ike_sa_closed", now)
        replaced = self.heir is not None or reason == "redundant"
        if not replaced:
            self.services.publish(events.IkeSaClosed(self.name, self.handle, reason, detail))
        wanted = self.reopens
        self.finish(now)
        if wanted is not None:
            self.services.registry.reopen(self, wanted, now)

    def finish(self, now: float) -> None:
        """Do nothing any more but answer repeated requests for a while."""
        self.state = IkeState.CLOSED
        self.jobs.clear()
        self.dialogue.requests.outstanding.clear()
        self.timers.clear()
        self.timers.arm(IkeTimer.LINGER, now + _LINGER_SECONDS)
        leased, self.internal = self.internal.leased, InternalAddresses()
        for address in leased:
            self.services.addresses.give_back(address)
        hand_on(self, now)

    def lose_peer(self, now: float) -> None:
        """Give up on a peer that answers nothing (section 2.4)."""
        if self.state is IkeState.HALF_OPEN:
            self.fail_unanswered()
            self.finish(now)
            return
        if self.state is IkeState.CLOSING:
            self.close("deleted", f"{self.path.remote} did not answer the Delete", now)
            return
        tries = self.retransmission.tries
        self.close("unreachable", f"no answer from {self.path.remote} to {tries} requests", now)

    def fail_unanswered(self) -> None:
        """Report why an IKE SA did not come up, as far as it is known."""
        if self._doubt is not None:
            self.fail(reason_of(self._doubt), f"{self._doubt} (not authenticated)")
            return
        what = "IKE_SA_INIT" if self._suite is None else "IKE_AUTH"
        self.fail("unreachable", f"no answer from {self.path.remote} to {what}")

    def fail(self, reason: str, detail: str) -> None:
        """Report that the IKE SA did not come up."""
        name = self.name or (self.candidates[0].name if len(self.candidates) == 1 else "")
        self.services.publish(
            events.IkeSaFailed(
                name, self.handle, self.original_initiator, reason, detail, self.path
            )
        )

    # time

    def arm_retransmission(self, message_id: int, sendings: int, now: float) -> None:
        """Repeat a request unless it is answered in time."""
        self.timers.arm(message_id, now + self.retransmission.wait(sendings))

    def disarm_retransmission(self, message_id: int) -> None:
        """Stop repeating an answered request."""
        self.timers.disarm(message_id)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` wants to be called."""
        own, of_children = self.timers.next_deadline(), self.children.next_deadline()
        if own is None or of_children is None:
            return of_children if own is None else own
        return min(own, of_children)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        for timer in self.timers.due(now):
            if isinstance(timer, IkeTimer):
                on_timer(self, timer, now)
            else:
                self.dialogue.retransmit(timer, now)
        self.children.handle_timeout(now)
