"""Offering and choosing algorithms (RFC 7296, sections 2.7 and 3.3; RFC 5282, section 8).

A configured `Proposal` is a list of acceptable algorithms per transform type, in order of
preference. The responder's preference decides, within the first of the initiator's proposals that
fits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import Incompatible
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY, KEY_EXCHANGE, PRF
from ipsecme.crypto.suite import EspSuite, IkeSuite
from ipsecme.wire import ike as wire
from ipsecme.wire.numbers import (
    AttributeType,
    EncrId,
    EsnId,
    IntegId,
    KeId,
    PrfId,
    ProtocolId,
    TransformType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Choice", "Proposal", "choose", "confirm", "offer"]

Key = tuple[int, int | None]  # transform ID and key length in bits

_REQUIRED = {
    ProtocolId.IKE: (TransformType.ENCR, TransformType.PRF, TransformType.KE),
    ProtocolId.ESP: (TransformType.ENCR, TransformType.ESN),
}
_OPTIONAL = {
    ProtocolId.IKE: (TransformType.INTEG,),
    ProtocolId.ESP: (TransformType.INTEG, TransformType.KE),
}


class Proposal(NamedTuple):
    """What one end accepts together. For ESP `prf` is empty and `ke` may hold NONE or nothing."""

    protocol: ProtocolId
    encr: tuple[tuple[EncrId, int], ...]
    integ: tuple[IntegId, ...] = ()
    prf: tuple[PrfId, ...] = ()
    ke: tuple[KeId, ...] = ()
    esn: tuple[EsnId, ...] = ()

    def transforms(self) -> tuple[wire.Transform, ...]:
        """Return the transforms in the order of the wire."""
        kinds: tuple[tuple[TransformType, Iterable[int]], ...] = (
            (TransformType.PRF, self.prf),
            (TransformType.INTEG, self.integ),
            (TransformType.KE, self.ke),
            (TransformType.ESN, self.esn),
        )
        ciphers = [_cipher_transform(encr, bits) for encr, bits in self.encr]
        others = [wire.Transform(kind, number) for kind, ids in kinds for number in ids]
        return (*ciphers, *others)

    def without_key_exchange(self) -> Proposal:
        """Return the proposal for IKE_AUTH, where no key exchange can happen (section 1.2)."""
        return Proposal(self.protocol, self.encr, self.integ, self.prf, (), self.esn)

    def preferences(self, kind: TransformType) -> list[Key]:
        """Return the acceptable transforms of one type, the best first."""
        if kind == TransformType.ENCR:
            return [(e, bits if ENCRYPTION[e].key_attribute else None) for e, bits in self.encr]
        by_kind: dict[TransformType, Sequence[int]] = {
            TransformType.PRF: self.prf,
            TransformType.INTEG: self.integ,
            TransformType.KE: self.ke,
            TransformType.ESN: self.esn,
        }
        return [(number, None) for number in by_kind.get(kind, ())]


class Choice(NamedTuple):
    """One proposal that both accept: as it goes on the wire, and what it means."""

    proposal: wire.Proposal
    encr: EncrId
    key_bits: int
    integ: IntegId
    prf: PrfId | None
    ke: KeId
    esn: bool

    def ike_suite(self) -> IkeSuite:
        """Return the suite of an IKE SA."""
        if self.prf is None:
            raise Incompatible("the chosen proposal has no pseudorandom function")
        return IkeSuite(self.encr, self.key_bits, self.integ, self.prf, self.ke)

    def esp_suite(self) -> EspSuite:
        """Return the suite of a Child SA."""
        return EspSuite(self.encr, self.key_bits, self.integ, self.esn, self.ke)


def _cipher_transform(encr: EncrId, bits: int) -> wire.Transform:
    if not ENCRYPTION[encr].key_attribute:
        return wire.Transform(TransformType.ENCR, encr)
    length = wire.Attribute(AttributeType.KEY_LENGTH, bits)
    return wire.Transform(TransformType.ENCR, encr, (length,))


def offer(proposals: Sequence[Proposal], spi: bytes) -> tuple[wire.Proposal, ...]:
    """Return the proposals for the wire, numbered, each with the sender's SPI."""
    return tuple(
        wire.Proposal(number, proposal.protocol, spi, proposal.transforms())
        for number, proposal in enumerate(proposals, start=1)
    )


def choose(
    offered: Sequence[wire.Proposal], accepted: Sequence[Proposal], spi_octets: int
) -> Choice:
    """Choose for the responder, or raise `Incompatible`.

    Every offered proposal is tried in turn against every accepted one. A transform type that nobody
    here knows makes its proposal unacceptable, an unknown transform only itself (section 3.3.6).
    """
    for theirs in offered:
        if len(theirs.spi) != spi_octets:
            continue
        for ours in accepted:
            choice = _match(theirs, ours)
            if choice is not None:
                return choice
    raise Incompatible("no proposal of the peer's is acceptable here")


