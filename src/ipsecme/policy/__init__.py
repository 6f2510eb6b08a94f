"""RFC 4301's decisions: selectors, proposals, and the values that data planes take."""

from __future__ import annotations
