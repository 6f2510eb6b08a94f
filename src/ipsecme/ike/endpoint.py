"""Endpoint: every IKE SA of one host behind five verbs, without a socket or a clock.

Feed it with `receive_datagram` and `handle_timeout`; after each call drain, in this order,
`next_command`, `datagrams_to_send` and `next_event`, and arm one timer for `next_timeout`. Whatever
a datagram holds, it is answered, ignored or reported, and nothing is raised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.base import LocalMisuse, MalformedMessage, Path, SystemRng, Transport
from ipsecme.crypto.ke import SystemKeyExchange
from ipsecme.ike.first_requests import FirstRequests
from ipsecme.ike.half_open import HalfOpen
from ipsecme.ike.jobs import CreateChild, RekeyChild, RekeyIke, TellInvalidSpi
from ipsecme.ike.mobility import react_to_addresses
from ipsecme.ike.policy_change import adapt
from ipsecme.ike.registry import Registry
from ipsecme.ike.sa import IkeSa
from ipsecme.ike.services import Datagram, Services
from ipsecme.ike.state import IkeState
from ipsecme.ike.status import ConnectionStatus, LastError, describe
from ipsecme.ike.strays import MAJOR_VERSION, Strays
from ipsecme.ike.trigger import Trigger
from ipsecme.wire.ike import (
    NO_SPI,
    Header,
)
from ipsecme.wire.numbers import ExchangeType, PayloadType

if TYPE_CHECKING:
    import datetime as dt
    from collections import Counter
    from collections.abc import Callable, Sequence

    from ipsecme.base import Rng
    from ipsecme.crypto.certificate import Certificate
    from ipsecme.crypto.ke import KeyExchangeProvider
    from ipsecme.ike.commands import Command
    from ipsecme.ike.config import ChildConfig, EndpointConfig, PeerConfig
    from ipsecme.ike.events import Event
    from ipsecme.wire.ike import TrafficSelector

__all__ = ["Endpoint"]


class Endpoint:
    """See the module. `rng` and `key_exchange` are the system's unless a test scripts them."""

    def __init__(
        self,
        config: EndpointConfig,
        rng: Rng | None = None,
        key_exchange: KeyExchangeProvider | None = None,
    ) -> None:
        self.config = config
        self._registry = Registry(HalfOpen())
        self._services = Services(
            config, rng or SystemRng(), key_exchange or SystemKeyExchange(), self._registry
        )
        self._first_requests = FirstRequests(self._services, self._registry)
        self._strays = Strays(self._services)

    # what comes out

    @property
    def counters(self) -> Counter[str]:
        """Plain counts by name, such as ``datagrams_in`` and ``dropped_integrity_failure``."""
        return self._services.counters

    @property
    def half_open(self) -> int:
        """Responder's IKE SAs whose peer is not authenticated."""
        return len(self._registry.half_open)

    @property
    def most_half_open(self) -> int:
        """The largest number of them at once so far."""
        return self._registry.half_open.most

    @property
    def ike_sas(self) -> int:
        """IKE SAs in memory, those that linger to answer repetitions included."""
        return len(self._registry)

    @property
    def is_idle(self) -> bool:
        """True when no IKE SA is in use; closed ones may still linger to answer repetitions."""
        return all(sa.state is IkeState.CLOSED for sa in self._registry)

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
        return self._registry.next_deadline()

    def status(self) -> tuple[ConnectionStatus, ...]:
        """Describe every connection."""
        by_name: dict[str, list[IkeSa]] = {}
        for sa in self._registry:
            by_name.setdefault(sa.name, []).append(sa)
        return tuple(
            describe(peer, by_name.get(peer.name, []), self._services.last_errors.get(peer.name))
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
        sa = self._registry.find(local_spi)
        if sa is not None and header.major_version == MAJOR_VERSION:
            if not self._fits_peer(sa, header):
                self._drop("wrong_peer_spi")
                return
            sa.receive(header, data, path, now)
            self._registry.settle(sa, now)
        elif header.is_response:
            self._drop("stray_response")
        elif self._is_our_own(header):
            self._drop("reflected")
        elif (
            header.exchange == ExchangeType.IKE_SA_INIT
            and header.spi_r == NO_SPI
            and header.major_version == MAJOR_VERSION
        ):
            self._first_requests.receive(header, data, path, now)
        elif header.major_version == MAJOR_VERSION and not _is_protected(header):
            self._drop("unprotected")  # a hint at best, and an answer could begin a loop (1.5)
        else:
            self._drop("unknown_spi")
            if not self._registry.is_closed:
                self._strays.answer(header, path, now)

    def _is_our_own(self, header: Header) -> bool:
        """Tell whether a message of ours came back: its sender's SPI is one that we chose."""
        by_initiator = header.from_original_initiator
        sa = self._registry.find(header.spi_i if by_initiator else header.spi_r)
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
        self._registry.handle_timeout(now)

    # commands of the operator and the data plane

    def initiate(self, connection: str, child: str | None, now: float) -> str:
        """Bring a connection up, with all its Child SAs or one; return the IKE SA's handle.

        A Child SA that is missing on an established IKE SA is created there. Raises `LocalMisuse`
        for unknown names and for a connection without a remote address.
        """
        peer = self._peer(connection)
        wanted = [CreateChild(config) for config in self._children(peer, child)]
        for sa in self._registry.live_of(peer):
            if sa.state is IkeState.HALF_OPEN and sa.original_initiator:
                sa.want(wanted)
                return sa.handle
            if sa.state is IkeState.ESTABLISHED:
                existing = {c.config.name for c in sa.children if c.is_current}
                for job in wanted:
                    if job.config.name not in existing:
                        sa.queue(job, now)
                self._registry.settle(sa, now)
                return sa.handle
        return self._open(peer, wanted, now)

    def acquire(self, local: TrafficSelector, remote: TrafficSelector, now: float) -> str | None:
        """Have a Child SA made for an outbound packet, described by two selectors.

        Return the handle of the IKE SA that will have it, or None where no policy wants the packet
        protected or nobody can be called. Call again while packets come; what is under way already
        is not begun twice.
        """
        trigger = Trigger(local, remote)
        for peer in self.config.peers:
            for config in peer.children:
                if trigger.is_for(config):
                    return self._acquire(peer, CreateChild(config, trigger), trigger, now)
        return None

    def _acquire(
        self, peer: PeerConfig, job: CreateChild, trigger: Trigger, now: float
    ) -> str | None:
        for sa in self._registry.live_of(peer):
            if sa.state is IkeState.HALF_OPEN and not sa.original_initiator:
                continue
            is_carried = any(c.is_current and trigger.is_carried_by(c.pair) for c in sa.children)
            if not is_carried and not sa.expects(job.config):
                if sa.state is IkeState.HALF_OPEN:
                    sa.want([job])
                else:
                    sa.queue(job, now)
                    self._registry.settle(sa, now)
            return sa.handle
        if peer.remote_address is None or peer.local_address is None:
            return None
        return self._open(peer, [job], now)

    def _open(self, peer: PeerConfig, wanted: list[CreateChild], now: float) -> str:
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
        self._registry.adopt(sa)
        sa.start(wanted, now)
        self._registry.settle(sa, now)
        return sa.handle

    def terminate(self, connection: str, child: str | None, now: float) -> int:
        """Close a connection, or one of its Child SAs; return how many SAs will go."""
        peer = self._peer(connection)
        if child is not None:
            self._children(peer, child)
        count = 0
        for sa in self._registry.live_of(peer):
            if child is None:
                sa.delete("deleted", now)
                count += 1
            else:
                for entry in sa.children:
                    if entry.config.name == child and entry.is_current:
                        sa.children.delete(entry, "deleted", now)
                        count += 1
            self._registry.settle(sa, now)
        return count

    def rekey(self, connection: str, child: str | None, now: float) -> int:
        """Rekey the IKE SA of a connection, or one of its Child SAs; return how many were begun."""
        peer = self._peer(connection)
        if child is not None:
            self._children(peer, child)
        count = 0
        for sa in self._registry.live_of(peer):
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
            self._registry.settle(sa, now)
        return count

    def handle_install_failed(self, spi: int, detail: str, now: float) -> None:
        """Give up the Child SA that a data plane could not install; the others are not touched."""
        sa = self._services.inbound_spis.get(spi)
        child = sa.children.find(spi) if sa is not None else None
        if sa is None or child is None:
            return
        self._services.last_errors[sa.name] = LastError("install_failed", detail, now)
        sa.children.delete(child, "install_failed", now)
        self._registry.settle(sa, now)

    def handle_traffic(self, spi: int, now: float) -> None:
        """Note that packets passed every check on this inbound SPI: the peer is alive (2.4)."""
        sa = self._services.inbound_spis.get(spi)
        if sa is not None:
            sa.last_inbound_at = max(sa.last_inbound_at, now)

    def handle_unknown_spi(self, spi: int, path: Path, now: float) -> None:
        """Tell a peer that it sends ESP on an SPI that is not ours; `path` leads back to it.

        Within an IKE SA with that address it is believed, outside it is a hint (section 1.5).
        """
        self.counters["esp_unknown_spi"] += 1
        if self._registry.is_closed:
            return
        for sa in self._registry:
            is_near = sa.path.remote.address == path.remote.address
            if is_near and sa.state is IkeState.ESTABLISHED:
                if self._strays.may_reply(now):
                    sa.queue(TellInvalidSpi(spi), now)
                    self._registry.settle(sa, now)
                return
        self._strays.tell_invalid_spi(spi, path, now)

    def replace_peers(self, peers: tuple[PeerConfig, ...], now: float) -> None:
        """Take other connections than before; SAs that they do not allow go (section 2.9.1)."""
        self.config = self._services.config = replace(self.config, peers=peers)
        self._first_requests.replace_peers(peers)
        by_name = {peer.name: peer for peer in peers}
        for sa in self._registry:
            adapt(sa, by_name, now)
            self._registry.settle(sa, now)

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
        for sa in self._registry:
            if is_same and not sa.mobility.is_client and not sa.original_initiator:
                continue  # routes alone matter to the end that chooses
            react_to_addresses(sa, now)
            self._registry.settle(sa, now)

    def handle_expiring(self, spi: int, now: float) -> None:
        """Rekey a Child SA whose sequence numbers run out."""
        sa = self._services.inbound_spis.get(spi)
        if sa is not None:
            sa.queue(RekeyChild(spi), now)
            self._registry.settle(sa, now)

    def answer(self, number: int, answer: object, now: float) -> None:
        """Take what was found out about a `CheckChain`; too late is no error."""
        sa = self._services.questions.pop(number, None)
        if sa is not None:
            sa.dialogue.resume(number, answer, now)
            self._registry.settle(sa, now)

    def handle_ocsp(self, certificate: Certificate, response: bytes | None) -> None:
        """Learn the OCSP response about one of our own certificates, for peers that ask for it."""
        if response is None:
            self._services.ocsp.pop(certificate, None)
        else:
            self._services.ocsp[certificate] = response

    def handle_wall_clock(self, wall: dt.datetime, now: float) -> None:
        """Learn what time of day it is; tell again from time to time, for clocks are set."""
        self._services.set_wall_clock(wall, now)

    def shutdown(self, now: float) -> None:
        """Take nobody in any more and delete every IKE SA; `is_idle` tells when that is done."""
        self._registry.is_closed = True
        for sa in self._registry:
            if sa.state is IkeState.HALF_OPEN:
                sa.finish(now)
            else:
                sa.delete("deleted", now)
            self._registry.settle(sa, now)

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

    def _drop(self, reason: str) -> None:
        self.counters[f"dropped_{reason}"] += 1


def _is_protected(header: Header) -> bool:
    return header.next_payload in (PayloadType.SK, PayloadType.SKF)
