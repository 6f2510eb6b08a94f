"""MOBIKE: agreeing on it, and what both ends say about addresses (RFC 4555).

Owns MOBIKE_SUPPORTED, ADDITIONAL_*_ADDRESS, UPDATE_SA_ADDRESSES, COOKIE2, NO_NATS_ALLOWED and their
refusals. What follows for the paths is decided in `ike.mobility`.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING

from ipsecme.base import MalformedMessage, ProtocolViolation, packed_address
from ipsecme.ike import mobility
from ipsecme.ike.failures import NotifyReceived, Refused
from ipsecme.ike.host_addresses import is_plausible
from ipsecme.ike.tasks import natd
from ipsecme.ike.tasks.base import Task
from ipsecme.wire.ike import NotifyPayload
from ipsecme.wire.numbers import NotifyType

if TYPE_CHECKING:
    from ipsecme.base import Path, PeerError
    from ipsecme.ike.context import ExchangeContext

__all__ = [
    "AddressUpdate",
    "AnswerAddresses",
    "Mobike",
    "NatMapping",
    "RouteCheck",
    "TellAddress",
    "nat_prohibition",
]

_COOKIE_OCTETS = 32
_COOKIE_SIZES = range(8, 65)
_MOST_ADDRESSES = 16
_NAT_TRIES = 5
_FAMILIES = {NotifyType.ADDITIONAL_IP4_ADDRESS: 4, NotifyType.ADDITIONAL_IP6_ADDRESS: 16}


class Mobike(Task):
    """MOBIKE_SUPPORTED and the other addresses, in both messages of IKE_AUTH (3.2 and 3.4)."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Offer it."""
        if ctx.connection.mobike:
            self._write(ctx)
            _forbid_nats(ctx)

    def read_request(self, ctx: ExchangeContext) -> None:
        """Note that the peer offers it, and that nobody rewrote the addresses if it asks so."""
        if not self._is_told(ctx):
            return
        if _is_rewritten(ctx):
            raise Refused(NotifyType.UNEXPECTED_NAT_DETECTED, "a NAT that the peer prohibits")
        self._agree(ctx)

    def build_response(self, ctx: ExchangeContext) -> None:
        """Agree, if it was offered."""
        if self._is_told(ctx):
            self._write(ctx)

    def read_response(self, ctx: ExchangeContext) -> None:
        """Note that the peer agreed; tell it if we moved in the meantime."""
        if not self._is_told(ctx):
            return
        self._agree(ctx)
        if ctx.sa.mobility.moved_early:
            ctx.on_commit(lambda: mobility.ask_for_update(ctx.sa, ctx.now))

    @staticmethod
    def _is_told(ctx: ExchangeContext) -> bool:
        return ctx.connection.mobike and ctx.notify(NotifyType.MOBIKE_SUPPORTED) is not None

    @staticmethod
    def _write(ctx: ExchangeContext) -> None:
        ctx.out.append(NotifyPayload(NotifyType.MOBIKE_SUPPORTED))
        _announce(ctx, is_complete=False)

    @staticmethod
    def _agree(ctx: ExchangeContext) -> None:
        state, told = ctx.sa.mobility, _told_addresses(ctx) or ()
        is_client = ctx.sa.original_initiator

        def agree() -> None:
            state.is_agreed, state.is_client = True, is_client
            state.peer_addresses = told
            state.checked.add(ctx.sa.path.remote.address)

        ctx.on_commit(agree)


