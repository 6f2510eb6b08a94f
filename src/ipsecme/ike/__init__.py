"""The IKEv2 engine (RFC 7296): no sockets, no clock, no randomness of its own."""

from __future__ import annotations
