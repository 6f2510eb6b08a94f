"""Bytes to values and back. Knows formats, not rules: what a value may mean is decided above."""

from __future__ import annotations