def confirm(
    answered: Sequence[wire.Proposal], offered: Sequence[wire.Proposal], spi_octets: int
) -> Choice:
    """Check the responder's choice against the offer, as the initiator must (section 3.3.6)."""
    if len(answered) != 1:
        raise Incompatible(f"the peer answered with {len(answered)} proposals instead of one")
    answer = answered[0]
    ours = next((p for p in offered if p.number == answer.number), None)
    if ours is None or answer.protocol != ours.protocol or len(answer.spi) != spi_octets:
        raise Incompatible("the peer chose a proposal that was not offered")
    kinds = [t.type for t in answer.transforms]
    chosen = [t for t in answer.transforms if not _is_none(t)]
    offered_here = set(ours.transforms)
    if len(kinds) != len(set(kinds)) or not all(t in offered_here for t in chosen):
        raise Incompatible("the peer's choice holds a transform that was not offered, or two alike")
    choice = _read_choice(answer)
    if choice is None:
        raise Incompatible("the peer's choice is incomplete")
    methods = ours.of_type(TransformType.KE)
    if methods and not choice.ke and not any(_is_none(t) for t in methods):
        raise Incompatible("the peer's choice leaves out the key exchange that was asked for")
    return choice


def _is_none(transform: wire.Transform) -> bool:
    optional = transform.type in (TransformType.INTEG, TransformType.KE)
    return optional and transform.id == 0 and not transform.attributes


def _match(theirs: wire.Proposal, ours: Proposal) -> Choice | None:
    choice = _match_transforms(theirs.protocol, theirs.transforms, ours)
    if choice is None:
        return None
    return choice._replace(
        proposal=wire.Proposal(
            theirs.number, theirs.protocol, theirs.spi, choice.proposal.transforms
        )
    )


@lru_cache(maxsize=1024)
def _match_transforms(
    protocol: ProtocolId, transforms: tuple[wire.Transform, ...], ours: Proposal
) -> Choice | None:
    """Choose among the transforms; clients of one kind offer the same, so answers are kept."""
    theirs = wire.Proposal(0, protocol, b"", transforms)
    if theirs.protocol != ours.protocol:
        return None
    required, optional = _REQUIRED[ours.protocol], _OPTIONAL[ours.protocol]
    if any(t.type not in required and t.type not in optional for t in theirs.transforms):
        return None
    picked: list[wire.Transform] = []
    for kind in (*required, *optional):
        listed = theirs.of_type(kind)
        wanted = ours.preferences(kind)
        if kind in optional and not _must_have(kind, wanted, picked):
            if listed and not any(_is_none(t) for t in listed):
                return None
            picked += [t for t in listed if _is_none(t)][:1]
            continue
        best = _best(listed, wanted, none_is_listed=kind in optional and not listed)
        if best is None:
            return None
        picked += best
    order = [TransformType.ENCR, TransformType.PRF, TransformType.INTEG, TransformType.KE]
    picked.sort(key=lambda t: order.index(t.type) if t.type in order else len(order))
    return _read_choice(wire.Proposal(theirs.number, theirs.protocol, theirs.spi, tuple(picked)))


def _must_have(kind: TransformType, wanted: list[Key], picked: list[wire.Transform]) -> bool:
    """Tell whether a transform of an optional type is to be picked at all."""
    if kind == TransformType.INTEG:
        return not ENCRYPTION[picked[0].id].is_aead
    return bool(wanted)


def _best(
    listed: list[wire.Transform], wanted: list[Key], *, none_is_listed: bool
) -> list[wire.Transform] | None:
    """Return the most wanted of the listed transforms; an empty list stands for an omitted NONE."""
    for number, bits in wanted:
        if number == 0 and none_is_listed:
            return []
        for transform in listed:
            if transform.id != number:
                continue
            if transform.key_length == bits and (bits is not None or not transform.attributes):
                return [transform]
    return None


def _read_choice(proposal: wire.Proposal) -> Choice | None:
    """Interpret one transform of each type; None when the combination cannot be computed with."""
    by_kind = {t.type: t for t in proposal.transforms}
    encr = by_kind.get(TransformType.ENCR)
    if encr is None or encr.id not in ENCRYPTION:
        return None
    cipher = ENCRYPTION[encr.id]
    if cipher.esp_only and proposal.protocol != ProtocolId.ESP:
        return None
    bits = encr.key_length if cipher.key_attribute else cipher.key_bits[0]
    integ = IntegId.of(_id_of(by_kind, TransformType.INTEG))
    if bits not in cipher.key_bits or cipher.is_aead != (integ == IntegId.NONE):
        return None
    if integ and integ not in INTEGRITY:
        return None
    ke = KeId.of(_id_of(by_kind, TransformType.KE))
    if ke and ke not in KEY_EXCHANGE:
        return None
    prf = by_kind.get(TransformType.PRF)
    if proposal.protocol == ProtocolId.IKE:
        if prf is None or prf.id not in PRF or not ke:
            return None
    elif TransformType.ESN not in by_kind:
        return None
    return Choice(
        proposal=proposal,
        encr=EncrId.of(encr.id),
        key_bits=bits,
        integ=integ,
        prf=None if prf is None else PrfId.of(prf.id),
        ke=ke,
        esn=_id_of(by_kind, TransformType.ESN) == EsnId.ESN,
    )


def _id_of(by_kind: dict[TransformType, wire.Transform], kind: TransformType) -> int:
    transform = by_kind.get(kind)
    return 0 if transform is None else transform.id
