"""IKE_AUTH: who the ends are (RFC 7296, sections 1.2, 2.15 and 3.5).

Owns IDi, IDr, CERT, CERTREQ, AUTH and INITIAL_CONTACT, and finds the connection that they belong
to. What a proof is, and whether it is right, `ike.auth.proof` knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.base import ProtocolViolation
from ipsecme.crypto.keymat import signed_octets
from ipsecme.crypto.signature import NoCommonScheme
from ipsecme.ike import events
from ipsecme.ike.auth import proof
from ipsecme.ike.auth.choice import PeerWishes, choose
from ipsecme.ike.auth.presented import requests, shown
from ipsecme.ike.config import Identity
from ipsecme.ike.failures import AuthenticationFailed, NotifyReceived, Refused
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import AuthPayload, IdentityPayload, NotifyPayload
from ipsecme.wire.numbers import CertEncoding, NotifyType, PayloadType

if TYPE_CHECKING:
    from ipsecme.ike.auth.trust import Credential
    from ipsecme.ike.config import PeerConfig
    from ipsecme.ike.context import ExchangeContext

__all__ = ["Authenticate"]


class Authenticate(Task):
    """IDi, IDr and AUTH of both messages, what stands behind them, and INITIAL_CONTACT."""

    __slots__ = ("_credential", "_proof")

    _proof: proof.Authenticated
    _credential: Credential | None

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write IDi, [CERT+,] [CERTREQ+,] [IDr,] AUTH, and INITIAL_CONTACT if this is the first."""
        sa, peer = ctx.sa, ctx.connection
        wishes = sa.wishes.heard((), peer.local_id)
        credential = _choose(ctx, peer, wishes)
        identity = _payload(PayloadType.IDi, peer.identity_with(credential))
        ctx.out.append(identity)
        _show_certificates(ctx, credential, wishes)
        if peer.trust is not None:
            ctx.out.extend(requests([peer.trust]))
        if peer.remote_id is not None:
            ctx.out.append(_payload(PayloadType.IDr, peer.remote_id))
        octets = _octets_of_initiator(ctx, identity)
        ctx.out.append(proof.make(ctx, peer, octets, credential=credential, sk_p=sa.keys.pi))
        if not peer.replicated and not sa.services.registry.has_live(peer, but=sa):
            ctx.out.append(NotifyPayload(NotifyType.INITIAL_CONTACT))

    def read_request(self, ctx: ExchangeContext) -> None:
        """Find the connection by both identities and the kind of proof, and check the proof."""
        sa = ctx.sa
        identity = ctx.find_role(IdentityPayload, PayloadType.IDi)
        auth = ctx.find(AuthPayload)
        if identity is None:
            raise ProtocolViolation("IKE_AUTH request without IDi")
        peer = self._select_peer(ctx, identity, auth)
        octets = _octets_of_initiator(ctx, identity)
        claimed = Identity.of(identity)
        self._proof = proof.check(ctx, peer, claimed, auth, octets=octets, sk_p=sa.keys.pi)
        self._credential = _answering_credential(ctx, peer)
        self._require_room(ctx, peer)
        ctx.peer = peer

    def _require_room(self, ctx: ExchangeContext, peer: PeerConfig) -> None:
        """Refuse an identity that has as many IKE SAs as it may; INITIAL_CONTACT ends those."""
        if self._proof.is_anonymous or _is_first_contact(ctx, peer):
            return
        identity = self._proof.identity
        count = len(ctx.sa.services.registry.with_identity(peer, identity))
        if count >= peer.max_ike_sas:
            ctx.sa.services.counters["dropped_identity_limit"] += 1
            raise Refused(
                NotifyType.NO_ADDITIONAL_SAS,
                f"{identity} has {count} IKE SAs, as many as max_ike_sas allows",
            )

    def _select_peer(
        self, ctx: ExchangeContext, identity: IdentityPayload, auth: AuthPayload | None
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
        wanted = ctx.find_role(IdentityPayload, PayloadType.IDr)
        if wanted is not None:
            named = Identity.of(wanted)
            fitting = [peer for peer in candidates if peer.is_called(named)]
            # An unknown IDr is no error: the responder answers with its own (section 1.2).
            candidates = fitting or candidates
        accepted = [peer for peer in candidates if ctx.sa.suite_is_accepted_by(peer)]
        if not accepted:
            raise AuthenticationFailed(
                f"connection {candidates[0].name} does not accept {ctx.sa.suite}, "
                "which another connection with this address agreed to"
            )
        # Where no connection wants this kind of proof, the best of them says what it wants.
        accepted = [peer for peer in accepted if proof.fits_method(peer, auth)] or accepted
        exact = [peer for peer in accepted if peer.remote_id is not None]
        return (exact or accepted)[0]

    def build_response(self, ctx: ExchangeContext) -> None:
        """Write IDr, [CERT+,] AUTH; from here on the connection is known."""
        sa, peer = ctx.sa, ctx.connection
        credential = self._credential
        identity = _payload(PayloadType.IDr, peer.identity_with(credential))
        ctx.out.append(identity)
        _show_certificates(ctx, credential, sa.wishes.heard(ctx.inside))
        octets = _octets_of_responder(ctx, identity)
        ctx.out.append(proof.make(ctx, peer, octets, credential=credential, sk_p=sa.keys.pr))
        initial_contact = _is_first_contact(ctx, peer)
        ctx.on_commit(
            lambda: sa.become_established(self._proof, ctx.now, initial_contact=initial_contact)
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
        octets = _octets_of_responder(ctx, identity)
        proved = proof.check(ctx, peer, claimed, auth, octets=octets, sk_p=sa.keys.pr)
        ctx.on_commit(lambda: sa.become_established(proved, ctx.now, initial_contact=False))


def _is_first_contact(ctx: ExchangeContext, peer: PeerConfig) -> bool:
    """Tell whether INITIAL_CONTACT counts: not where several hosts have one identity (2.4)."""
    return not peer.replicated and ctx.notify(NotifyType.INITIAL_CONTACT) is not None


def _payload(role: PayloadType, identity: Identity) -> IdentityPayload:
    return IdentityPayload(role, identity.type, identity.data)


def _octets_of_initiator(ctx: ExchangeContext, identity: IdentityPayload) -> bytes:
    sa = ctx.sa
    number, nonce = sa.suite.prf, sa.nonces.responder
    return signed_octets(number, sa.init_request, nonce, sa.keys.pi, identity.body())


def _octets_of_responder(ctx: ExchangeContext, identity: IdentityPayload) -> bytes:
    sa = ctx.sa
    number, nonce = sa.suite.prf, sa.nonces.initiator
    return signed_octets(number, sa.init_response, nonce, sa.keys.pr, identity.body())


def _show_certificates(
    ctx: ExchangeContext, credential: Credential | None, wishes: PeerWishes
) -> None:
    if credential is None:
        return
    ocsp = None
    if credential.certificates and CertEncoding.OCSP_CONTENT in wishes.encodings:
        ocsp = ctx.sa.services.ocsp.get(credential.certificates[0])
    ctx.out.extend(shown(credential, ocsp, lookup=wishes.lookup))


def _answering_credential(ctx: ExchangeContext, peer: PeerConfig) -> Credential | None:
    """Find out before anything is sent whether one of our keys serves the peer, and which."""
    wanted = ctx.find_role(IdentityPayload, PayloadType.IDr)
    named = Identity.of(wanted) if wanted is not None else peer.local_id
    try:
        return _choose(ctx, peer, ctx.sa.wishes.heard(ctx.inside, named))
    except NoCommonScheme as error:
        raise AuthenticationFailed(f"key: {error}") from None


def _choose(ctx: ExchangeContext, peer: PeerConfig, wishes: PeerWishes) -> Credential | None:
    """Choose what to prove ourselves with; the choice stays when the message is read again."""
    if peer.local_null or not peer.credentials:
        return None
    sa, wall = ctx.sa, ctx.sa.services.wall(ctx.now)
    credential = ctx.once("credential", lambda: choose(peer.credentials, wishes, wall))
    own = next(iter(credential.certificates), None)
    if own is None or wall is None or own.is_valid_at(wall):
        return credential
    event = events.CertificateOutOfDate(
        peer.name, sa.handle, str(own), own.not_before, own.not_after
    )
    if ctx.is_initiator:
        sa.services.publish(event)  # also when the peer refuses it, as it probably will
    else:
        ctx.on_commit(lambda: sa.services.publish(event))
    return credential
