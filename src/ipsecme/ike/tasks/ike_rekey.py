"""Rekeying an IKE SA (RFC 7296, sections 1.3.2, 2.8, 2.8.2, 2.18 and 2.25.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import PeerError, ProtocolViolation
from ipsecme.crypto.keymat import ike_keys, rekey_skeyseed
from ipsecme.ike.collision import Nonces, ours_is_redundant
from ipsecme.ike.failures import NotifyReceived, Refused
from ipsecme.ike.reauthentication import start_over
from ipsecme.ike.state import IkeState
from ipsecme.ike.succession import hand_over
from ipsecme.ike.tasks.base import Task
from ipsecme.ike.tasks.init import NONCE_OCTETS
from ipsecme.policy.proposal import Choice, choose, confirm, offer
from ipsecme.wire.ike import NO_SPI, KePayload, NoncePayload, Proposal, SaPayload
from ipsecme.wire.numbers import KeId, NotifyType

if TYPE_CHECKING:
    from ipsecme.base import Secret
    from ipsecme.crypto.ke import KeyExchange
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.sa import IkeSa

__all__ = ["IkeRekey"]

_SPI_OCTETS = 8
_RETRY_SECONDS = 5.0
_RETRY_REFUSED_SECONDS = 60.0


class IkeRekey(Task):
    """SA, Ni and KEi of both messages; the result is another IKE SA that inherits the Child SAs.

    When both ends rekey at once, `rival` is the IKE SA that the peer's exchange made.
    """

    __slots__ = (
        "_choice",
        "_key_exchange",
        "_nonce",
        "_offer",
        "_peer_nonce",
        "_shared",
        "_spi",
        "rival",
    )

    def __init__(self) -> None:
        self._key_exchange: KeyExchange | None = None
        self._nonce = b""
        self._spi = NO_SPI
        self.rival: tuple[IkeSa, Nonces] | None = None

    # the initiator's side

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write SA with our new SPI, Ni, KEi."""
        services, proposals = ctx.sa.services, ctx.connection.proposals
        self._spi = services.new_ike_spi()
        self._offer = offer(proposals, self._spi)
        self._nonce = self._nonce or services.rng.octets(NONCE_OCTETS)
        if self._key_exchange is None:
            offered = {method for proposal in proposals for method in proposal.ke}
            known = ctx.sa.suite.ke  # the peer has it
            method = known if known in offered else proposals[0].ke[0]
            self._key_exchange = services.key_exchange.generate(method)
        ctx.out.append(SaPayload(self._offer))
        ctx.out.append(NoncePayload(self._nonce))
        ctx.out.append(KePayload(self._key_exchange.method, self._key_exchange.public))

    def read_response(self, ctx: ExchangeContext) -> None:
        """Check the choice and bring the new IKE SA up, in which we are the original initiator."""
        error = ctx.error()
        if error is not None:
            raise NotifyReceived(error)
        sa_payload, nonce, ke = ctx.find(SaPayload), ctx.find(NoncePayload), ctx.find(KePayload)
        if sa_payload is None or nonce is None or ke is None or self._key_exchange is None:
            raise ProtocolViolation("the response lacks SA, Nonce or KE")
        choice = confirm(sa_payload.proposals, self._offer, _SPI_OCTETS)
        if {ke.method, choice.ke} != {self._key_exchange.method}:
            raise ProtocolViolation("the peer's key exchange is not the one that was sent")
        shared = self._key_exchange.agree(ke.data)
        nonces = Nonces(self._nonce, nonce.data)
        spi_r = _new_spi(choice.proposal)
        successor = self._successor(ctx, choice, shared, nonces, (self._spi, spi_r))
        ctx.on_commit(lambda: self._settle(ctx, successor, nonces))

    def _settle(self, ctx: ExchangeContext, successor: IkeSa, nonces: Nonces) -> None:
        sa = ctx.sa
        if self.rival is not None and ours_is_redundant(nonces, self.rival[1]):
            # The peer's new IKE SA stays, and the peer deletes the old one (section 2.8.2).
            hand_over(sa, self.rival[0], ctx.now, is_initiator=False)
            successor.begin_life(ctx.now)
            successor.delete("redundant", ctx.now)
            return
        hand_over(sa, successor, ctx.now, is_initiator=True)
        sa.delete("rekeyed", ctx.now)

    def failed(self, ctx: ExchangeContext, error: PeerError) -> None:
        """Let the peer's rekeying stand, or try again, at once or later."""
        sa = ctx.sa
        if self.rival is not None:
            hand_over(sa, self.rival[0], ctx.now, is_initiator=False)
            return
        kind = error.notify.type if isinstance(error, NotifyReceived) else None
        if kind == NotifyType.INVALID_KE_PAYLOAD and self._change_method(ctx, error):
            sa.repeat_exchange(ctx, [self])
            return
        if kind == NotifyType.NO_ADDITIONAL_SAS:
            start_over(sa, ctx.now)
        temporary = kind == NotifyType.TEMPORARY_FAILURE
        delay = _RETRY_SECONDS if temporary else _RETRY_REFUSED_SECONDS
        if temporary:
            sa.put_off(ctx.now)
        sa.rekey_later(ctx.now + delay * (1 + sa.services.rng.fraction()))

    def _change_method(self, ctx: ExchangeContext, error: PeerError) -> bool:
        if not isinstance(error, NotifyReceived) or self._key_exchange is None:
            return False
        method = KeId.of(int.from_bytes(error.notify.data))
        offered = {m for proposal in ctx.connection.proposals for m in proposal.ke}
        if method not in offered or method == self._key_exchange.method:
            return False
        self._key_exchange = ctx.sa.services.key_exchange.generate(method)
        return True

    # the responder's side

    def read_request(self, ctx: ExchangeContext) -> None:
        """Choose, unless something is under way that a rekeying would disturb (section 2.25)."""
        sa = ctx.sa
        if sa.state is not IkeState.ESTABLISHED or sa.is_changing_children():
            raise Refused(NotifyType.TEMPORARY_FAILURE, "another exchange has to end first")
        sa_payload, nonce, ke = ctx.find(SaPayload), ctx.find(NoncePayload), ctx.find(KePayload)
        if sa_payload is None or nonce is None or ke is None:
            raise ProtocolViolation("the request lacks SA, Nonce or KE")
        if sa_payload.proposals[0].number != 1:
            raise ProtocolViolation("the first proposal's number is not 1")
        self._choice = choose(sa_payload.proposals, ctx.connection.proposals, _SPI_OCTETS)
        if ke.method != self._choice.ke:
            raise Refused(
                NotifyType.INVALID_KE_PAYLOAD,
                f"the peer sent {ke.method.name}, not {self._choice.ke.name}",
                self._choice.ke.to_bytes(2),
            )
        self._peer_nonce = nonce.data
        self._key_exchange = sa.services.key_exchange.generate(ke.method)
        self._shared: Secret = self._key_exchange.agree(ke.data)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Write SA with our new SPI, Nr, KEr; the peer is the new original initiator."""
        if self._key_exchange is None:
            raise ProtocolViolation("no key exchange took place")
        services = ctx.sa.services
        self._spi, self._nonce = services.new_ike_spi(), services.rng.octets(NONCE_OCTETS)
        chosen = self._choice.proposal
        answer = Proposal(chosen.number, chosen.protocol, self._spi, chosen.transforms)
        ctx.out.append(SaPayload((answer,)))
        ctx.out.append(NoncePayload(self._nonce))
        ctx.out.append(KePayload(self._key_exchange.method, self._key_exchange.public))
        nonces = Nonces(self._peer_nonce, self._nonce)
        spis = (_new_spi(chosen), self._spi)
        successor = self._successor(ctx, self._choice, self._shared, nonces, spis)
        ctx.on_commit(lambda: self._give_way(ctx, successor, nonces))

    def _give_way(self, ctx: ExchangeContext, successor: IkeSa, nonces: Nonces) -> None:
        mine = ctx.sa.rekeying()
        if mine is not None:
            # Both rekey at once: who inherits the Child SAs is settled when our answer comes.
            mine.rival = (successor, nonces)
            successor.begin_life(ctx.now)
            return
        hand_over(ctx.sa, successor, ctx.now, is_initiator=False)

    # both

    def _successor(
        self,
        ctx: ExchangeContext,
        choice: Choice,
        shared: Secret,
        nonces: Nonces,
        spis: tuple[bytes, bytes],
    ) -> IkeSa:
        old, suite = ctx.sa, choice.ike_suite()
        seed = rekey_skeyseed(old.suite.prf, old.keys.d, shared, nonces.joined())
        keys = ike_keys(suite, seed, nonces.joined(), *spis)
        successor = old.successor(spis, ctx.now, original_initiator=ctx.is_initiator)
        successor.take_keys(suite, keys, nonces)
        return successor


def _new_spi(proposal: Proposal) -> bytes:
    if proposal.spi == NO_SPI:
        raise ProtocolViolation("an IKE SPI of zero")
    return proposal.spi
