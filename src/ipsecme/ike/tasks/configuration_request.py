"""Asking for internal addresses: the client of a gateway (RFC 7296, sections 2.19 and 3.15).

Owns CP of our requests. IKE_AUTH asks, also where no Child SA comes with it (RFC 6023, section 3);
what failed there is asked again by an exchange of its own, and a gateway that gives nothing then
either is left, to be called again later (section 3.15.4).
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.ike.events import AddressesAssigned, ChildSaFailed
from ipsecme.ike.failures import NotifyReceived, Refused, reason_of
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import ConfigAttribute, ConfigPayload
from ipsecme.wire.numbers import ConfigAttributeType, ConfigType, ExchangeType, NotifyType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.base import PeerError
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.jobs import CreateChild

__all__ = ["ConfigurationRequest"]

_T = ConfigAttributeType
_ADDRESS_TYPES = {4: _T.INTERNAL_IP4_ADDRESS, 16: _T.INTERNAL_IP6_ADDRESS}
_DNS_TYPES = {4: _T.INTERNAL_IP4_DNS, 16: _T.INTERNAL_IP6_DNS}
_SUBNET_TYPES = {4: _T.INTERNAL_IP4_SUBNET, 16: _T.INTERNAL_IP6_SUBNET}
_MOST_SERVERS = 8
_MOST_SUBNETS = 64
_LONGEST_VERSION = 128


class ConfigurationRequest(Task):
    """Our CFG_REQUEST and the peer's CFG_REPLY.

    `waiting` is what waits for the address when that is asked for by an exchange of its own. With
    `is_alone` nobody else in the exchange tells that there is none.
    """

    __slots__ = ("_is_alone", "_waiting")

    def __init__(self, waiting: CreateChild | None = None, *, is_alone: bool = False) -> None:
        self._waiting = waiting
        self._is_alone = is_alone or waiting is not None

    def build_request(self, ctx: ExchangeContext) -> None:
        """Ask for an address of each family, the last one that the peer gave us if it did."""
        families = _wanted_families(ctx)
        if not families:
            return
        last = ctx.sa.services.last_assigned.get(ctx.connection.name, ())
        attributes = []
        for octets in families:
            hint = next((address for address in last if len(address) == octets), b"")
            bits = bytes((128,)) if len(hint) == 16 else b""
            attributes.append(ConfigAttribute(_ADDRESS_TYPES[octets], hint + bits))
            attributes.append(ConfigAttribute(_DNS_TYPES[octets]))
        attributes.append(ConfigAttribute(_T.APPLICATION_VERSION))
        ctx.out.append(ConfigPayload(ConfigType.CFG_REQUEST, tuple(attributes)))

    def read_response(self, ctx: ExchangeContext) -> None:
        """Take what we asked for; without an address there is no Child SA that needs it."""
        families = _wanted_families(ctx)
        if not families:
            return
        attributes = [
            attribute
            for payload in ctx.inside
            if isinstance(payload, ConfigPayload) and payload.type == ConfigType.CFG_REPLY
            for attribute in payload.attributes
        ]
        assigned = tuple(_addresses(attributes, families))
        if not assigned:
            self._miss(ctx)
            return
        ctx.internal = replace(
            ctx.internal,
            assigned=assigned,
            dns=tuple(_name_servers(attributes))[:_MOST_SERVERS],
            subnets=tuple(_subnets(attributes))[:_MOST_SUBNETS],
            peer_version=_version(attributes),
        )
        ctx.on_commit(lambda: self._take(ctx))

    def _take(self, ctx: ExchangeContext) -> None:
        sa, internal = ctx.sa, ctx.internal
        sa.internal = replace(internal, leased=sa.internal.leased)
        sa.services.last_assigned[sa.name] = internal.assigned
        assigned, dns = (
            tuple(str(ipaddress.ip_address(address)) for address in addresses)
            for addresses in (internal.assigned, internal.dns)
        )
        sa.services.publish(AddressesAssigned(sa.name, sa.handle, assigned, dns))
        if self._waiting is not None:
            sa.queue(self._waiting, ctx.now)

    def _miss(self, ctx: ExchangeContext) -> None:
        error = ctx.error()
        refusal: PeerError = Refused(
            NotifyType.INTERNAL_ADDRESS_FAILURE,
            "the peer assigned no address; it needs addresses to give, and to know that we ask",
        )
        if error is not None:
            refusal = NotifyReceived(error)
        ctx.refusal = refusal
        if self._is_alone:
            ctx.on_commit(lambda: self._report(ctx, refusal))
        if ctx.exchange == ExchangeType.INFORMATIONAL:
            ctx.on_commit(lambda: ctx.sa.delete("internal_address_failure", ctx.now))

    def _report(self, ctx: ExchangeContext, refusal: PeerError) -> None:
        sa, children = ctx.sa, [c.name for c in ctx.connection.children if c.local_assigned]
        name = self._waiting.config.name if self._waiting else children[0]
        sa.services.publish(
            ChildSaFailed(sa.name, name, sa.handle, reason_of(refusal), str(refusal))
        )


def _wanted_families(ctx: ExchangeContext) -> tuple[int, ...]:
    """Return the sizes of the addresses that Child SAs of the connection need."""
    is_needed = any(config.local_assigned for config in ctx.connection.children)
    return ctx.connection.request_families if is_needed else ()


def _addresses(attributes: list[ConfigAttribute], families: tuple[int, ...]) -> Iterator[bytes]:
    """Yield the first usable address of each family that we asked for."""
    for octets in families:
        for attribute in attributes:
            if attribute.type != _ADDRESS_TYPES[octets] or not attribute.value:
                continue
            parsed = ipaddress.ip_address(attribute.value[:octets])
            if not (
                parsed.is_unspecified
                or parsed.is_loopback
                or parsed.is_multicast
                or parsed.is_link_local
                or parsed == ipaddress.IPv4Address("255.255.255.255")
            ):
                yield parsed.packed
                break


def _name_servers(attributes: list[ConfigAttribute]) -> Iterator[bytes]:
    for kind, value in attributes:
        if kind in _DNS_TYPES.values() and any(value):
            yield value


def _subnets(attributes: list[ConfigAttribute]) -> Iterator[tuple[bytes, int]]:
    """Yield address and bits of the networks behind the peer; a mask with holes names none."""
    for kind, value in attributes:
        if kind == _SUBNET_TYPES[16] and value and value[16] <= 128:
            yield value[:16], value[16]
        elif kind == _SUBNET_TYPES[4] and value:
            hosts = ~int.from_bytes(value[4:]) & 0xFFFFFFFF
            if hosts & (hosts + 1) == 0:
                yield value[:4], 32 - hosts.bit_length()


def _version(attributes: list[ConfigAttribute]) -> str:
    for kind, value in attributes:
        if kind == _T.APPLICATION_VERSION:
            text = value[:_LONGEST_VERSION].decode("ascii", "replace")
            return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return ""
