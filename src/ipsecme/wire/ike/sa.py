"""SA payload: proposals, transforms and their attributes (RFC 7296, section 3.3).

The substructures are tuples: they compare and hash fast, and transforms that were decoded once are
handed out again for the same octets, because clients of one kind send the same lists.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import MalformedMessage, OpenIntEnum, Reader
from ipsecme.wire.numbers import (
    AttributeType,
    EncrId,
    EsnId,
    IntegId,
    KeId,
    PayloadType,
    PrfId,
    ProtocolId,
    TransformType,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Attribute", "Proposal", "SaPayload", "Transform"]

_MORE_PROPOSALS = 2
_MORE_TRANSFORMS = 3
_TV_FORM = 0x8000
_CACHED_OCTETS = 512  # longer lists of transforms are decoded anew each time

_PROPOSAL = struct.Struct("!BBHBBBB")
_TRANSFORM = struct.Struct("!BBHBBH")
_ATTRIBUTE = struct.Struct("!HH")

_TRANSFORM_IDS: dict[int, type[OpenIntEnum]] = {
    TransformType.ENCR: EncrId,
    TransformType.PRF: PrfId,
    TransformType.INTEG: IntegId,
    TransformType.KE: KeId,
    TransformType.ESN: EsnId,
}


class Attribute(NamedTuple):
    """A transform attribute: an `int` value in the short TV form, octets in the long TLV form."""

    type: AttributeType
    value: int | bytes

    def encode(self) -> bytes:
        """Return type and value (section 3.3.5)."""
        if isinstance(self.value, int):
            return _ATTRIBUTE.pack(_TV_FORM | self.type, self.value)
        return _ATTRIBUTE.pack(self.type, len(self.value)) + self.value

    @classmethod
    def decode(cls, reader: Reader) -> Attribute:
        """Read one attribute."""
        head = reader.uint16()
        kind = AttributeType.of(head & 0x7FFF)
        if head & _TV_FORM:
            return cls(kind, reader.uint16())
        return cls(kind, reader.take(reader.uint16()))


class Transform(NamedTuple):
    """One algorithm of one type. `id` is a member of the registry that `type` selects."""

    type: TransformType
    id: int
    attributes: tuple[Attribute, ...] = ()

    @property
    def key_length(self) -> int | None:
        """Key length in bits, when the transform carries exactly that one attribute."""
        if len(self.attributes) == 1:
            attribute = self.attributes[0]
            if attribute.type == AttributeType.KEY_LENGTH and isinstance(attribute.value, int):
                return attribute.value
        return None

    def encode(self, *, last: bool) -> bytes:
        """Return the transform substructure (section 3.3.2)."""
        attributes = b"".join([attribute.encode() for attribute in self.attributes])
        more = 0 if last else _MORE_TRANSFORMS
        size = _TRANSFORM.size + len(attributes)
        return _TRANSFORM.pack(more, 0, size, self.type, 0, self.id) + attributes

    @classmethod
    def decode(cls, reader: Reader) -> tuple[Transform, int]:
        """Read one transform; also return its "last substructure" octet."""
        more = reader.uint8()
        reader.uint8()
        body = reader.fence(reader.uint16() - 4)
        kind = TransformType.of(body.uint8())
        body.uint8()
        number = body.uint16()
        registry = _TRANSFORM_IDS.get(kind)
        identifier = number if registry is None else registry.of(number)
        attributes = []
        while body.remaining:
            attributes.append(Attribute.decode(body))
        return cls(kind, identifier, tuple(attributes)), more


class Proposal(NamedTuple):
    """A numbered list of transforms for one protocol, with the SPI of its sender."""

    number: int
    protocol: ProtocolId
    spi: bytes
    transforms: tuple[Transform, ...]

    def of_type(self, kind: TransformType) -> list[Transform]:
        """Return the transforms of one type, in order of preference."""
        return [t for t in self.transforms if t.type == kind]

    def encode(self, *, last: bool) -> bytes:
        """Return the proposal substructure (section 3.3.1)."""
        transforms = _encode_transforms(self.transforms)
        return (
            _PROPOSAL.pack(
                0 if last else _MORE_PROPOSALS,
                0,
                _PROPOSAL.size + len(self.spi) + len(transforms),
                self.number,
                self.protocol,
                len(self.spi),
                len(self.transforms),
            )
            + self.spi
            + transforms
        )

    @classmethod
    def decode(cls, reader: Reader) -> tuple[Proposal, int]:
        """Read one proposal; also return its "last substructure" octet."""
        more = reader.uint8()
        reader.uint8()
        body = reader.fence(reader.uint16() - 4)
        number = body.uint8()
        protocol = ProtocolId.of(body.uint8())
        spi_octets = body.uint8()
        count = body.uint8()
        spi = body.take(spi_octets)
        octets = body.rest()
        decode = _decode_cached if len(octets) <= _CACHED_OCTETS else _decode_transforms
        return cls(number, protocol, spi, decode(octets, count)), more


@lru_cache(maxsize=512)
def _encode_transforms(transforms: tuple[Transform, ...]) -> bytes:
    end = len(transforms) - 1
    return b"".join([t.encode(last=index == end) for index, t in enumerate(transforms)])


def _decode_transforms(octets: bytes, count: int) -> tuple[Transform, ...]:
    reader = Reader(octets)
    transforms = []
    for index in range(count):
        transform, marker = Transform.decode(reader)
        if marker != (0 if index == count - 1 else _MORE_TRANSFORMS):
            raise MalformedMessage(f"transform {index + 1} of {count} is marked {marker}")
        transforms.append(transform)
    reader.finish()
    return tuple(transforms)


_decode_cached = lru_cache(maxsize=512)(_decode_transforms)


@dataclass(slots=True)
class SaPayload:
    """The offered proposals in order of preference, or the one chosen."""

    proposals: Sequence[Proposal]

    @property
    def payload_type(self) -> PayloadType:
        """SA."""
        return PayloadType.SA

    def body(self) -> bytes:
        """Return all proposals."""
        end = len(self.proposals) - 1
        return b"".join([p.encode(last=index == end) for index, p in enumerate(self.proposals)])

    @classmethod
    def decode(cls, reader: Reader) -> SaPayload:
        """Read the proposals: the last is marked as such, the numbers ascend by one."""
        proposals: list[Proposal] = []
        more = _MORE_PROPOSALS
        while more == _MORE_PROPOSALS:
            proposal, more = Proposal.decode(reader)
            if proposals and proposal.number != proposals[-1].number + 1:
                raise MalformedMessage(f"proposal {proposal.number} out of order")
            proposals.append(proposal)
        if more:
            raise MalformedMessage(f"last proposal is marked {more}")
        reader.finish()
        return cls(tuple(proposals))
