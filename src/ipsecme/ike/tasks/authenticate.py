"""IKE_AUTH: who the ends are, proved by a shared secret (RFC 7296, sections 1.2, 2.15 and 3.5)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from ipsecme.base import ProtocolViolation
from ipsecme.crypto.keymat import signed_octets
from ipsecme.ike.config import Identity
from ipsecme.ike.failures import AuthenticationFailed, NotifyReceived
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import AuthPayload, IdentityPayload, NotifyPayload
from ipsecme.wire.numbers import AuthMethod, NotifyType, PayloadType

if TYPE_CHECKING:
    from ipsecme.crypto.keymat import SharedKey
    from ipsecme.ike.config import PeerConfig
    from ipsecme.ike.context import ExchangeContext

__all__ = ["Authenticate"]


class Authenticate(Task):
    """IDi, IDr and AUTH of both messages, and INITIAL_CONTACT."""

    __slots__ = ("_peer_identity",)

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write IDi, [IDr,] AUTH, and INITIAL_CONTACT if we have no other IKE SA with the peer."""
        sa, peer = ctx.sa, ctx.connection
        identity = _payload(PayloadType.IDi, peer.local_id)
        ctx.out.append(identity)
        if peer.remote_id is not None:
            ctx.out.append(_payload(PayloadType.IDr, peer.remote_id))
        octets = signed_octets(
            sa.suite.prf, sa.init_request, sa.nonces.responder, sa.keys.pi, identity.body()
        )
        ctx.out.append(_auth_payload(ctx, peer.shared_key, octets))
        if not sa.services.registry.has_live(peer, but=sa):
            ctx.out.append(NotifyPayload(NotifyType.INITIAL_CONTACT))

    def read_request(self, ctx: ExchangeContext) -> None:
        """Find the connection by both identities and check the proof."""
        sa = ctx.sa
        identity = ctx.find_role(IdentityPayload, PayloadType.IDi)
        auth = ctx.find(AuthPayload)
        if identity is None:
            raise ProtocolViolation("IKE_AUTH request without IDi")
        wanted = ctx.find_role(IdentityPayload, PayloadType.IDr)
        peer = self._select_peer(ctx, identity, wanted)
        octets = signed_octets(
            sa.suite.prf, sa.init_request, sa.nonces.responder, sa.keys.pi, identity.body()
        )
        _verify(ctx, peer.shared_key, auth, octets, identity)
        ctx.peer, self._peer_identity = peer, Identity.of(identity)

    def _select_peer(
        self, ctx: ExchangeContext, identity: IdentityPayload, wanted: IdentityPayload | None
    ) -> PeerConfig:
        claimed = Identity.of(identity)
        candidates = [
            peer
            for peer in ctx.sa.candidates
            if peer.remote_id is None or peer.remote_id.matches(claimed)
        ]
        if not candidates:
            names = ", ".join(str(p.remote_id) for p in ctx.sa.candidates if p.remote_id)
            raise AuthenticationFailed(
                f"the peer calls itself {claimed}, which is no connection's remote_id"
                + (f" (known from its address: {names})" if names else "")
            )
        if wanted is not None:
            named = Identity.of(wanted)
            fitting = [peer for peer in candidates if peer.local_id.matches(named)]
            # An unknown IDr is no error: the responder answers with its own (section 1.2).
            candidates = fitting or candidates
        accepted = [peer for peer in candidates if ctx.sa.suite_is_accepted_by(peer)]
        if not accepted:
            raise AuthenticationFailed(
                f"connection {candidates[0].name} does not accept {ctx.sa.suite}, "
                "which another connection with this address agreed to"
            )
        exact = [peer for peer in accepted if peer.remote_id is not None]
        return (exact or accepted)[0]

    def build_response(self, ctx: ExchangeContext) -> None:
        """Write IDr and AUTH; from here on the connection is known."""
        sa, peer = ctx.sa, ctx.connection
        identity = _payload(PayloadType.IDr, peer.local_id)
        octets = signed_octets(
            sa.suite.prf, sa.init_response, sa.nonces.initiator, sa.keys.pr, identity.body()
        )
        ctx.out.append(identity)
        ctx.out.append(_auth_payload(ctx, peer.shared_key, octets))
        initial_contact = ctx.notify(NotifyType.INITIAL_CONTACT) is not None
        ctx.on_commit(
            lambda: sa.become_established(
                peer, self._peer_identity, ctx.now, initial_contact=initial_contact
            )
        )

    def read_response(self, ctx: ExchangeContext) -> None:
        """Check who answered before believing anything else in the message."""
        sa, peer = ctx.sa, ctx.connection
        identity = ctx.find_role(IdentityPayload, PayloadType.IDr)
        auth = ctx.find(AuthPayload)
        error = ctx.error()
        if auth is None and error is not None:
            raise NotifyReceived(error)
        if identity is None:
            raise ProtocolViolation("IKE_AUTH response without IDr")
        claimed = Identity.of(identity)
        wanted = peer.remote_id
        if wanted is not None and not wanted.matches(claimed):
            raise AuthenticationFailed(
                f"the peer calls itself {claimed}, but remote_id is {wanted}; correct one of them"
            )
        octets = signed_octets(
            sa.suite.prf, sa.init_response, sa.nonces.initiator, sa.keys.pr, identity.body()
        )
        _verify(ctx, peer.shared_key, auth, octets, identity)
        ctx.on_commit(lambda: sa.become_established(peer, claimed, ctx.now, initial_contact=False))


def _payload(role: PayloadType, identity: Identity) -> IdentityPayload:
    return IdentityPayload(role, identity.type, identity.data)


def _auth_payload(ctx: ExchangeContext, key: SharedKey, octets: bytes) -> AuthPayload:
    value = key.auth(ctx.sa.suite.prf, octets)
    return AuthPayload(AuthMethod.SHARED_KEY_MIC, value)


def _verify(
    ctx: ExchangeContext,
    key: SharedKey,
    auth: AuthPayload | None,
    octets: bytes,
    identity: IdentityPayload,
) -> None:
    """Raise `AuthenticationFailed` unless AUTH proves knowledge of the secret."""
    who = Identity.of(identity)
    if auth is None:
        raise AuthenticationFailed(f"{who} sent no AUTH payload: it wants EAP, which is not set up")
    if auth.method != AuthMethod.SHARED_KEY_MIC:
        raise AuthenticationFailed(
            f"{who} authenticates by {auth.method.name}, but a pre-shared key is configured"
        )
    if not hmac.compare_digest(key.auth(ctx.sa.suite.prf, octets), auth.data):
        raise AuthenticationFailed(f"{who} has another pre-shared key; compare psk at both ends")
