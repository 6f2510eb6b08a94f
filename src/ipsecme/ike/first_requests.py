"""FirstRequests: what becomes of IKE_SA_INIT requests of strangers (RFC 7296, sections 1.2, 2.6).

Whatever is refused leaves nothing behind, and whatever is dropped is counted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ipsecme.base import PeerError
from ipsecme.ike.admission import Admission, Verdict
from ipsecme.ike.events import IkeSaFailed
from ipsecme.ike.failures import notify_of, reason_of
from ipsecme.ike.sa import IkeSa
from ipsecme.wire.ike import (
    FLAG_RESPONSE,
    NO_SPI,
    Header,
    Message,
    NotifyPayload,
    peek_first_request,
)
from ipsecme.wire.numbers import ExchangeType, NotifyType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipsecme.base import Path
    from ipsecme.ike.config import PeerConfig
    from ipsecme.ike.registry import Registry
    from ipsecme.ike.services import Services
    from ipsecme.wire.ike import Payload

__all__ = ["FirstRequests"]

_REFUSED_KEPT = 16


class FirstRequests:
    """The door: finds the connections that an address may be for, and asks `Admission`."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._registry = registry
        self._admission = Admission(services.config.admission, services.rng)
        self._by_address: dict[str | None, list[PeerConfig]] = {}
        self.replace_peers(services.config.peers)
        self._reported: deque[bytes] = deque(maxlen=_REFUSED_KEPT)

    def replace_peers(self, peers: Iterable[PeerConfig]) -> None:
        """Open to these connections and to no others."""
        self._by_address.clear()
        for peer in peers:
            self._by_address.setdefault(peer.remote_address, []).append(peer)

    def receive(self, header: Header, data: bytes, path: Path, now: float) -> None:
        """Take an IKE_SA_INIT request that is for no IKE SA by its responder's SPI."""
        known = self._registry.of_request(data, path.remote)
        if known is not None:
            known.receive(header, data, path, now)
            return
        if header.message_id or header.spi_i == NO_SPI or not header.from_original_initiator:
            self._services.counters["dropped_malformed_init"] += 1
            return
        candidates = () if self._registry.is_closed else self._candidates(path)
        if not candidates:
            self._services.counters["init_from_unknown_address"] += 1
            self._refuse(header, path, NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN))
            return
        try:
            if self._admit(header, data, path, now):
                self._open(candidates, Message.decode(data, header), data, path, now)
        except PeerError as error:
            self._report(error, data, path, candidates)
            self._refuse(header, path, notify_of(error))

    def _candidates(self, path: Path) -> tuple[PeerConfig, ...]:
        """Return the connections whose addresses allow this path, exact ones first."""
        local, remote = path.local.address, path.remote.address
        exact, open_to_all = self._by_address.get(remote, ()), self._by_address.get(None, ())
        return tuple(p for p in (*exact, *open_to_all) if p.listen_address in (None, local))

    def _admit(self, header: Header, data: bytes, path: Path, now: float) -> bool:
        offered, nonce = peek_first_request(data, header.next_payload)
        address, spi_i = path.remote.address, header.spi_i
        valid = bool(offered) and self._admission.is_valid(offered, nonce, address, spi_i, now)
        verdict = self._admission.judge(
            address, self._registry.half_open, len(self._registry), has_cookie=valid
        )
        if verdict is Verdict.ADMIT:
            return True
        self._services.counters[verdict.value] += 1
        if verdict is Verdict.ASK_COOKIE:
            cookie = self._admission.cookie(nonce, address, spi_i, now)
            self._refuse(header, path, NotifyPayload(NotifyType.COOKIE, cookie))
        return False

    def _open(
        self,
        candidates: tuple[PeerConfig, ...],
        message: Message,
        data: bytes,
        path: Path,
        now: float,
    ) -> None:
        """Answer a first request; only one that is accepted as a whole leaves anything behind."""
        services = self._services
        sa = IkeSa(
            services,
            (message.spi_i, services.new_ike_spi()),
            path,
            now,
            original_initiator=False,
            candidates=candidates,
        )
        sa.answer_init(message, data)
        self._registry.adopt_half_open(sa, data)
        self._registry.settle(sa, now)

    def _refuse(self, header: Header, path: Path, payload: Payload) -> None:
        """Answer with one Notify, a responder's SPI of zero, and no state."""
        answer = Message(
            header.spi_i, NO_SPI, ExchangeType.IKE_SA_INIT, FLAG_RESPONSE, 0, [payload]
        )
        self._services.send(answer.encode(), path)

    def _report(
        self, error: PeerError, data: bytes, path: Path, candidates: tuple[PeerConfig, ...]
    ) -> None:
        """Report a refused first request, once and not again for each retransmission."""
        if data in self._reported:
            return
        self._reported.append(data)
        kind = notify_of(error).type
        if kind in (NotifyType.INVALID_KE_PAYLOAD, NotifyType.INVALID_SYNTAX):
            self._services.counters[f"init_answered_{kind.name.lower()}"] += 1
            return
        name = candidates[0].name if len(candidates) == 1 else ""
        event = IkeSaFailed(name, "", initiator=False, reason=reason_of(error),
                            detail=str(error), path=path)  # fmt: skip
        self._services.publish(event)
