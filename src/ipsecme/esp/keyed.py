"""Objects whose keys and counters must exist once (past repeats of GCM nonces had copies)."""

from __future__ import annotations

from typing import NoReturn

from ipsecme.base import LocalMisuse

__all__ = ["Keyed"]


class Keyed:
    """Cannot be copied or pickled: a twin would use the same key with the same nonce."""

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        raise LocalMisuse("a copy of an SA would use the same key and nonce twice")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise LocalMisuse("a copy of an SA would use the same key and nonce twice")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise LocalMisuse("an SA with its keys and counters is not serialised")
