"""Octets, durations and counts as people read them."""

from __future__ import annotations

__all__ = ["count", "duration", "octets"]

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def octets(number: int) -> str:
    """Return ``512 B``, ``1.21 MiB``: three digits that matter."""
    if number < 1024:
        return f"{number} B"
    value = float(number)
    for unit in _UNITS:
        value /= 1024
        if value < 999.5 or unit == _UNITS[-1]:
            break
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def duration(seconds: float) -> str:
    """Return ``0.4 s``, ``12 s``, ``3 min 12 s``, ``2 h 5 min`` or ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole, 60, "min", 1, "s")
    if whole < 86400:
        return _two(whole, 3600, "h", 60, "min")
    return _two(whole, 86400, "d", 3600, "h")


def count(number: int, noun: str) -> str:
    """Return ``1 packet`` or ``1,234 packets``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _two(whole: int, size: int, name: str, small_size: int, small_name: str) -> str:
    large, rest = divmod(whole, size)
    small = rest // small_size
    return f"{large} {name} {small} {small_name}" if small else f"{large} {name}"