class AnswerAddresses(Task):
    """What the peer says of addresses in an INFORMATIONAL request (3.5 to 3.9)."""

    __slots__ = ("_nats", "_refusal", "_told", "_updates")

    def read_request(self, ctx: ExchangeContext) -> None:
        """Judge an update, and take the list of addresses."""
        self._refusal: NotifyType | None = None
        self._updates = ctx.notify(NotifyType.UPDATE_SA_ADDRESSES) is not None
        self._nats: tuple[bool, bool] | None = None
        self._told: tuple[str, ...] | None = None
        if not ctx.sa.mobility.is_agreed:
            return  # unknown status notifications are ignored
        _check_cookie_size(ctx)
        self._told = _told_addresses(ctx)
        self._nats = natd.nats_on_path(ctx)
        if self._updates or self._told is not None:
            self._refusal = self._judge(ctx)

    def _judge(self, ctx: ExchangeContext) -> NotifyType | None:
        sa = ctx.sa
        if _is_rewritten(ctx):
            return NotifyType.UNEXPECTED_NAT_DETECTED
        if not self._updates:
            return None
        has_nat = any(self._nats) if self._nats is not None else sa.nat != "none"
        is_allowed = mobility.is_acceptable(sa, ctx.path, has_nat=has_nat)
        if sa.mobility.is_client or not is_allowed:
            return NotifyType.UNACCEPTABLE_ADDRESSES
        return None

    def build_response(self, ctx: ExchangeContext) -> None:
        """Answer with the NAT detection, and the cookie, that the request had."""
        sa = ctx.sa
        if not sa.mobility.is_agreed:
            return
        if self._refusal is not None:
            ctx.out.append(NotifyPayload(self._refusal))
            sa.services.counters["address_updates_refused_here"] += 1
        elif self._nats is not None:
            natd.describe(ctx, sa.spi_r)
        cookie = ctx.notify(NotifyType.COOKIE2)
        if cookie is not None:
            ctx.out.append(NotifyPayload(NotifyType.COOKIE2, cookie.data))
        if self._refusal is None and (self._updates or self._told is not None):
            ctx.on_commit(lambda: self._carry_out(ctx))

    def _carry_out(self, ctx: ExchangeContext) -> None:
        sa, state, told = ctx.sa, ctx.sa.mobility, self._told
        if not _is_newest(ctx):
            return
        if told is not None:
            mobility.follow_server(sa, ctx.path, told, ctx.now)
        if self._updates and not state.is_client:
            mobility.take_update(sa, ctx.path, ctx.now)
            if self._nats is not None:
                local, remote = self._nats
                mobility.note_nat(sa, local=local, remote=remote, now=ctx.now)


class AddressUpdate(Task):
    """The client's request that the peer's SAs follow it (3.5); proves the path, too (3.7)."""

    __slots__ = ("_cookie", "_generation")

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write UPDATE_SA_ADDRESSES, NAT detection, [NO_NATS_ALLOWED,] the list, COOKIE2."""
        self._generation = ctx.sa.mobility.generation
        ctx.out.append(NotifyPayload(NotifyType.UPDATE_SA_ADDRESSES))
        if ctx.sa.mobility.peer_detects_nat:
            natd.describe(ctx, ctx.sa.spi_r)
        _forbid_nats(ctx)
        _announce(ctx, is_complete=True)
        self._cookie = _ask_for_cookie(ctx)

    def read_response(self, ctx: ExchangeContext) -> None:
        """Have everything follow, unless we are elsewhere by now."""
        sa, state = ctx.sa, ctx.sa.mobility
        error = ctx.error()
        _require_cookie(ctx, self._cookie, may_lack=error is not None)
        if state.generation != self._generation:
            return  # about a path that we have left; another update follows
        if mobility.is_other_way(sa, ctx.sendings, ctx.path):
            return  # we go there, and say so
        if error is not None:
            raise NotifyReceived(error)
        nats = natd.nats_on_path(ctx)
        ctx.on_commit(lambda: self._settle(ctx, nats))

    def _settle(self, ctx: ExchangeContext, nats: tuple[bool, bool] | None) -> None:
        sa = ctx.sa
        sa.mobility.nat_surprises = 0
        if nats is not None:
            natd.remember_mapping(ctx)
            mobility.note_nat(sa, local=nats[0], remote=nats[1], now=ctx.now)
        mobility.release(sa)

    def failed(self, ctx: ExchangeContext, error: PeerError) -> None:
        """Try again where a NAT was met, elsewhere where the addresses are not accepted."""
        if not isinstance(error, NotifyReceived):
            return
        state = ctx.sa.mobility
        if error.notify.type == NotifyType.UNEXPECTED_NAT_DETECTED:
            state.nat_surprises += 1
            if state.nat_surprises < _NAT_TRIES:
                mobility.ask_for_update(ctx.sa, ctx.now)
                return
            state.nat_surprises = 0
        mobility.step_back(ctx.sa, ctx.now)


class TellAddress(Task):
    """The whole list of our addresses; the one in use is in the IP header (3.6)."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write the list, or that there are no others."""
        _forbid_nats(ctx)
        _announce(ctx, is_complete=True)

    def read_response(self, ctx: ExchangeContext) -> None:
        """Note that the peer knows."""
        ctx.on_commit(lambda: setattr(ctx.sa.mobility, "is_telling", False))


