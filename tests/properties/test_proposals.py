"""Choosing and confirming beside an oracle that tries every combination of transforms.

The oracle knows the rules as RFC 7296, sections 2.7 and 3.3, and RFC 5282, section 8, say them: one
transform of each type that is listed, no integrity beside a combined-mode cipher, NONE as good as
no transform. It knows nothing of how the code goes about it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from ipsecme.base import Incompatible
from ipsecme.policy.proposal import Proposal, choose, confirm, offer
from ipsecme.wire.ike import Attribute, Proposal as WireProposal, Transform
from ipsecme.wire.numbers import AttributeType, EncrId, EsnId, IntegId, KeId, PrfId, ProtocolId
from support.proposals import (
    CBC_128,
    CBC_256,
    ECP_256,
    ESN,
    GCM_128,
    GCM_256,
    NO_ESN,
    NO_INTEG,
    NO_KE,
    PRF_256,
    PRF_512,
    SHA_256,
    SHA_512,
    SPI,
    X25519,
    T,
    bits,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Picked = frozenset[Transform]

AEAD = {GCM_128, GCM_256}
NOTHING = {NO_INTEG, NO_KE}
KNOWN = [CBC_128, CBC_256, GCM_128, GCM_256, SHA_256, SHA_512, NO_INTEG, X25519, ECP_256, NO_KE]
OF_IKE = [*KNOWN, PRF_256, PRF_512]
OF_ESP = [*KNOWN, ESN, NO_ESN]
STRANGE = [
    GCM_128._replace(attributes=()),  # no key length
    GCM_128._replace(attributes=(bits(64),)),
    GCM_128._replace(attributes=(bits(128), bits(128))),
    X25519._replace(attributes=(bits(255),)),  # a key length that has no place there
    SHA_256._replace(attributes=(Attribute(AttributeType.of(99), 1),)),
    Transform(T.ENCR, EncrId.of(1234)),
    Transform(T.PRF, PrfId.of(4321)),
    Transform(T.KE, KeId.of(77)),
    Transform(T.of(200), 1),
]


def combinations(transforms: Sequence[Transform]) -> Iterator[Picked]:
    """Yield every way to take one transform of each type, without those that stand for nothing."""
    kinds = {transform.type for transform in transforms}
    by_kind = [[t for t in transforms if t.type == kind] for kind in kinds]
    for picked in itertools.product(*by_kind):
        yield frozenset(picked) - NOTHING


def is_sound(protocol: ProtocolId, picked: Picked) -> bool:
    """Tell whether an SA can be made of these."""
    kinds = {transform.type for transform in picked}
    needed = {T.ENCR, T.PRF, T.KE} if protocol == ProtocolId.IKE else {T.ENCR, T.ESN}
    allowed = needed | {T.INTEG} | (set() if protocol == ProtocolId.IKE else {T.KE})
    if not needed <= kinds <= allowed or picked & set(STRANGE):
        return False
    return (T.INTEG in kinds) != bool(picked & AEAD)


def wants(ours: Proposal, picked: Picked) -> bool:
    """Tell whether our side lists all of these, and a key exchange where it wants one."""
    mine = set(ours.transforms())
    if ours.ke and KeId.NONE not in ours.ke and not any(t.type == T.KE for t in picked):
        return False
    return picked <= mine


def ranks(ours: Proposal, picked: Picked) -> dict[T, int]:
    """Return for each type how far down our list its transform is."""
    order = [t for t in ours.transforms() if t not in NOTHING]
    by_kind = {t.type: [o for o in order if o.type == t.type].index(t) for t in picked}
    if ours.ke and T.KE not in by_kind:
        by_kind[T.KE] = ours.ke.index(KeId.NONE)
    return by_kind


def subset(universe: Sequence[Transform]) -> st.SearchStrategy[tuple[Transform, ...]]:
    return st.lists(st.sampled_from(universe), unique=True, max_size=9).map(tuple)


@st.composite
def complete(draw: st.DrawFn, protocol: ProtocolId) -> tuple[Transform, ...]:
    """Draw some of each type that an SA needs, now and then with something strange among them."""
    universe = (OF_IKE if protocol == ProtocolId.IKE else OF_ESP) + draw(
        st.sampled_from([[], STRANGE])
    )
    found: list[Transform] = []
    for kind in (T.ENCR, T.PRF, T.INTEG, T.KE, T.ESN, T.of(200)):
        of_kind = [transform for transform in universe if transform.type == kind]
        if of_kind:
            least = int(kind in {T.ENCR, T.PRF, T.ESN})
            found += draw(st.lists(st.sampled_from(of_kind), unique=True, min_size=least))
    return tuple(found)


@st.composite
def offers(draw: st.DrawFn, protocol: ProtocolId) -> tuple[WireProposal, ...]:
    """Draw one or two proposals of anything."""
    universe = OF_IKE if protocol == ProtocolId.IKE else OF_ESP
    spi = b"" if protocol == ProtocolId.IKE else SPI
    one = complete(protocol) | subset(universe + STRANGE)
    lists = draw(st.lists(one, min_size=1, max_size=2))
    return tuple(WireProposal(n, protocol, spi, found) for n, found in enumerate(lists, start=1))


@st.composite
def policies(draw: st.DrawFn, protocol: ProtocolId) -> tuple[Proposal, ...]:
    """Draw what a configuration can hold: never both kinds of cipher in one proposal."""

    def some(*values: object, least: int = 1) -> tuple[object, ...]:
        return tuple(draw(st.lists(st.sampled_from(values), unique=True, min_size=least)))

    found = []
    for is_aead in draw(st.lists(st.booleans(), min_size=1, max_size=2)):
        encr = EncrId.ENCR_AES_GCM_16 if is_aead else EncrId.ENCR_AES_CBC
        integ = (IntegId.AUTH_HMAC_SHA2_256_128, IntegId.AUTH_HMAC_SHA2_512_256)
        prf = (PrfId.PRF_HMAC_SHA2_256, PrfId.PRF_HMAC_SHA2_512)
        is_ike = protocol == ProtocolId.IKE
        methods = (KeId.CURVE25519, KeId.ECP_256) + (() if is_ike else (KeId.NONE,))
        found.append(
            Proposal(
                protocol,
                tuple((encr, size) for size in some(128, 256)),  # type: ignore[misc]
                () if is_aead else some(*integ),  # type: ignore[arg-type]
                some(*prf) if is_ike else (),  # type: ignore[arg-type]
                some(*methods, least=int(is_ike)),  # type: ignore[arg-type]
                () if is_ike else some(EsnId.ESN, EsnId.NO_ESN),  # type: ignore[arg-type]
            )
        )
    return tuple(found)


PROTOCOLS = pytest.mark.parametrize("protocol", [ProtocolId.IKE, ProtocolId.ESP])


@PROTOCOLS
@given(data=st.data())
@settings(max_examples=200)
def test_the_best_of_the_first_pair_that_fits_is_chosen(
    protocol: ProtocolId, data: st.DataObject
) -> None:
    offered, accepted = data.draw(offers(protocol)), data.draw(policies(protocol))
    size = 0 if protocol == ProtocolId.IKE else 4
    for theirs, ours in itertools.product(offered, accepted):
        fitting = [
            picked
            for picked in combinations(theirs.transforms)
            if is_sound(protocol, picked) and wants(ours, picked)
        ]
        if fitting:
            break
    else:
        with pytest.raises(Incompatible):
            choose(offered, accepted, size)
        return
    choice = choose(offered, accepted, size)
    assert choice.proposal.number == theirs.number
    chosen = frozenset(choice.proposal.transforms) - NOTHING
    assert chosen in fitting
    assert set(choice.proposal.transforms) <= set(theirs.transforms)
    best = ranks(ours, chosen)
    for other in fitting:
        for kind, rank in ranks(ours, other).items():
            assert best[kind] <= rank
    assert confirm([choice.proposal], offered, size) == choice


@PROTOCOLS
@given(data=st.data())
@settings(max_examples=200)
def test_an_answer_is_confirmed_when_it_is_a_combination_of_the_offer(
    protocol: ProtocolId, data: st.DataObject
) -> None:
    size = 0 if protocol == ProtocolId.IKE else 4
    spi = b"" if protocol == ProtocolId.IKE else SPI
    offered = offer(data.draw(policies(protocol)), spi)
    theirs = data.draw(st.sampled_from(offered))
    # What was offered comes often enough that many answers are right.
    universe = [*theirs.transforms, NO_INTEG, NO_KE] * 3 + STRANGE
    whole = data.draw(st.sampled_from(sorted(map(tuple, combinations(theirs.transforms)))))
    answered = data.draw(
        st.just(whole)
        | st.just((*whole, NO_INTEG))
        | st.sampled_from(whole).map(lambda left: tuple(t for t in whole if t != left))
        | st.lists(st.sampled_from(universe), max_size=5).map(tuple)
    )
    kinds = [transform.type for transform in answered]
    picked = frozenset(answered) - NOTHING
    is_right = (
        len(kinds) == len(set(kinds))
        and is_sound(protocol, picked)
        and picked in set(combinations(theirs.transforms))
    )
    answer = [WireProposal(theirs.number, protocol, spi, answered)]
    if not is_right:
        with pytest.raises(Incompatible):
            confirm(answer, offered, size)
        return
    choice = confirm(answer, offered, size)
    assert frozenset(choice.proposal.transforms) - NOTHING == picked
    assert choice.esn == (ESN in picked)
    assert (choice.ke == KeId.NONE) == (not picked & {X25519, ECP_256})


@PROTOCOLS
@given(data=st.data())
def test_what_one_end_offers_to_its_equal_is_chosen_and_confirmed(
    protocol: ProtocolId, data: st.DataObject
) -> None:
    ours = data.draw(policies(protocol))
    size = 0 if protocol == ProtocolId.IKE else 4
    offered = offer(ours, b"" if protocol == ProtocolId.IKE else SPI)
    choice = choose(offered, ours, size)
    assert choice.proposal.number == 1
    assert confirm([choice.proposal], offered, size) == choice
