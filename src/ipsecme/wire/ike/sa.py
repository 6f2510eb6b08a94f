"""SA payload: proposals, transforms and their attributes (RFC 7296, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage, OpenIntEnum, Reader, Writer
from ipsecme.wire.ike.payload import Payload
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

_TRANSFORM_IDS: dict[int, type[OpenIntEnum]] = {
    TransformType.ENCR: EncrId,
    TransformType.PRF: PrfId,
    TransformType.INTEG: IntegId,
    TransformType.KE: KeId,
    TransformType.ESN: EsnId,
}


@dataclass(slots=True, frozen=True)
class Attribute:
    """A transform attribute: an `int` value in the short TV form, octets in the long TLV form."""

    type: AttributeType
    value: int | bytes

    def encode(self, writer: Writer) -> None:
        """Append type and value (section 3.3.5)."""
        if isinstance(self.value, int):
            writer.uint16(_TV_FORM | self.type)
            writer.uint16(self.value)
        else:
            writer.uint16(self.type)
            writer.uint16(len(self.value))
            writer.raw(self.value)

    @classmethod
    def decode(cls, reader: Reader) -> Attribute:
        """Read one attribute."""
        head = reader.uint16()
        kind = AttributeType.of(head & 0x7FFF)
        if head & _TV_FORM:
            return cls(kind, reader.uint16())
        return cls(kind, reader.take(reader.uint16()))


@dataclass(slots=True, frozen=True)
class Transform:
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

    def encode(self, writer: Writer, *, last: bool) -> None:
        """Append the transform substructure (section 3.3.2)."""
        start = writer.size
        writer.uint8(0 if last else _MORE_TRANSFORMS)
        writer.uint8(0)
        writer.uint16(0)
        writer.uint8(self.type)
        writer.uint8(0)
        writer.uint16(self.id)
        for attribute in self.attributes:
            attribute.encode(writer)
        writer.patch16(start + 2, writer.size - start)

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
        if not body.remaining:
            return cls(kind, identifier), more
        attributes = []
        while body.remaining:
            attributes.append(Attribute.decode(body))
        return cls(kind, identifier, tuple(attributes)), more


@dataclass(slots=True, frozen=True)
class Proposal:
    """A numbered list of transforms for one protocol, with the SPI of its sender."""

    number: int
    protocol: ProtocolId
    spi: bytes
    transforms: tuple[Transform, ...]

    def of_type(self, kind: TransformType) -> list[Transform]:
        """Return the transforms of one type, in order of preference."""
        return [t for t in self.transforms if t.type == kind]

    def encode(self, writer: Writer, *, last: bool) -> None:
        """Append the proposal substructure (section 3.3.1)."""
        start = writer.size
        writer.uint8(0 if last else _MORE_PROPOSALS)
        writer.uint8(0)
        writer.uint16(0)
        writer.uint8(self.number)
        writer.uint8(self.protocol)
        writer.uint8(len(self.spi))
        writer.uint8(len(self.transforms))
        writer.raw(self.spi)
        end = len(self.transforms) - 1
        for index, transform in enumerate(self.transforms):
            transform.encode(writer, last=index == end)
        writer.patch16(start + 2, writer.size - start)

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
        transforms = []
        for index in range(count):
            transform, marker = Transform.decode(body)
            if marker != (0 if index == count - 1 else _MORE_TRANSFORMS):
                raise MalformedMessage(f"transform {index + 1} of {count} is marked {marker}")
            transforms.append(transform)
        body.finish()
        return cls(number, protocol, spi, tuple(transforms)), more


@dataclass(slots=True)
class SaPayload(Payload):
    """The offered proposals in order of preference, or the one chosen."""

    proposals: Sequence[Proposal]

    @property
    def payload_type(self) -> PayloadType:
        """SA."""
        return PayloadType.SA

    def encode(self, writer: Writer) -> None:
        """Append all proposals."""
        end = len(self.proposals) - 1
        for index, proposal in enumerate(self.proposals):
            proposal.encode(writer, last=index == end)

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
