"""SA pairs, processors and inner packets for tests of ESP and of the data planes."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, NamedTuple

from ipsecme.base import Path, Secret, Transport, packed_address
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY
from ipsecme.crypto.suite import EspSuite
from ipsecme.esp import Processor
from ipsecme.policy.parameters import Mode, SaHalf, SaPair
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.ip import checksum, encode_ipv4, encode_ipv6
from ipsecme.wire.numbers import EncrId, IntegId, IpProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ipsecme.esp.outbound import OutboundSa

GCM = EncrId.ENCR_AES_GCM_16
CBC = EncrId.ENCR_AES_CBC


def _suites() -> Iterator[EspSuite]:
    for number, row in ENCRYPTION.items():
        integrities = [0] if row.is_aead else list(INTEGRITY)
        for bits, integ, esn in itertools.product(row.key_bits, integrities, (False, True)):
            yield EspSuite(EncrId.of(number), bits, IntegId.of(integ), esn=esn)


SUITES = list(_suites())
"""Every suite that the tables of algorithms allow."""

GCM_SUITE = EspSuite(GCM, 256, IntegId.NONE, esn=False)
ESN_SUITE = EspSuite(GCM, 128, IntegId.NONE, esn=True)
CBC_SUITE = EspSuite(CBC, 128, IntegId.AUTH_HMAC_SHA2_256_128, esn=False)

LOCAL, REMOTE = "10.1.0.0/16", "10.2.0.0/16"
LOCAL6, REMOTE6 = "2001:db8:1::/48", "2001:db8:2::/48"
WEST, EAST = "10.1.0.1", "10.2.0.1"
WEST6, EAST6 = "2001:db8:1::1", "2001:db8:2::1"

OUTER_PATH = Path(Transport("192.0.2.1", 4500), Transport("192.0.2.2", 4500), encapsulated=True)


class SeededRng:
    """Randomness that repeats."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def octets(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()


class Ends(NamedTuple):
    """The two ends of a Child SA."""

    west: SaPair
    east: SaPair


def make_ends(
    suite: EspSuite = GCM_SUITE,
    *,
    west_ts: Sequence[str] = (LOCAL, LOCAL6),
    east_ts: Sequence[str] = (REMOTE, REMOTE6),
    path: Path = OUTER_PATH,
    spis: tuple[int, int] = (0x1001, 0x2001),
    replaces: tuple[int | None, int | None] = (None, None),
    ready: tuple[bool, bool] = (True, True),
    window: int = 1024,
    seed: int = 7,
) -> Ends:
    """Return a pair for each end; `spis` are the inbound SPIs of west and east."""
    rng = SeededRng(seed)
    west_half, east_half = (
        SaHalf(
            spi,
            Secret(rng.octets(suite.encryption_key_octets)),
            Secret(rng.octets(suite.integrity_key_octets)),
        )
        for spi in spis
    )
    west_selectors = tuple(parse_selector(text) for text in west_ts)
    east_selectors = tuple(parse_selector(text) for text in east_ts)
    back = Path(path.remote, path.local, path.encapsulated)
    common = {"suite": suite, "mode": Mode.TUNNEL, "replay_window": window}
    west = SaPair(
        connection="c",
        child="d",
        inbound=west_half,
        outbound=east_half,
        local_ts=west_selectors,
        remote_ts=east_selectors,
        path=path,
        replaces=replaces[0],
        outbound_ready=ready[0],
        **common,  # type: ignore[arg-type]
    )
    east = SaPair(
        connection="c",
        child="d",
        inbound=east_half,
        outbound=west_half,
        local_ts=east_selectors,
        remote_ts=west_selectors,
        path=back,
        replaces=replaces[1],
        outbound_ready=ready[1],
        **common,  # type: ignore[arg-type]
    )
    return Ends(west, east)


class Joined(NamedTuple):
    """Two processors with the two ends of a Child SA."""

    west: Processor
    east: Processor
    ends: Ends

    @property
    def outbound(self) -> OutboundSa:
        """West's outbound half."""
        return self.west._pairs[self.ends.west.spi].outbound


def joined(ends: Ends | None = None) -> Joined:
    """Return two processors that can talk."""
    ends = ends or make_ends()
    west, east = Processor(SeededRng(2)), Processor(SeededRng(3))
    west.install(ends.west)
    east.install(ends.east)
    return Joined(west, east, ends)


def udp(
    source: str = WEST,
    destination: str = EAST,
    payload: bytes = b"payload",
    *,
    ports: tuple[int, int] = (1000, 53),
) -> bytes:
    """Return an inner UDP packet, with its checksums."""
    body = ports[0].to_bytes(2) + ports[1].to_bytes(2) + (8 + len(payload)).to_bytes(2)
    one, other = packed_address(source), packed_address(destination)
    pseudo = one + other + (8 + len(payload)).to_bytes(4) + bytes((0, 0, 0, IpProtocol.UDP))
    total = checksum(pseudo + body + bytes(2) + payload) or 0xFFFF
    return packet(source, destination, IpProtocol.UDP, body + total.to_bytes(2) + payload)


def packet(source: str, destination: str, protocol: int, payload: bytes, *, ecn: int = 0) -> bytes:
    """Return an inner packet of the family of its addresses."""
    one, other = packed_address(source), packed_address(destination)
    if len(one) == 4:
        return encode_ipv4(one, other, protocol, payload, tos=ecn)
    return encode_ipv6(one, other, protocol, payload, traffic_class=ecn)


def icmp_error(source: str, destination: str, about: bytes) -> bytes:
    """Return "destination unreachable" about a packet."""
    if ":" in source:
        return packet(source, destination, IpProtocol.IPV6_ICMP, bytes((1, 0)) + bytes(6) + about)
    body = bytes((3, 1)) + bytes(6) + about[:28]
    total = checksum(body).to_bytes(2)
    return packet(source, destination, IpProtocol.ICMP, body[:2] + total + body[4:])


def echo(source: str, destination: str, kind: int = 8) -> bytes:
    """Return an ICMP echo request (8) or reply (0)."""
    body = bytes((kind, 0)) + bytes(2) + b"\x00\x01\x00\x01"
    return packet(source, destination, IpProtocol.ICMP, body)


def fragment(source: str, destination: str, offset: int, *, more: bool, payload: bytes) -> bytes:
    """Return a fragment of a UDP packet; `offset` in octets, a multiple of 8."""
    one, other = packed_address(source), packed_address(destination)
    if len(one) == 16:
        header = bytes((IpProtocol.UDP, 0)) + (offset | more).to_bytes(2) + bytes(4)
        return encode_ipv6(one, other, 44, header + payload)
    whole = bytearray(encode_ipv4(one, other, IpProtocol.UDP, payload))
    whole[6:8] = (offset // 8 | (0x2000 if more else 0)).to_bytes(2)
    whole[10:12] = bytes(2)
    whole[10:12] = checksum(bytes(whole[:20])).to_bytes(2)
    return bytes(whole)
