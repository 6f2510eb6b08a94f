"""Endpoint: every IKE SA of one host behind five verbs, without a socket or a clock.

Feed it with `receive_datagram` and `handle_timeout`; after each call drain, in this order,
`next_command`, `datagrams_to_send` and `next_event`, and arm one timer for `next_timeout`. Whatever
a datagram holds, it is answered, ignored or reported, and nothing is raised.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, TypeGuard

from ipsecme.base import LocalMisuse, MalformedMessage, Path, PeerError, SystemRng, Transport
from ipsecme.crypto.ke import SystemKeyExchange
from ipsecme.ike.admission import Admission, Verdict
from ipsecme.ike.events import ChildSaFailed, IkeSaClosed, IkeSaEstablished, IkeSaFailed
from ipsecme.ike.failures import notify_of, reason_of
from ipsecme.ike.jobs import CreateChild, RekeyChild, RekeyIke
from ipsecme.ike.mobility import react_to_addresses
from ipsecme.ike.sa import IkeSa
from ipsecme.ike.services import Datagram, Services
from ipsecme.ike.state import IkeState
from ipsecme.ike.status import ConnectionStatus, LastError, describe
from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    NO_SPI,
    Header,
    Message,
    NoncePayload,
    NotifyPayload,
)
from ipsecme.wire.numbers import ExchangeType, NotifyType

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from ipsecme.base import Rng
    from ipsecme.crypto.ke import KeyExchangeProvider
    from ipsecme.ike.commands import Command
    from ipsecme.ike.config import ChildConfig, EndpointConfig, Identity, PeerConfig
    from ipsecme.ike.events import Event
    from ipsecme.wire.ike import Payload

__all__ = ["Endpoint"]

_MAJOR_VERSION = 2
_REFUSED_KEPT = 16
_GOOD_ENDS = ("deleted", "deleted_by_peer", "reauthenticated")
_STRAY_REPLIES_PER_SECOND = 10  # answers to messages of no IKE SA (section 2.4)


class Endpoint:
    """See the module. `rng` and `key_exchange` are the system's unless a test scripts them."""

    def __init__(
        self,
        config: EndpointConfig,
        rng: Rng | None = None,
        key_exchange: KeyExchangeProvider | None = None,
    ) -> None:
        self.config = config
        self._services = Services(
            config, rng or SystemRng(), key_exchange or SystemKeyExchange(), self
        )
        self._by_address: dict[str | None, list[PeerConfig]] = {}
        for peer in config.peers:
            self._by_address.setdefault(peer.remote_address, []).append(peer)
        self._admission = Admission(config.admission, self._services.rng)
        self._sas: dict[bytes, IkeSa] = {}
        self._by_request: dict[tuple[bytes, Transport], IkeSa] = {}
        self._half_open: set[IkeSa] = set()
        self._by_identity: dict[tuple[str, tuple[int, bytes]], set[IkeSa]] = {}
        self._heap: list[tuple[float, int, IkeSa]] = []
        self._pushes = 0
        self._stray_budget: tuple[float, int] = (0.0, 0)
        self._last_errors: dict[str, LastError] = {}
        self._refused: deque[bytes] = deque(maxlen=_REFUSED_KEPT)
        self._is_stopping = False

    # what comes out

    @property
    def counters(self) -> Counter[str]:
        """Plain counts by name, such as ``datagrams_in`` and ``dropped_integrity_failure``."""
        return self._services.counters

    @property
    def half_open(self) -> int:
        """Responder's IKE SAs whose peer is not authenticated."""
        return len(self._half_open)

    @property
    def is_idle(self) -> bool:
        """True when no IKE SA is in use; closed ones may still linger to answer repetitions."""
        return all(sa.state is IkeState.CLOSED for sa in self._sas.values())

    def datagrams_to_send(self) -> list[Datagram]:
        """Return and forget what is to be sent, in order."""
        datagrams, self._services.datagrams = self._services.datagrams, []
        return datagrams

    def next_command(self) -> Command | None:
        """Return the next thing to do, or None."""
        commands = self._services.commands
        return commands.popleft() if commands else None

    def next_event(self) -> Event | None:
        """Return the next thing that happened, or None."""
        queue = self._services.events
        return queue.popleft() if queue else None

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` wants to be called, or None."""
        while self._heap:
            at, _, sa = self._heap[0]
            if sa.scheduled_at == at:
                return at
            heapq.heappop(self._heap)  # that IKE SA has another deadline by now
        return None

    def status(self) -> tuple[ConnectionStatus, ...]:
        """Describe every connection."""
        by_name: dict[str, list[IkeSa]] = {}
        for sa in self._sas.values():
            by_name.setdefault(sa.name, []).append(sa)
        return tuple(
            describe(peer, by_name.get(peer.name, []), self._last_errors.get(peer.name))
            for peer in self.config.peers
        )

    # what goes in

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        """Take an IKE message, without non-ESP marker, that came by `path`."""
        self.counters["datagrams_in"] += 1
        try:
            header = Header.decode(data)
        except MalformedMessage:
            self._drop("malformed")
            return
        local_spi = header.spi_r if header.from_original_initiator else header.spi_i
        sa = self._sas.get(local_spi)
        if sa is not None and header.major_version == _MAJOR_VERSION:
            if not self._fits_peer(sa, header):
                self._drop("wrong_peer_spi")
                return
            sa.receive(header, data, path, now)
            self._settle(sa, now)
        elif header.is_response:
            self._drop("stray_response")
        elif self._is_our_own(header):
            self._drop("reflected")
        elif header.exchange == ExchangeType.IKE_SA_INIT and header.spi_r == NO_SPI:
            self._receive_init(header, data, path, now)
        else:
            self._answer_stray(header, path, now)

    def _is_our_own(self, header: Header) -> bool:
        """Tell whether a message of ours came back: its sender's SPI is one that we chose."""
        by_initiator = header.from_original_initiator
        sa = self._sas.get(header.spi_i if by_initiator else header.spi_r)
        return sa is not None and sa.original_initiator == by_initiator

    @staticmethod
    def _fits_peer(sa: IkeSa, header: Header) -> bool:
        """Check the peer's role and SPI; before IKE_SA_INIT is answered the latter is unknown."""
        if sa.original_initiator == header.from_original_initiator:
            return False
        if not sa.original_initiator:
            return header.spi_i == sa.spi_i
        return sa.spi_r in (NO_SPI, header.spi_r)

    def handle_timeout(self, now: float) -> None:
        """Do everything that is due."""
        while True:
            at = self.next_timeout()
            if at is None or at > now:
                return
            _, _, sa = heapq.heappop(self._heap)
            sa.scheduled_at = None
            sa.handle_timeout(now)
            self._settle(sa, now)

    # commands of the operator and the data plane

    def initiate(self, connection: str, child: str | None, now: float) -> str:
        """Bring a connection up, with all its Child SAs or one; return the IKE SA's handle.

        A Child SA that is missing on an established IKE SA is created there. Raises `LocalMisuse`
        for unknown names and for a connection without a remote address.
        """
        peer = self._peer(connection)
        wanted = self._children(peer, child)
        for sa in self._of(peer):
            if sa.state is IkeState.HALF_OPEN and sa.original_initiator:
                sa.want(wanted)
                return sa.handle
            if sa.state is IkeState.ESTABLISHED:
                existing = {c.config.name for c in sa.children if c.is_current}
                for config in wanted:
                    if config.name not in existing:
                        sa.queue(CreateChild(config), now)
                self._settle(sa, now)
                return sa.handle
        return self._open(peer, wanted, now)

    def _open(self, peer: PeerConfig, wanted: list[ChildConfig], now: float) -> str:
        if peer.remote_address is None or peer.local_address is None:
            raise LocalMisuse(
                f"connection {peer.name} has no remote address, so only the peer can call; "
                "set `remote` to call it from here"
            )
        encapsulated = peer.remote_port == self.config.nat_port
        local_port = self.config.nat_port if encapsulated else self.config.ike_port
        path = Path(
            Transport(self._services.host.caller(peer), local_port),
            Transport(peer.remote_address, peer.remote_port),
            encapsulated,
        )
        services = self._services
        sa = IkeSa(
            services,
            (services.new_ike_spi(), NO_SPI),
            path,
            now,
            original_initiator=True,
            candidates=(peer,),
        )
        self.adopt(sa)
        sa.start(wanted, now)
        self._settle(sa, now)
        return sa.handle

    def terminate(self, connection: str, child: str | None, now: float) -> int:
        """Close a connection, or one of its Child SAs; return how many SAs will go."""
        peer = self._peer(connection)
        if child is not None:
            self._children(peer, child)
        count = 0
        for sa in self._of(peer):
            if child is None:
                sa.delete("deleted", now)
                count += 1
            else:
                for entry in sa.children:
                    if entry.config.name == child and entry.is_current:
                        sa.children.delete(entry, "deleted", now)
                        count += 1
            self._settle(sa, now)
        return count

    def rekey(self, connection: str, child: str | None, now: float) -> int:
        """Rekey the IKE SA of a connection, or one of its Child SAs; return how many were begun."""
        peer = self._peer(connection)
        if child is not None:
            self._children(peer, child)
        count = 0
        for sa in self._of(peer):
            if sa.state is not IkeState.ESTABLISHED:
                continue
            if child is None:
                sa.queue(RekeyIke(), now)
                count += 1
            else:
                for entry in sa.children:
                    if entry.config.name == child and entry.is_current:
                        sa.queue(RekeyChild(entry.spi), now)
                        count += 1
            self._settle(sa, now)
        return count

    def handle_install_failed(self, spi: int, detail: str, now: float) -> None:
        """Give up the Child SA that a data plane could not install; the others are not touched."""
        sa = self._services.inbound_spis.get(spi)
        child = sa.children.find(spi) if sa is not None else None
        if sa is None or child is None:
            return
        self._last_errors[sa.name] = LastError("install_failed", detail, now)
        sa.children.delete(child, "install_failed", now)
        self._settle(sa, now)

    def handle_traffic(self, spi: int, now: float) -> None:
        """Note that packets passed every check on this inbound SPI: the peer is alive (2.4)."""
        sa = self._services.inbound_spis.get(spi)
        if sa is not None:
            sa.last_inbound_at = max(sa.last_inbound_at, now)

    def handle_addresses(
        self,
        addresses: Sequence[str],
        now: float,
        route: Callable[[str], str | None] | None = None,
    ) -> None:
        """Hear which addresses this host has now; SAs leave those that are gone (RFC 4555).

        `route` returns the address from which the host would send to another, or None where no way
        leads; call again when its answers change. It must not call the endpoint.
        """
        services = self._services
        before, services.host = services.host, services.host.replaced_by(addresses, route)
        is_same = before.addresses == services.host.addresses
        for sa in list(self._sas.values()):
            if is_same and not sa.mobility.is_client and not sa.original_initiator:
                continue  # routes alone matter to the end that chooses
            react_to_addresses(sa, now)
            self._settle(sa, now)

    def handle_expiring(self, spi: int, now: float) -> None:
        """Rekey a Child SA whose sequence numbers run out."""
        sa = self._services.inbound_spis.get(spi)
        if sa is not None:
            sa.queue(RekeyChild(spi), now)
            self._settle(sa, now)

    def answer(self, number: int, answer: object, now: float) -> None:
        """Take what was found out about a `CheckChain`; too late is no error."""
        sa = self._services.questions.pop(number, None)
        if sa is not None:
            sa.dialogue.resume(number, answer, now)
            self._settle(sa, now)

    def shutdown(self, now: float) -> None:
        """Take nobody in any more and delete every IKE SA; `is_idle` tells when that is done."""
        self._is_stopping = True
        for sa in list(self._sas.values()):
            if sa.state is IkeState.HALF_OPEN:
                sa.finish(now)
            else:
                sa.delete("deleted", now)
            self._settle(sa, now)

    def _peer(self, name: str) -> PeerConfig:
        for peer in self.config.peers:
            if peer.name == name:
                return peer
        known = ", ".join(peer.name for peer in self.config.peers) or "none"
        raise LocalMisuse(f"there is no connection {name!r}; configured: {known}")

    @staticmethod
    def _children(peer: PeerConfig, name: str | None) -> list[ChildConfig]:
        found = [c for c in peer.children if name is None or c.name == name]
        if name is not None and not found:
            known = ", ".join(c.name for c in peer.children) or "none"
            raise LocalMisuse(f"connection {peer.name} has no Child SA {name!r}; it has: {known}")
        return found

    def _of(self, peer: PeerConfig) -> list[IkeSa]:
        return [sa for sa in self._sas.values() if sa.peer is peer and sa.is_live]

    # first requests

    def _receive_init(self, header: Header, data: bytes, path: Path, now: float) -> None:
        known = self._by_request.get((data, path.remote))
        if known is not None:
            known.receive(header, data, path, now)
            return
        if header.major_version != _MAJOR_VERSION:
            self._answer_stray(header, path, now)
            return
        if header.message_id or header.spi_i == NO_SPI or not header.from_original_initiator:
            self._drop("malformed_init")
            return
        candidates = () if self._is_stopping else self._candidates(path)
        if not candidates:
            self.counters["init_from_unknown_address"] += 1
            self._refuse_init(header, path, NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN))
            return
        try:
            message = Message.decode(data, header)
            if self._admit(header, message, path, now):
                spis = (header.spi_i, self._services.new_ike_spi())
                sa = IkeSa(
                    self._services,
                    spis,
                    path,
                    now,
                    original_initiator=False,
                    candidates=candidates,
                )
                self._open_half(sa, header, message, data)
        except PeerError as error:
            self._report_init(error, data, path, candidates)
            self._refuse_init(header, path, notify_of(error))

    def _candidates(self, path: Path) -> tuple[PeerConfig, ...]:
        """Return the connections whose addresses allow this path, exact ones first."""
        local, remote = path.local.address, path.remote.address
        exact, open_to_all = self._by_address.get(remote, ()), self._by_address.get(None, ())
        return tuple(p for p in (*exact, *open_to_all) if p.listen_address in (None, local))

    def _admit(self, header: Header, message: Message, path: Path, now: float) -> bool:
        nonce = next((p.data for p in message.payloads if isinstance(p, NoncePayload)), b"")
        address, spi_i = path.remote.address, header.spi_i
        offered = _cookie_of(message)
        valid = bool(offered) and self._admission.is_valid(offered, nonce, address, spi_i, now)
        verdict = self._admission.judge(self.half_open, has_cookie=valid)
        if verdict is Verdict.REFUSE:
            self._drop("half_open_limit")
        elif verdict is Verdict.ASK_COOKIE:
            self.counters["cookies_asked"] += 1
            cookie = self._admission.cookie(nonce, address, spi_i, now)
            self._refuse_init(header, path, NotifyPayload(NotifyType.COOKIE, cookie))
        return verdict is Verdict.ADMIT

    def _open_half(self, sa: IkeSa, header: Header, message: Message, data: bytes) -> None:
        """Answer a first request; only one that is accepted as a whole leaves anything behind."""
        sa.answer_init(header, message, data)
        sa.request_key = (data, sa.path.remote)
        self._by_request[sa.request_key] = sa
        self._half_open.add(sa)
        self.adopt(sa)
        self._settle(sa, sa.created_at)

    def _refuse_init(self, header: Header, path: Path, payload: Payload) -> None:
        """Answer a first request with one Notify, a responder's SPI of zero, and no state."""
        answer = Message(
            header.spi_i, NO_SPI, ExchangeType.IKE_SA_INIT, FLAG_RESPONSE, 0, [payload]
        )
        self._services.send(answer.encode(), path)

    def _report_init(
        self, error: PeerError, data: bytes, path: Path, candidates: tuple[PeerConfig, ...]
    ) -> None:
        """Report a refused first request, once and not again for each retransmission."""
        if data in self._refused:
            return
        self._refused.append(data)
        if notify_of(error).type in (NotifyType.INVALID_KE_PAYLOAD, NotifyType.INVALID_SYNTAX):
            self.counters[f"init_answered_{notify_of(error).type.name.lower()}"] += 1
            return
        name = candidates[0].name if len(candidates) == 1 else ""
        event = IkeSaFailed(name, "", initiator=False, reason=reason_of(error),
                            detail=str(error), path=path)  # fmt: skip
        self._services.publish(event)

    def _answer_stray(self, header: Header, path: Path, now: float) -> None:
        """Answer a request of no IKE SA without protection, and not too often (1.5, 2.21.4)."""
        self._drop("unknown_spi")
        second, used = self._stray_budget
        if now - second >= 1:
            second, used = now, 0
        self._stray_budget = (second, used + 1)
        if used >= _STRAY_REPLIES_PER_SECOND or self._is_stopping:
            return
        newer = header.major_version > _MAJOR_VERSION
        if not newer and header.major_version < _MAJOR_VERSION:
            return  # IKEv1 is not spoken here and gets no answer
        kind = NotifyType.INVALID_MAJOR_VERSION if newer else NotifyType.INVALID_IKE_SPI
        flags = FLAG_RESPONSE | (0 if header.from_original_initiator else FLAG_INITIATOR)
        answer = Message(
            header.spi_i,
            header.spi_r,
            header.exchange,
            flags,
            header.message_id,
            [NotifyPayload(kind)],
        )
        self._services.send(answer.encode(), path)

    def _drop(self, reason: str) -> None:
        self.counters[f"dropped_{reason}"] += 1

    # the table of IKE SAs

    def adopt(self, sa: IkeSa) -> None:
        """Make an IKE SA known by its local SPI."""
        self._sas[sa.local_spi] = sa
        self._schedule(sa)

    def release(self, sa: IkeSa) -> None:
        """Forget an IKE SA."""
        if self._sas.get(sa.local_spi) is sa:
            del self._sas[sa.local_spi]
        self._half_open.discard(sa)
        if (question := sa.dialogue.question) is not None:
            self._services.questions.pop(question, None)
        if sa.peer_identity is not None:
            key = (sa.name, sa.peer_identity.key)
            same = self._by_identity.get(key, set())
            same.discard(sa)
            if not same:
                self._by_identity.pop(key, None)
        if sa.request_key is not None:
            self._by_request.pop(sa.request_key, None)

    def identify(self, sa: IkeSa) -> None:
        """Make an IKE SA known by its connection and its peer's identity."""
        if sa.peer_identity is not None:
            self._by_identity.setdefault((sa.name, sa.peer_identity.key), set()).add(sa)

    def with_identity(self, peer: PeerConfig, identity: Identity) -> list[IkeSa]:
        """Return the live IKE SAs of a connection with a peer of this identity."""
        return [sa for sa in self._by_identity.get((peer.name, identity.key), ()) if sa.is_live]

    def has_live(self, peer: PeerConfig, but: IkeSa) -> bool:
        """Tell whether a connection has another live IKE SA."""
        return any(sa is not but for sa in self._of(peer))

    def reopen(self, old: IkeSa, wanted: list[ChildConfig], now: float) -> None:
        """Open another IKE SA with the same peer; the old one goes when that is up."""
        peer = old.peer
        if peer is None or self._is_stopping:
            return
        services = self._services
        sa = IkeSa(
            services,
            (services.new_ike_spi(), NO_SPI),
            old.path,
            now,
            original_initiator=True,
            candidates=(peer,),
        )
        sa.predecessor = old if old.is_live else None
        self.adopt(sa)
        sa.start(wanted, now)
        self._settle(sa, now)

    def is_local_spi(self, spi: bytes) -> bool:
        """Tell whether an IKE SA has this local SPI."""
        return spi in self._sas

    def _settle(self, sa: IkeSa, now: float) -> None:
        """After anything that happened on an IKE SA: bookkeeping and timers."""
        if sa.state is not IkeState.HALF_OPEN:
            self._half_open.discard(sa)
        self._note_errors(now)
        link: IkeSa | None = sa
        while link is not None:
            self._schedule(link)
            link = link.heir
        for older in sa.mobility.older:
            self._schedule(older)

    def _schedule(self, sa: IkeSa) -> None:
        at = sa.next_timeout() if self.is_local_spi(sa.local_spi) else None
        if at == sa.scheduled_at:
            return
        sa.scheduled_at = at
        if at is not None:
            self._pushes += 1
            heapq.heappush(self._heap, (at, self._pushes, sa))

    def _note_errors(self, now: float) -> None:
        """Remember the last error of each connection for `status`."""
        for event in self._services.fresh_events:
            if isinstance(event, IkeSaEstablished):
                self._last_errors.pop(event.connection, None)
            elif isinstance(event, (IkeSaFailed, ChildSaFailed)) or _is_bad_end(event):
                self._last_errors[event.connection] = LastError(event.reason, event.detail, now)
        self._services.fresh_events.clear()


def _cookie_of(message: Message) -> bytes:
    """Return the data of a COOKIE that is the first payload, or nothing (section 2.6)."""
    first = message.payloads[0] if message.payloads else None
    if isinstance(first, NotifyPayload) and first.type == NotifyType.COOKIE:
        return first.data
    return b""


def _is_bad_end(event: Event) -> TypeGuard[IkeSaClosed]:
    return isinstance(event, IkeSaClosed) and event.reason not in _GOOD_ENDS
