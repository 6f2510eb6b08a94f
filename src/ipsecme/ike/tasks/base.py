"""Task: a part of an exchange that owns its payloads.

A request is built and read by the same tasks in the same order at both ends. Tasks never call each
other; they meet in the `ExchangeContext`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipsecme.base import PeerError
    from ipsecme.ike.context import ExchangeContext

__all__ = ["Task"]


class Task:
    """Override what there is to do. Any method but `failed` may raise a `PeerError`."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Append payloads to the request (exchange initiator)."""

    def read_request(self, ctx: ExchangeContext) -> None:
        """Read the request's payloads (exchange responder)."""

    def build_response(self, ctx: ExchangeContext) -> None:
        """Append payloads to the response (exchange responder)."""

    def read_response(self, ctx: ExchangeContext) -> None:
        """Read the response's payloads (exchange initiator)."""

    def failed(self, ctx: ExchangeContext, error: PeerError) -> None:
        """Clean up and report: the response refused the request or could not be accepted."""
