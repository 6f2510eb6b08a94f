"""Secret: key material that does not show itself."""

from __future__ import annotations

import hmac
from typing import NoReturn

__all__ = ["Secret"]


class Secret:
    """Octets with a blank repr and a constant-time comparison that refuse to be pickled.

    `reveal` is the one way to the octets, so a search for it lists every place that uses a key.
    Python cannot promise to wipe memory; `forget` drops the reference at least.
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = bytes(octets)

    def reveal(self) -> bytes:
        """Return the octets themselves."""
        return self._octets

    def forget(self) -> None:
        """Drop the octets."""
        self._octets = b""

    def __len__(self) -> int:
        return len(self._octets)

    def __bool__(self) -> bool:
        return bool(self._octets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    __hash__ = None  # type: ignore[assignment]  # a secret is never a dictionary key

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialised; reveal it where it must leave the process")
