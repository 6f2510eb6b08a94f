"""AUTH: making the proof and judging the peer's (RFC 7296, section 2.15; RFC 7427; RFC 7619).

That a peer is authenticated is an object, `Authenticated`, which only `check` makes: from the right
secret, or from a signature and a trusted certificate that hold the same key.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from ipsecme.crypto.certificate_path import TrustedPath
from ipsecme.crypto.keymat import SharedKey
from ipsecme.crypto.signature import Signature, SignatureRefused, sign, verify
from ipsecme.ike.auth.identity import mismatch
from ipsecme.ike.auth.presented import Presented, presented
from ipsecme.ike.auth.trust import Trust
from ipsecme.ike.commands import CheckChain, Sign
from ipsecme.ike.failures import AuthenticationFailed
from ipsecme.wire.ike import AuthPayload
from ipsecme.wire.numbers import AuthMethod

if TYPE_CHECKING:
    from ipsecme.base import Secret
    from ipsecme.crypto.signature import VerifiedSignature
    from ipsecme.crypto.signature_keys import PublicKey, SigningKey
    from ipsecme.ike.auth.trust import Credential
    from ipsecme.ike.config import Identity, PeerConfig
    from ipsecme.ike.context import ExchangeContext

__all__ = ["Authenticated", "check", "fits_method", "make"]

_SEAL = object()


class Authenticated:
    """That the peer of a connection proved its identity. Only `check` makes one."""

    __slots__ = ("identity", "is_anonymous", "method", "peer")

    def __init__(
        self, seal: object, peer: PeerConfig, identity: Identity, method: AuthMethod
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("only check() knows that a peer is authenticated")
        self.peer = peer
        self.identity = identity
        self.method = method
        self.is_anonymous = method == AuthMethod.NULL


def make(
    ctx: ExchangeContext,
    peer: PeerConfig,
    octets: bytes,
    *,
    credential: Credential | None,
    sk_p: Secret,
) -> AuthPayload:
    """Return our AUTH over `octets`; `sk_p` is our SK_pi or SK_pr.

    Raises `Suspend` at the responder while a signature that takes long is being made.
    """
    number = ctx.sa.suite.prf
    if peer.local_null:
        return AuthPayload(AuthMethod.NULL, SharedKey(sk_p).auth(number, octets))
    if credential is not None:
        return AuthPayload(*_signature(ctx, credential.key, octets))
    return AuthPayload(AuthMethod.SHARED_KEY_MIC, peer.secret.auth(number, octets))


def _signature(ctx: ExchangeContext, key: SigningKey, octets: bytes) -> Signature:
    """Sign, or have it done elsewhere when that takes long and a peer's request can wait."""
    hashes = ctx.sa.wishes.hashes
    if ctx.is_initiator or not key.is_slow:
        return sign(key, octets, hashes)
    answer = ctx.ask("own signature", lambda number: Sign(number, key, octets, hashes))
    if not isinstance(answer, Signature):
        raise AuthenticationFailed(f"our own signature with {key!r} could not be made")
    return answer


def fits_method(peer: PeerConfig, auth: AuthPayload | None) -> bool:
    """Tell whether a connection wants the kind of proof that a peer sent."""
    if auth is None:
        return False
    if peer.remote_null:
        return auth.method == AuthMethod.NULL
    secret = auth.method == AuthMethod.SHARED_KEY_MIC
    return secret if peer.trust is None else not secret and auth.method != AuthMethod.NULL


def check(
    ctx: ExchangeContext,
    peer: PeerConfig,
    identity: Identity,
    auth: AuthPayload | None,
    *,
    octets: bytes,
    sk_p: Secret,
) -> Authenticated:
    """Judge the peer's AUTH over `octets`; `sk_p` is its SK_pi or SK_pr.

    Raises `AuthenticationFailed` that says to us, not to the peer, what was wrong, and `Suspend`
    while its certificates are being checked.
    """
    if auth is None:
        raise AuthenticationFailed(
            f"{identity} sent no AUTH payload: it wants EAP, which is not set up"
        )
    if peer.remote_null:
        _check_null(ctx, identity, auth, octets, sk_p)
    elif peer.trust is not None:
        _check_signature(ctx, peer, identity, auth, octets)
    else:
        _check_secret(ctx, peer, identity, auth, octets)
    return Authenticated(_SEAL, peer, identity, auth.method)


def _check_secret(
    ctx: ExchangeContext, peer: PeerConfig, who: Identity, auth: AuthPayload, octets: bytes
) -> None:
    if auth.method != AuthMethod.SHARED_KEY_MIC:
        raise AuthenticationFailed(
            f"{who} authenticates by {auth.method.name}, but a pre-shared key is configured; "
            "add ca, remote_cert or remote_key to accept its signature"
        )
    if not hmac.compare_digest(peer.secret.auth(ctx.sa.suite.prf, octets), auth.data):
        raise AuthenticationFailed(f"{who} has another pre-shared key; compare psk at both ends")


def _check_null(
    ctx: ExchangeContext, who: Identity, auth: AuthPayload, octets: bytes, sk_p: Secret
) -> None:
    """Check that nobody changed the messages; who the peer is stays unknown (RFC 7619)."""
    wanted = SharedKey(sk_p).auth(ctx.sa.suite.prf, octets)
    if auth.method != AuthMethod.NULL or not hmac.compare_digest(wanted, auth.data):
        raise AuthenticationFailed(
            f"{who} authenticates by {auth.method.name}, or not rightly, where "
            'remote_auth = "null" is configured'
        )


def _check_signature(
    ctx: ExchangeContext, peer: PeerConfig, who: Identity, auth: AuthPayload, octets: bytes
) -> None:
    trust = peer.trust or Trust()
    if auth.method in (AuthMethod.SHARED_KEY_MIC, AuthMethod.NULL):
        raise AuthenticationFailed(
            f"{who} authenticates by {auth.method.name}, but its signature is wanted; "
            "give it a certificate, or configure psk for it"
        )
    shown = presented(ctx, peer, who)
    verified = ctx.once("signature", lambda: _verified(shown, who, auth, octets))
    if shown.leaf is None:
        return  # a bare key out of remote_key, which is bound to the connection
    is_pinned = shown.leaf in trust.certificates and peer.remote_id is not None
    if not is_pinned and (reason := mismatch(shown.leaf, who)) is not None:
        raise AuthenticationFailed(f"name: the peer calls itself {who}, but {reason}")
    leaf, others, ocsp = shown.leaf, shown.others, shown.ocsp
    answer = ctx.ask(
        "chain", lambda number: CheckChain(number, peer.name, trust, leaf, others, ocsp)
    )
    if not isinstance(answer, TrustedPath):
        raise AuthenticationFailed(f"chain: the certificate of {who} is not trusted: {answer}")
    _require_same(answer.leaf.key, verified.key)


def _require_same(trusted: PublicKey, verified: PublicKey) -> None:
    if trusted != verified:
        raise AuthenticationFailed("key: the trusted certificate holds another key than signed")


def _verified(
    shown: Presented, who: Identity, auth: AuthPayload, octets: bytes
) -> VerifiedSignature:
    """Verify with the keys that the peer may have used: one, or each that is pinned."""
    reason = "no key is pinned for it"
    for key in shown.keys:
        try:
            return verify(key, auth.method, auth.data, octets)
        except SignatureRefused as error:
            reason = str(error)
    raise AuthenticationFailed(f"key: the signature of {who} is wrong: {reason}")
