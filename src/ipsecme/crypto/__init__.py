"""Algorithms: what they need, keys from secrets, and the suites that exchanges agree on."""

from __future__ import annotations
