"""A gateway that lends addresses, its clients, and a way to say anything to it."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from ipsecme.ike.config import AddressConfig, ChildConfig, Identity, PeerConfig
from ipsecme.policy.address_pool import AddressRange
from ipsecme.policy.selector import parse_selector, selector_text
from ipsecme.wire.ike import ConfigAttribute, ConfigPayload
from ipsecme.wire.numbers import ConfigAttributeType, ConfigType, ExchangeType
from support.pair import Pair, Sent, peer
from support.roaming import Say

if TYPE_CHECKING:
    from ipsecme.ike.sa import IkeSa
    from support.pair import Node

__all__ = [
    "DUAL",
    "address",
    "answer_to",
    "ask",
    "attribute",
    "client",
    "gateway",
    "last_configuration",
    "leased",
    "live",
    "local_ts",
    "texts",
]

DUAL = ("10.9.0.0/24", "fd00:9::/64")


def address(text: str) -> bytes:
    """Return the octets of an address."""
    return ipaddress.ip_address(text).packed


def texts(addresses: tuple[bytes, ...]) -> list[str]:
    """Return addresses as text."""
    return [str(ipaddress.ip_address(one)) for one in addresses]


def gateway(
    *ranges: str, dns: tuple[str, ...] = (), most: int = 1, static: tuple[str, ...] = ()
) -> PeerConfig:
    """Return node `b`: it lends of `ranges` to whoever has the secret, and protects two nets."""
    child = ChildConfig(
        name="net",
        local_ts=tuple(map(parse_selector, ("10.2.0.0/16", "fd00:2::/64"))),
        remote_ts=tuple(map(parse_selector, static)),
        remote_leased=True,
    )
    lends = AddressConfig(
        tuple(map(AddressRange.parse, ranges)), tuple(map(address, dns)), most=most
    )
    return replace(peer("b", remote_id=None, liveness=1e6), children=(child,), lends=lends)


def client(
    *families: int, name: str = "test", identity: str = "a.example.com", **changes: object
) -> PeerConfig:
    """Return node `a`: it asks for an address of each family (4 or 16) for what `b` protects."""
    child = ChildConfig(
        name="net",
        local_ts=(),
        remote_ts=tuple(map(parse_selector, ("10.2.0.0/16", "fd00:2::/64"))),
        local_assigned=True,
    )
    base = replace(
        peer("a", liveness=1e6),
        name=name,
        local_id=Identity.parse(identity),
        children=(child,),
        request_families=families or (4,),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def live(node: Node, connection: str = "test") -> IkeSa:
    """Return the one live IKE SA of a connection."""
    (sa,) = [sa for sa in node.endpoint._registry if sa.is_live and sa.name in (connection, "")]
    return sa


def leased(pair: Pair) -> list[list[str]]:
    """Return what each live IKE SA of the gateway has lent."""
    return [texts(sa.internal.leased) for sa in pair.b.endpoint._registry if sa.is_live]


def local_ts(pair: Pair) -> list[list[str]]:
    """Return our side of the client's Child SAs."""
    return [[selector_text(ts) for ts in one.local_ts] for one in pair.a.current]


def last_configuration(pair: Pair) -> tuple[Sent, Sent]:
    """Return the last request with CP and the answer to it."""
    request = [
        m
        for m in pair.messages
        if not m.header.is_response and any(isinstance(p, ConfigPayload) for p in m.payloads)
    ][-1]
    response = [
        m
        for m in pair.messages
        if m.header.is_response
        and m.header.exchange == request.header.exchange
        and m.header.message_id == request.header.message_id
    ][-1]
    return request, response


def attribute(kind: ConfigAttributeType, value: bytes = b"") -> ConfigAttribute:
    """Return an attribute."""
    return ConfigAttribute(kind, value)


def ask(
    pair: Pair, *attributes: ConfigAttribute, kind: ConfigType = ConfigType.CFG_REQUEST
) -> Sent:
    """Have the client send a CP of its own in an INFORMATIONAL exchange; return the answer."""
    payload = ConfigPayload(kind, attributes)
    live(pair.a).dialogue.begin(ExchangeType.INFORMATIONAL, [Say(payload)], pair.now)
    pair.flush(pair.a)
    pair.drive(1)
    return pair.messages[-1]


def answer_to(sent: Sent) -> dict[str, list[bytes]]:
    """Return the attributes of a CFG_REPLY by name; nothing if there is none."""
    found: dict[str, list[bytes]] = {}
    for payload in sent.payloads:
        if isinstance(payload, ConfigPayload) and payload.type == ConfigType.CFG_REPLY:
            for kind, value in payload.attributes:
                found.setdefault(kind.name, []).append(value)
    return found
