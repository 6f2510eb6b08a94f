"""Transport mode: who asks, who agrees, and its selectors (RFC 7296, sections 1.3.1 and 2.23.1).

A transport mode SA joins exactly two hosts, the ends of the IKE SA. Each end knows both by the
addresses that it sees itself; behind NATs these differ from what the peer writes, so the peer's are
replaced before anything else looks at them, and kept for the checksums inside the packets
(RFC 3948, section 3.1.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import Path, ProtocolViolation, packed_address
from ipsecme.ike.failures import Refused
from ipsecme.ike.internal_addresses import local_selectors, remote_selectors
from ipsecme.policy.parameters import Mode, OriginalAddresses
from ipsecme.policy.selector import narrow
from ipsecme.wire.numbers import NotifyType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipsecme.ike.config import ChildConfig
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.ike.sa import IkeSa
    from ipsecme.wire.ike import TrafficSelector

__all__ = [
    "Agreed",
    "between_hosts",
    "find_transport_policy",
    "on_address",
    "read_answer",
    "tunnel_policy",
]

Selectors = tuple["TrafficSelector", ...]


class Agreed(NamedTuple):
    """A mode, and its selectors as this end sees the addresses."""

    mode: Mode
    local_ts: Selectors
    remote_ts: Selectors
    original: OriginalAddresses | None = None


def on_address(selectors: Sequence[TrafficSelector], address: bytes) -> Selectors:
    """Return the protocols and ports of `selectors` at one address, each once."""
    return tuple(dict.fromkeys(s._replace(start=address, end=address) for s in selectors))


def between_hosts(
    local: Sequence[TrafficSelector], remote: Sequence[TrafficSelector], path: Path
) -> tuple[Selectors, Selectors]:
    """Return what may be asked for in transport mode: one address each, those of the IKE SA."""
    here, there = _ends(path)
    return on_address(local, here), on_address(remote, there)


def read_answer(
    ctx: ExchangeContext,
    config: ChildConfig,
    requested: Mode,
    answered: tuple[Selectors, Selectors],
) -> Agreed:
    """Return what the responder agreed to; its local and remote selectors are in `answered`.

    Raises `Refused` when it declined a transport mode that policy insists on: then the Child SA has
    to be deleted (section 1.3.1).
    """
    local, remote = answered
    if ctx.notify(NotifyType.USE_TRANSPORT_MODE) is None:
        if requested is Mode.TRANSPORT and not config.tunnel_fallback:
            raise Refused(
                NotifyType.NO_ADDITIONAL_SAS,  # a word for our own reports; it is not sent
                "the peer declined transport mode; allow it there, or write "
                'mode = "prefer-transport" here to take a tunnel instead',
            )
        return Agreed(Mode.TUNNEL, local, remote)
    if requested is not Mode.TRANSPORT:
        raise ProtocolViolation("the peer answers with transport mode, which was not asked for")
    agreed = _as_seen_here(ctx.sa, local, remote)
    if agreed is None:
        raise Refused(
            NotifyType.TS_UNACCEPTABLE,
            "the peer agreed to transport mode with selectors that are not the two hosts",
        )
    return agreed


def find_transport_policy(
    ctx: ExchangeContext,
    candidates: Sequence[ChildConfig],
    offered_local: Sequence[TrafficSelector],
    offered_remote: Sequence[TrafficSelector],
) -> tuple[ChildConfig, Agreed] | None:
    """Return the policy for transport mode that a request falls under, and what of it is allowed.

    Where the peer asks for transport mode, policies that allow it are looked up by the addresses
    that this end sees. Without one the selectors count as they came, for a tunnel (section 2.23.1).
    """
    if ctx.notify(NotifyType.USE_TRANSPORT_MODE) is None:
        return None
    seen = _as_seen_here(ctx.sa, tuple(offered_local), tuple(offered_remote))
    if seen is None:
        return None
    for config in candidates:
        if config.mode is Mode.TRANSPORT:
            local = narrow(seen.local_ts, config.local_ts)
            remote = narrow(seen.remote_ts, config.remote_ts)
            if local and remote:
                return config, seen._replace(local_ts=local, remote_ts=remote)
    return None


def tunnel_policy(ctx: ExchangeContext, config: ChildConfig) -> tuple[Selectors, Selectors]:
    """Return what a policy allows in a tunnel: of one for transport mode the two hosts at most."""
    if config.mode is Mode.TUNNEL:
        return local_selectors(config, ctx.internal), remote_selectors(config, ctx.internal)
    if not config.tunnel_fallback:
        return (), ()
    local, remote = between_hosts(config.local_ts, config.remote_ts, ctx.sa.child_path())
    return narrow(local, config.local_ts), narrow(remote, config.remote_ts)


def _as_seen_here(sa: IkeSa, local: Selectors, remote: Selectors) -> Agreed | None:
    """Replace addresses that NATs changed; None when these are not the ends of the IKE SA."""
    here, there = _ends(sa.child_path())
    written_here, written_there = _sole_address(local), _sole_address(remote)
    if written_here is None or written_there is None:
        return None
    if len(written_here) != len(here) or len(written_there) != len(there):
        return None
    if written_here != here and not sa.local_behind_nat:
        return None
    if written_there != there and not sa.remote_behind_nat:
        return None
    original = OriginalAddresses(source=written_there, destination=written_here)
    return Agreed(
        Mode.TRANSPORT,
        on_address(local, here),
        on_address(remote, there),
        None if original == (there, here) else original,
    )


def _sole_address(selectors: Sequence[TrafficSelector]) -> bytes | None:
    """Return the one address that all selectors are about, or None."""
    addresses = {address for s in selectors for address in (s.start, s.end)}
    return addresses.pop() if len(addresses) == 1 else None


def _ends(path: Path) -> tuple[bytes, bytes]:
    return packed_address(path.local.address), packed_address(path.remote.address)
