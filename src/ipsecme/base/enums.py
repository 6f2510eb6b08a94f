"""OpenIntEnum: IANA registries whose unknown values are values too, never errors."""

from __future__ import annotations

import enum
from typing import Self, cast

__all__ = ["OpenIntEnum"]


class OpenIntEnum(enum.IntEnum):
    """An `IntEnum` that makes an unnamed member for every value the registry does not know.

    Such a member compares and hashes as its number, is named after the class (``EncrId_1234``), and
    is not kept: a peer that sends many numbers cannot make the registry grow.
    """

    __hash__ = int.__hash__  # in C; Enum's own would hash the name

    @classmethod
    def of(cls, value: int) -> Self:
        """Return the member for `value`; the fast way in for decoders."""
        member = cls._value2member_map_.get(value)
        if member is None:
            return cls._missing_(value)
        return cast("Self", member)

    @classmethod
    def _missing_(cls, value: object) -> Self:
        if not isinstance(value, int):
            raise TypeError(f"{cls.__name__} takes an integer, not {type(value).__name__}")
        member = int.__new__(cls, value)
        member._name_ = f"{cls.__name__}_{value}"
        member._value_ = value
        return member

    def __reduce_ex__(self, protocol: object) -> tuple[type[Self], tuple[int]]:
        """Copy and pickle by number; some Pythons take the name, which only members have."""
        return type(self), (self._value_,)

    @property
    def is_known(self) -> bool:
        """True for values that the registry names."""
        return self._value_ in type(self)._value2member_map_
