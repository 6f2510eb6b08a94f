"""Parts of exchanges: each task owns the payloads it writes and reads."""

from __future__ import annotations
