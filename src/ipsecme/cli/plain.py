"""Text from elsewhere, made harmless for a terminal."""

from __future__ import annotations

__all__ = ["plain", "plain_lines"]


def plain(text: str) -> str:
    """Return text that cannot play tricks on a terminal: what is not printable is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain_lines(text: str) -> str:
    """Do the same and keep the lines."""
    return "\n".join(map(plain, text.split("\n")))
