"""Which exchange consists of which tasks, for what the peer asks and for what we want.

A request of the peer's is judged by its row before any task sees it: the state must accept the
exchange (`state.ACCEPTS`), and the payloads that the row requires must be there (RFC 7296, section
1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.ike.jobs import (
    CheckLiveness,
    CheckRoute,
    CloseChild,
    CloseIke,
    CreateChild,
    Job,
    RekeyChild,
    TellAddresses,
    TellInvalidSpi,
    UpdateAddresses,
)
from ipsecme.ike.tasks.auth_lifetime import AuthLifetime
from ipsecme.ike.tasks.authenticate import Authenticate
from ipsecme.ike.tasks.certificates import SignatureHashes
from ipsecme.ike.tasks.child_create import ChildCreate
from ipsecme.ike.tasks.child_rekey import ChildRekey
from ipsecme.ike.tasks.childless import Childless
from ipsecme.ike.tasks.configuration import Configuration
from ipsecme.ike.tasks.configuration_request import ConfigurationRequest
from ipsecme.ike.tasks.fragmentation import Fragmentation
from ipsecme.ike.tasks.ike_rekey import IkeRekey
from ipsecme.ike.tasks.informational import DeleteChild, DeleteIke, Inform, InvalidSpi, Liveness
from ipsecme.ike.tasks.init import Init
from ipsecme.ike.tasks.mobike import (
    AddressUpdate,
    AnswerAddresses,
    Mobike,
    NatMapping,
    RouteCheck,
    TellAddress,
)
from ipsecme.ike.tasks.natd import NatDetection
from ipsecme.ike.tasks.window_size import WindowSize
from ipsecme.wire.ike import SaPayload
from ipsecme.wire.numbers import ExchangeType, NotifyType, PayloadType, ProtocolId

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.sa import IkeSa
    from ipsecme.ike.tasks.base import Task

__all__ = ["ROWS", "Row", "authenticating_tasks", "opening_tasks", "row_for", "tasks_for"]


def _any(_ctx: ExchangeContext) -> bool:
    return True


def _rekeys_ike(ctx: ExchangeContext) -> bool:
    payload = ctx.find(SaPayload)
    return payload is not None and payload.proposals[0].protocol == ProtocolId.IKE


def _rekeys_child(ctx: ExchangeContext) -> bool:
    return ctx.notify(NotifyType.REKEY_SA) is not None


@dataclass(slots=True, frozen=True)
class Row:
    """One kind of exchange as its responder sees it; `story` says what it is for."""

    exchange: ExchangeType
    applies: Callable[[ExchangeContext], bool]
    required: frozenset[PayloadType]
    tasks: tuple[type[Task], ...]
    story: str


_P = PayloadType

ROWS: tuple[Row, ...] = (
    Row(
        ExchangeType.IKE_SA_INIT,
        _any,
        frozenset({_P.SA, _P.KE, _P.NONCE}),
        (Init, NatDetection, Fragmentation, SignatureHashes, Childless),
        "agree on algorithms and keys",
    ),
    Row(
        ExchangeType.IKE_AUTH,
        _any,
        frozenset({_P.IDi}),
        (Authenticate, AuthLifetime, Configuration, ChildCreate, WindowSize, Mobike),
        "authenticate the peer and create the first Child SA",
    ),
    Row(
        ExchangeType.CREATE_CHILD_SA,
        _rekeys_ike,
        frozenset({_P.SA, _P.NONCE, _P.KE}),
        (IkeRekey,),
        "rekey the IKE SA",
    ),
    Row(
        ExchangeType.CREATE_CHILD_SA,
        _rekeys_child,
        frozenset({_P.SA, _P.NONCE, _P.TSi, _P.TSr}),
        (ChildRekey,),
        "rekey a Child SA",
    ),
    Row(
        ExchangeType.CREATE_CHILD_SA,
        _any,
        frozenset({_P.SA, _P.NONCE, _P.TSi, _P.TSr}),
        (Configuration, ChildCreate),
        "create a Child SA",
    ),
    Row(
        ExchangeType.INFORMATIONAL,
        _any,
        frozenset(),
        (Inform, AnswerAddresses, Configuration),
        "delete, notify, move, configure, or show a sign of life",
    ),
)


def row_for(ctx: ExchangeContext) -> Row | None:
    """Return the first row that applies to the request in `ctx`."""
    for row in ROWS:
        if row.exchange == ctx.exchange and row.applies(ctx):
            return row
    return None


def opening_tasks() -> list[Task]:
    """Return fresh tasks for our IKE_SA_INIT."""
    return [Init(), NatDetection(), Fragmentation(), SignatureHashes(), Childless()]


def authenticating_tasks(first: CreateChild | None) -> list[Task]:
    """Return fresh tasks for our IKE_AUTH, with the Child SA that comes with it."""
    return [
        Authenticate(),
        AuthLifetime(),
        ConfigurationRequest(is_alone=first is None),  # CP comes before SA (section 2.19)
        _creating(first),
        WindowSize(),
        Mobike(),
    ]


_PLAIN_INFORMATIONAL: dict[type[Job], Callable[[], list[Task]]] = {
    CheckLiveness: lambda: [Liveness(), NatMapping()],
    UpdateAddresses: lambda: [AddressUpdate()],
    TellAddresses: lambda: [TellAddress()],
    CheckRoute: lambda: [RouteCheck()],
}


def _creating(job: CreateChild | None) -> ChildCreate:
    return ChildCreate() if job is None else ChildCreate(job.config, job.trigger)


def tasks_for(job: Job, sa: IkeSa) -> tuple[ExchangeType, list[Task]] | None:
    """Return the exchange and fresh tasks for a job; None when the job has become pointless."""
    if isinstance(job, CreateChild):
        if job.config.local_assigned and not sa.internal.assigned:
            return ExchangeType.INFORMATIONAL, [ConfigurationRequest(job)]
        return ExchangeType.CREATE_CHILD_SA, [_creating(job)]
    if isinstance(job, RekeyChild):
        child = sa.children.find(job.spi)
        if child is None or not child.is_current:
            return None
        return ExchangeType.CREATE_CHILD_SA, [ChildRekey(child)]
    if isinstance(job, CloseChild):
        if job.child is not None and sa.children.find(job.child.spi) is None:
            return None
        return ExchangeType.INFORMATIONAL, [DeleteChild(job.child, job.spi, job.reason)]
    if isinstance(job, CloseIke):
        return ExchangeType.INFORMATIONAL, [DeleteIke(job.reason)]
    if isinstance(job, TellInvalidSpi):
        return ExchangeType.INFORMATIONAL, [InvalidSpi(job.spi)]
    make = _PLAIN_INFORMATIONAL.get(type(job))
    if make is not None:
        return ExchangeType.INFORMATIONAL, make()
    return ExchangeType.CREATE_CHILD_SA, [IkeRekey()]