class RouteCheck(Task):
    """Whether the peer receives where it says that it is (3.7)."""

    __slots__ = ("_cookie", "_generation")

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write COOKIE2."""
        self._generation = ctx.sa.mobility.generation
        self._cookie = _ask_for_cookie(ctx)

    def read_response(self, ctx: ExchangeContext) -> None:
        """Let the Child SAs follow; an answer about an earlier address says nothing."""
        _require_cookie(ctx, self._cookie, may_lack=False)
        if ctx.sa.mobility.generation == self._generation:
            ctx.on_commit(lambda: mobility.release(ctx.sa))


class NatMapping(Task):
    """In a liveness check: finds out whether a NAT in front of us has changed its mind (3.8)."""

    __slots__ = ()

    def build_request(self, ctx: ExchangeContext) -> None:
        """Write NAT detection, where there is a NAT to watch."""
        state = ctx.sa.mobility
        if state.is_agreed and state.is_client and ctx.sa.local_behind_nat:
            natd.describe(ctx, ctx.sa.spi_r)

    def read_response(self, ctx: ExchangeContext) -> None:
        """Ask for an update if the peer sees us elsewhere than before."""
        seen = natd.mapping(ctx)
        state = ctx.sa.mobility
        if seen is None or not state.is_agreed or not state.is_client:
            return
        if seen != state.mapping:
            ctx.on_commit(lambda: mobility.ask_for_update(ctx.sa, ctx.now))


def nat_prohibition(path: Path) -> bytes:
    """Return the data of NO_NATS_ALLOWED: source and destination address, then both ports."""
    ports = path.local.port.to_bytes(2) + path.remote.port.to_bytes(2)
    return packed_address(path.local.address) + packed_address(path.remote.address) + ports


def _forbid_nats(ctx: ExchangeContext) -> None:
    """Protect the addresses where NAT traversal is not possible (3.9)."""
    if not ctx.sa.mobility.peer_detects_nat:
        ctx.out.append(NotifyPayload(NotifyType.NO_NATS_ALLOWED, nat_prohibition(ctx.path)))


def _is_rewritten(ctx: ExchangeContext) -> bool:
    """Tell whether the peer protects the addresses, or should, and they are not as it sent them."""
    sent = ctx.notify(NotifyType.NO_NATS_ALLOWED)
    if sent is None:
        return not ctx.sa.mobility.peer_detects_nat
    path = ctx.path
    return sent.data != nat_prohibition(path._replace(local=path.remote, remote=path.local))


def _announce(ctx: ExchangeContext, *, is_complete: bool) -> None:
    """Write the list of our other addresses; a complete one also when there are none."""
    sa = ctx.sa
    others = sa.services.host.announced(ctx.connection, ctx.path)
    for address in others:
        octets = packed_address(address)
        kind = next(kind for kind, size in _FAMILIES.items() if size == len(octets))
        ctx.out.append(NotifyPayload(kind, octets))
    if is_complete and not others:
        ctx.out.append(NotifyPayload(NotifyType.NO_ADDITIONAL_ADDRESSES))
    ctx.on_commit(lambda: setattr(sa.mobility, "announced", others))


def _told_addresses(ctx: ExchangeContext) -> tuple[str, ...] | None:
    """Return the peer's list, without what no host can have; None if there is no list."""
    found: dict[str, None] = {}
    has_list = ctx.notify(NotifyType.NO_ADDITIONAL_ADDRESSES) is not None
    for kind, size in _FAMILIES.items():
        for notify in ctx.notifies(kind):
            has_list = True
            if len(notify.data) != size:
                raise MalformedMessage(f"{kind.name} with {len(notify.data)} octets of data")
            address = str(ipaddress.ip_address(notify.data))
            if is_plausible(address, beside=ctx.path.remote.address):
                found[address] = None
    return tuple(found)[:_MOST_ADDRESSES] if has_list else None


def _is_newest(ctx: ExchangeContext) -> bool:
    """Tell whether no newer update was taken; a window may reorder requests (3.5 and 3.6)."""
    sa, state = ctx.sa, ctx.sa.mobility
    handle, number = state.newest
    is_older_sa = handle != sa.handle and bool(handle) and sa.heir is not None
    is_newest = not is_older_sa and (handle != sa.handle or ctx.message_id > number)
    if is_newest:
        state.newest = (sa.handle, ctx.message_id)
    return is_newest


def _check_cookie_size(ctx: ExchangeContext) -> None:
    cookie = ctx.notify(NotifyType.COOKIE2)
    if cookie is not None and len(cookie.data) not in _COOKIE_SIZES:
        raise MalformedMessage(f"COOKIE2 with {len(cookie.data)} octets; 8 to 64 are allowed")


def _ask_for_cookie(ctx: ExchangeContext) -> bytes:
    cookie = ctx.sa.services.rng.octets(_COOKIE_OCTETS)
    ctx.out.append(NotifyPayload(NotifyType.COOKIE2, cookie))
    return cookie


def _require_cookie(ctx: ExchangeContext, cookie: bytes, *, may_lack: bool) -> None:
    """End the IKE SA unless the peer has seen our request (3.7)."""
    back = ctx.notify(NotifyType.COOKIE2)
    if back is None and may_lack:
        return
    if back is None or not hmac.compare_digest(back.data, cookie):
        raise ProtocolViolation("the peer did not return the COOKIE2 that was sent to it")
