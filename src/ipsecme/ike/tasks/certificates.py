"""What IKE_SA_INIT says about signatures: which hashes are verified, which authorities trusted.

Owns SIGNATURE_HASH_ALGORITHMS of both messages (RFC 7427, section 4) and CERTREQ of the response
(RFC 7296, section 3.7). CERTREQ of IKE_AUTH and the certificates go with AUTH.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.crypto.signature import ACCEPTED_HASHES
from ipsecme.ike.auth.choice import PeerWishes, choose
from ipsecme.ike.auth.presented import requests
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import HashId, NotifyType

if TYPE_CHECKING:
    from ipsecme.ike.auth.trust import Trust
    from ipsecme.ike.context import ExchangeContext

__all__ = ["SignatureHashes"]

_ANNOUNCEMENT = b"".join(number.to_bytes(2) for number in ACCEPTED_HASHES)


class SignatureHashes(Task):
    """Announced by an end that accepts signatures; noted by all."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Say which hashes are verified."""
        self._announce(ctx)

    def read_request(self, ctx: ExchangeContext) -> None:
        """Note which hashes the peer verifies."""
        self._note(ctx)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Say which hashes are verified, and whom we trust."""
        self._announce(ctx)
        ctx.out.extend(requests(_trusts(ctx)))

    def read_response(self, ctx: ExchangeContext) -> None:
        """Note what the peer verifies, and whether one of our keys can serve it."""
        wishes = self._note(ctx)
        if ctx.connection.credentials:
            choose(ctx.connection.credentials, wishes, None)

    @staticmethod
    def _announce(ctx: ExchangeContext) -> None:
        if _trusts(ctx):
            ctx.out.append(NotifyPayload(NotifyType.SIGNATURE_HASH_ALGORITHMS, _ANNOUNCEMENT))

    @staticmethod
    def _note(ctx: ExchangeContext) -> PeerWishes:
        notify = ctx.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS)
        data = notify.data if notify is not None else b""
        pairs = (data[at : at + 2] for at in range(0, len(data) - 1, 2))
        hashes = frozenset(HashId.of(int.from_bytes(pair)) for pair in pairs)
        wishes = PeerWishes(hashes).heard(ctx.inside)
        ctx.on_commit(lambda: setattr(ctx.sa, "wishes", wishes))
        return wishes


def _trusts(ctx: ExchangeContext) -> list[Trust]:
    return [peer.trust for peer in ctx.sa.candidates if peer.trust is not None]
