"""Answering configuration payloads: a gateway lends addresses (RFC 7296, 2.19, 2.20, 3.15).

Owns CP of the peer's requests and the refusals that go with it. CFG_REQUEST is answered in any
exchange, of CFG_SET nothing is accepted. What is lent becomes the IKE SA's when the message has
passed.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.ike.config import Identity
from ipsecme.ike.events import AddressesLeased
from ipsecme.ike.failures import Refused, notify_of
from ipsecme.ike.state import IkeState
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import AuthPayload, ConfigAttribute, ConfigPayload, IdentityPayload
from ipsecme.wire.numbers import (
    AuthMethod,
    ConfigAttributeType,
    ConfigType,
    ExchangeType,
    NotifyType,
    PayloadType,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from ipsecme.ike.config import AddressConfig, PeerConfig
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.wire.ike import TrafficSelector

__all__ = ["Configuration"]

_T = ConfigAttributeType
_MOST_SUBNETS = 64
_HOST_MASK = b"\xff" * 4
_SUPPORTED = (
    _T.INTERNAL_IP4_ADDRESS,
    _T.INTERNAL_IP4_NETMASK,
    _T.INTERNAL_IP4_DNS,
    _T.APPLICATION_VERSION,
    _T.INTERNAL_IP6_ADDRESS,
    _T.INTERNAL_IP6_DNS,
    _T.INTERNAL_IP4_SUBNET,
    _T.SUPPORTED_ATTRIBUTES,
    _T.INTERNAL_IP6_SUBNET,
)
_ADDRESS_TYPES = {4: _T.INTERNAL_IP4_ADDRESS, 16: _T.INTERNAL_IP6_ADDRESS}
_DNS_TYPES = {4: _T.INTERNAL_IP4_DNS, 16: _T.INTERNAL_IP6_DNS}


class Configuration(Task):
    """CFG_REQUEST and CFG_SET of the peer's, and our CFG_REPLY and CFG_ACK.

    An answer from outside the engine to what may be lent would be asked for here, before anything
    is chosen, by `ExchangeContext.ask`.
    """

    __slots__ = ("_answers", "_failure")

    def read_request(self, ctx: ExchangeContext) -> None:
        """Choose addresses; where there are none, say so to the one that makes the Child SA."""
        self._answers: list[ConfigPayload] = []
        self._failure: Refused | None = None
        asked = [p for p in ctx.inside if isinstance(p, ConfigPayload)]
        request = next((p for p in asked if p.type == ConfigType.CFG_REQUEST), None)
        if request is not None:
            self._answer(ctx, request)
        if ctx.refusal is None and _needs_address(ctx):
            ctx.refusal = Refused(
                NotifyType.FAILED_CP_REQUIRED, "the peer has no address from us and asks for none"
            )
        if any(p.type == ConfigType.CFG_SET for p in asked):
            self._answers.append(ConfigPayload(ConfigType.CFG_ACK, ()))

    def _answer(self, ctx: ExchangeContext, request: ConfigPayload) -> None:
        wanted = {attribute.type for attribute in request.attributes}
        lends = ctx.connection.lends
        attributes: list[ConfigAttribute] = []
        if lends is not None and wanted.intersection(_ADDRESS_TYPES.values()):
            leased = self._lease(ctx, request, lends)
            if not leased:
                self._failure = Refused(
                    NotifyType.INTERNAL_ADDRESS_FAILURE,
                    "no address is left in the pool of the families that the peer asks for",
                )
                ctx.refusal = self._failure
                return
            attributes += _describe(leased, ctx.connection, wanted)
        if lends is not None:
            attributes += _name_servers(lends, wanted)
        if _T.APPLICATION_VERSION in wanted:
            version = ctx.sa.services.config.version.encode("ascii", "replace")
            attributes.append(ConfigAttribute(_T.APPLICATION_VERSION, version))
        if _T.SUPPORTED_ATTRIBUTES in wanted:
            numbers = b"".join(kind.to_bytes(2) for kind in _SUPPORTED)
            attributes.append(ConfigAttribute(_T.SUPPORTED_ATTRIBUTES, numbers))
        if attributes:
            self._answers.append(ConfigPayload(ConfigType.CFG_REPLY, tuple(attributes)))

    def _lease(
        self, ctx: ExchangeContext, request: ConfigPayload, lends: AddressConfig
    ) -> list[bytes]:
        """Return the addresses that the peer has, in the order of its request."""
        if ctx.sa.state not in (IkeState.HALF_OPEN, IkeState.ESTABLISHED):
            return []  # its successor may have them already
        pool, holder = ctx.sa.services.addresses, _holder(ctx)
        before = ctx.internal.leased
        leased: list[bytes] = []
        for octets, kind in _ADDRESS_TYPES.items():
            ranges = [one for one in lends.ranges if one.octets == octets]
            old = [address for address in before if len(address) == octets]
            wishes = [a.value[:octets] for a in request.attributes if a.type == kind]
            for wish in wishes[: lends.most]:
                hints = [*([wish] if wish else []), *_left_behind(ctx)]
                address = old.pop(0) if old else pool.choose(ranges, holder, hints, leased)
                if address is not None:
                    leased.append(address)
        fresh = [address for address in leased if address not in before]
        ctx.internal = replace(ctx.internal, leased=(*before, *fresh))
        if fresh:
            ctx.on_commit(lambda: _take(ctx, fresh, holder))
        return leased

    def build_response(self, ctx: ExchangeContext) -> None:
        """Write CFG_REPLY and CFG_ACK, where there is something to say."""
        ctx.out.extend(self._answers)
        if self._failure is not None and ctx.exchange == ExchangeType.INFORMATIONAL:
            ctx.out.append(notify_of(self._failure))


def _needs_address(ctx: ExchangeContext) -> bool:
    """Tell whether the peer can have no Child SA unless it has an address of ours."""
    if ctx.exchange == ExchangeType.INFORMATIONAL or ctx.internal.leased:
        return False
    children = ctx.connection.children
    return bool(children) and all(c.remote_leased and not c.remote_ts for c in children)


def _holder(ctx: ExchangeContext) -> Hashable:
    """Return who the lease is for.

    Those who prove no identity share nothing with each other, and of several hosts with one
    identity only the one that calls from the same place again may have what it has.
    """
    identity = _identity(ctx)
    if identity is None:
        return ctx.sa.handle
    place = ctx.path.remote if ctx.connection.replicated else None
    return ctx.connection.name, identity.key, place


def _identity(ctx: ExchangeContext) -> Identity | None:
    if ctx.connection.remote_null:
        return None
    auth = ctx.find(AuthPayload)
    if auth is not None and auth.method == AuthMethod.NULL:
        return None
    claimed = ctx.find_role(IdentityPayload, PayloadType.IDi)
    if ctx.exchange == ExchangeType.IKE_AUTH and claimed is not None:
        return Identity.of(claimed)
    return ctx.sa.peer_identity


def _left_behind(ctx: ExchangeContext) -> Iterator[bytes]:
    """Yield what the peer has by IKE SAs that it says are no more (section 2.4)."""
    identity = _identity(ctx)
    if identity is None or ctx.connection.replicated:
        return
    if ctx.notify(NotifyType.INITIAL_CONTACT) is None:
        return
    if ctx.exchange == ExchangeType.IKE_AUTH:
        for sa in ctx.sa.services.registry.with_identity(ctx.connection, identity):
            yield from sa.internal.leased


def _take(ctx: ExchangeContext, fresh: list[bytes], holder: Hashable) -> None:
    sa = ctx.sa
    if sa.state is IkeState.CLOSED:
        return  # the same message ended it
    for address in fresh:
        sa.services.addresses.lend(address, holder)
    sa.internal = replace(sa.internal, leased=(*sa.internal.leased, *fresh))
    texts = tuple(str(ipaddress.ip_address(address)) for address in sa.internal.leased)
    sa.services.publish(AddressesLeased(sa.name, sa.handle, str(sa.peer_identity or ""), texts))


def _describe(
    leased: Iterable[bytes], peer: PeerConfig, wanted: set[ConfigAttributeType]
) -> Iterator[ConfigAttribute]:
    """Yield the addresses and what can be reached from them."""
    families = set()
    for address in leased:
        families.add(len(address))
        bits = bytes((128,)) if len(address) == 16 else b""
        yield ConfigAttribute(_ADDRESS_TYPES[len(address)], address + bits)
    if 4 in families and _T.INTERNAL_IP4_NETMASK in wanted:
        # No link boundary: what can be reached stands in INTERNAL_IP4_SUBNET.
        yield ConfigAttribute(_T.INTERNAL_IP4_NETMASK, _HOST_MASK)
    selectors = [s for c in peer.children if c.remote_leased for s in c.local_ts]
    yield from _subnets(s for s in selectors if len(s.start) in families)


def _subnets(selectors: Iterable[TrafficSelector]) -> list[ConfigAttribute]:
    """Return the networks behind us; none rather than some, where there are too many to name."""
    found: dict[ConfigAttribute, None] = {}
    for selector in selectors:
        ends = ipaddress.ip_address(selector.start), ipaddress.ip_address(selector.end)
        for network in ipaddress.summarize_address_range(*ends):
            address = network.network_address.packed
            if network.version == 4:
                one = ConfigAttribute(_T.INTERNAL_IP4_SUBNET, address + network.netmask.packed)
            else:
                one = ConfigAttribute(_T.INTERNAL_IP6_SUBNET, address + bytes((network.prefixlen,)))
            found[one] = None
            if len(found) > _MOST_SUBNETS:
                return []
    return list(found)


def _name_servers(
    lends: AddressConfig, wanted: set[ConfigAttributeType]
) -> Iterator[ConfigAttribute]:
    for address in lends.dns:
        kind = _DNS_TYPES[len(address)]
        if kind in wanted:
            yield ConfigAttribute(kind, address)
