"""IKE_SA_INIT: algorithms, key exchange, nonces, cookies (RFC 7296, sections 1.2, 2.6 and 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import Incompatible, PeerError, ProtocolViolation
from ipsecme.crypto.keymat import ike_keys, skeyseed
from ipsecme.ike.collision import Nonces
from ipsecme.ike.failures import NotifyReceived, Refused
from ipsecme.ike.tasks.base import Task
from ipsecme.policy.proposal import choose, confirm, offer
from ipsecme.wire.ike import KePayload, NoncePayload, NotifyPayload, SaPayload
from ipsecme.wire.numbers import KeId, NotifyType

if TYPE_CHECKING:
    from ipsecme.base import Secret
    from ipsecme.crypto.ke import KeyExchange
    from ipsecme.crypto.suite import IkeSuite
    from ipsecme.ike.context import ExchangeContext

__all__ = ["NONCE_OCTETS", "Init", "Retry", "Stale"]

NONCE_OCTETS = 32
"""At least half the key size of every PRF here, as section 2.10 demands."""

_MAX_RETRIES = 4  # a cookie, a new cookie and a new key exchange method leave one to spare


class Retry(PeerError):
    """The responder wants the request again, changed (COOKIE or INVALID_KE_PAYLOAD)."""


class Stale(PeerError):
    """The answer is to an earlier form of the request, of which a copy was still under way."""


class Init(Task):
    """SA, KE and Nonce payloads of both messages, and the retries that a responder may ask for."""

    __slots__ = (
        "_choice",
        "_cookie",
        "_key_exchange",
        "_nonce",
        "_peer_nonce",
        "_refused_methods",
        "_retries",
        "_shared",
    )

    def __init__(self) -> None:
        self._cookie: bytes | None = None
        self._key_exchange: KeyExchange | None = None
        self._nonce = b""
        self._peer_nonce = b""
        self._retries = 0
        self._refused_methods: set[KeId] = set()

    # the initiator's side

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write [COOKIE,] SA, KE, Ni; a retry changes only what it must (sections 2.6 and 2.7)."""
        services = ctx.sa.services
        if self._key_exchange is None:
            method = ctx.connection.proposals[0].ke[0]
            self._key_exchange = services.key_exchange.generate(method)
        if not self._nonce:
            self._nonce = services.rng.octets(NONCE_OCTETS)
        if self._cookie is not None:
            ctx.out.append(NotifyPayload(NotifyType.COOKIE, self._cookie))
        ctx.out.append(SaPayload(offer(ctx.connection.proposals, b"")))
        ctx.out.append(KePayload(self._key_exchange.method, self._key_exchange.public))
        ctx.out.append(NoncePayload(self._nonce))

    def read_response(self, ctx: ExchangeContext) -> None:
        """Take the choice, or raise `Retry`; nothing in this message is authenticated yet."""
        self._read_retry(ctx)
        error = ctx.error()
        if error is not None:
            raise NotifyReceived(error)
        sa_payload, ke, nonce = _init_payloads(ctx)
        choice = confirm(sa_payload.proposals, offer(ctx.connection.proposals, b""), 0)
        suite = choice.ike_suite()
        if self._key_exchange is None or {ke.method, suite.ke} != {self._key_exchange.method}:
            raise ProtocolViolation("the peer's key exchange is not the one that was sent")
        shared = self._key_exchange.agree(ke.data)
        self._peer_nonce = nonce.data
        self._key(ctx, suite, shared, Nonces(self._nonce, nonce.data))

    def _read_retry(self, ctx: ExchangeContext) -> None:
        cookie = ctx.notify(NotifyType.COOKIE)
        if cookie is not None and ctx.find(SaPayload) is None:
            if cookie.data == self._cookie:
                raise Stale("the peer asks for the cookie that it just got")
            self._count_retry("COOKIE")
            self._cookie = cookie.data
            raise Retry("the peer asks for a cookie")
        refused = ctx.notify(NotifyType.INVALID_KE_PAYLOAD)
        if refused is not None:
            method = KeId.of(int.from_bytes(refused.data))
            if self._refused_methods and self._is_sent(method):
                raise Stale("the peer asks for the key exchange that it just got")
            self._count_retry("INVALID_KE_PAYLOAD")
            self._change_method(ctx, method)
            raise Retry("the peer asks for another key exchange method")

    def _is_sent(self, method: KeId) -> bool:
        return self._key_exchange is not None and method == self._key_exchange.method

    def _count_retry(self, what: str) -> None:
        self._retries += 1
        if self._retries > _MAX_RETRIES:
            raise ProtocolViolation(f"the peer goes on answering {what}")

    def _change_method(self, ctx: ExchangeContext, method: KeId) -> None:
        """Follow INVALID_KE_PAYLOAD only to a method that we offered and have not tried."""
        offered = {m for proposal in ctx.connection.proposals for m in proposal.ke}
        if self._key_exchange is not None:
            self._refused_methods.add(self._key_exchange.method)
        if method not in offered or method in self._refused_methods:
            raise Incompatible(
                f"the peer asks for key exchange {method.name}, which is not offered"
            )
        self._key_exchange = ctx.sa.services.key_exchange.generate(method)

    # the responder's side

    def read_request(self, ctx: ExchangeContext) -> None:
        """Choose algorithms; ask without keeping state for another key exchange where needed."""
        sa_payload, ke, nonce = _init_payloads(ctx)
        _check_numbers(sa_payload)
        self._choice = choose(sa_payload.proposals, ctx.sa.acceptable_proposals(), 0)
        if ke.method != self._choice.ke:
            raise Refused(
                NotifyType.INVALID_KE_PAYLOAD,
                f"the peer sent {ke.method.name} where {self._choice.ke.name} is preferred",
                self._choice.ke.to_bytes(2),
            )
        self._peer_nonce = nonce.data
        self._key_exchange = ctx.sa.services.key_exchange.generate(ke.method)
        self._shared: Secret = self._key_exchange.agree(ke.data)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Write SA, KE, Nr and derive the keys."""
        if self._key_exchange is None:
            raise ProtocolViolation("no key exchange took place")
        self._nonce = ctx.sa.services.rng.octets(NONCE_OCTETS)
        ctx.out.append(SaPayload((self._choice.proposal,)))
        ctx.out.append(KePayload(self._key_exchange.method, self._key_exchange.public))
        ctx.out.append(NoncePayload(self._nonce))
        nonces = Nonces(self._peer_nonce, self._nonce)
        self._key(ctx, self._choice.ike_suite(), self._shared, nonces)

    def _key(self, ctx: ExchangeContext, suite: IkeSuite, shared: Secret, nonces: Nonces) -> None:
        sa = ctx.sa
        joined = nonces.joined()
        seed = skeyseed(suite.prf, *nonces, shared)
        keys = ike_keys(suite, seed, joined, sa.spi_i, ctx.spi_r)
        ctx.on_commit(lambda: sa.take_keys(suite, keys, nonces))


def _init_payloads(ctx: ExchangeContext) -> tuple[SaPayload, KePayload, NoncePayload]:
    sa_payload, ke, nonce = ctx.find(SaPayload), ctx.find(KePayload), ctx.find(NoncePayload)
    if sa_payload is None or ke is None or nonce is None:
        raise ProtocolViolation("IKE_SA_INIT lacks SA, KE or Nonce")
    return sa_payload, ke, nonce


def _check_numbers(sa_payload: SaPayload) -> None:
    """Section 3.3.1: an offer starts with proposal number 1."""
    if sa_payload.proposals[0].number != 1:
        raise ProtocolViolation("the first proposal's number is not 1")
