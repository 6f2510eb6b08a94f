"""From an exception to what the peer is told, in one place (RFC 7296, section 2.21)."""

from __future__ import annotations

from ipsecme.base import Incompatible, PeerError, PeerReported, Scope
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType, ProtocolId

__all__ = [
    "AuthenticationFailed",
    "NotifyReceived",
    "Refused",
    "ends_ike_sa",
    "notify_of",
    "passes_by",
    "reason_of",
]


class Refused(PeerError):
    """A request is refused with a given Notify; the IKE SA lives."""

    def __init__(
        self,
        notify: NotifyType,
        detail: str,
        data: bytes = b"",
        protocol: ProtocolId = ProtocolId.NONE,
        spi: bytes = b"",
    ) -> None:
        super().__init__(detail)
        self.payload = NotifyPayload(notify, data, protocol, spi)


class AuthenticationFailed(PeerError):
    """The peer did not prove an identity that policy accepts. It learns no more than that."""

    scope = Scope.IKE_SA


class NotifyReceived(PeerReported):
    """The peer refused our request with this error Notify."""

    def __init__(self, notify: NotifyPayload) -> None:
        super().__init__(f"the peer answered {notify.type.name}")
        self.notify = notify


# An IKE SA that is not established yet ends by any error, UNSUPPORTED_CRITICAL_PAYLOAD included.
_FATAL = frozenset({NotifyType.INVALID_SYNTAX, NotifyType.AUTHENTICATION_FAILED})
_PASSING = frozenset(
    {
        NotifyType.TEMPORARY_FAILURE,
        NotifyType.CHILD_SA_NOT_FOUND,
        NotifyType.INVALID_KE_PAYLOAD,
    }
)
_REASONS = {
    NotifyType.NO_PROPOSAL_CHOSEN: "no_proposal_chosen",
    NotifyType.TS_UNACCEPTABLE: "ts_unacceptable",
    NotifyType.AUTHENTICATION_FAILED: "authentication_failed",
    NotifyType.INVALID_SYNTAX: "invalid_syntax",
    NotifyType.INTERNAL_ADDRESS_FAILURE: "internal_address_failure",
    NotifyType.FAILED_CP_REQUIRED: "failed_cp_required",
}


def notify_of(error: PeerError) -> NotifyPayload:
    """Return the Notify that answers a request which caused `error`."""
    if isinstance(error, Refused):
        return error.payload
    if isinstance(error, AuthenticationFailed):
        return NotifyPayload(NotifyType.AUTHENTICATION_FAILED)
    if isinstance(error, Incompatible):
        return NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN)
    return NotifyPayload(NotifyType.INVALID_SYNTAX)


def ends_ike_sa(error: PeerError) -> bool:
    """Tell whether the IKE SA ends, with no Delete needed (section 2.21.2 and 2.21.3)."""
    if isinstance(error, NotifyReceived):
        return error.notify.type in _FATAL
    if isinstance(error, Refused):
        return error.payload.type in _FATAL
    return error.scope == Scope.IKE_SA


def passes_by(error: PeerError) -> bool:
    """Tell whether refusing is part of normal life: the peer tries again or loses nothing."""
    return notify_of(error).type in _PASSING


def reason_of(error: PeerError) -> str:
    """Return the stable word for events."""
    notify = error.notify if isinstance(error, NotifyReceived) else notify_of(error)
    return _REASONS.get(notify.type, "refused")
