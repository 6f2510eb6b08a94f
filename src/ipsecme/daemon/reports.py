"""What the IKE process reports to the supervisor, one message each over their socketpair."""

from __future__ import annotations

__all__ = ["READY", "REFUSED"]

READY = b"READY"
REFUSED = b"REFUSED "  # and the reason, in UTF-8
