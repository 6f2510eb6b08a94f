"""Transport mode: what is sealed, what comes out, and what NATs did to it (RFC 4303, RFC 3948)."""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Incompatible, LocalMisuse, Path, Transport, packed_address
from ipsecme.esp import DropReason, Processor
from ipsecme.esp.transform import sealer
from ipsecme.policy.parameters import Mode, OriginalAddresses
from ipsecme.wire.esp import encode_trailer
from ipsecme.wire.ip import checksum, encode_ipv4, encode_ipv6, read_headers
from ipsecme.wire.numbers import IpProtocol
from support.esp import (
    CBC_SUITE,
    ESN_SUITE,
    GCM_SUITE,
    Ends,
    Joined,
    SeededRng,
    echo,
    fragment,
    icmp_error,
    joined,
    make_ends,
    packet,
    udp,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scapy names ciphers that are deprecated and not used here
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
    from scapy.layers.ipsec import ESP, SecurityAssociation
    from scapy.packet import Raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipsecme.crypto.suite import EspSuite
    from ipsecme.policy.parameters import SaPair

HOSTS = "192.0.2.1", "192.0.2.2"
HOSTS6 = "2001:db8::1", "2001:db8::2"
# The picture of RFC 7296, section 2.23.1, as client and server see both hosts.
IP1, IPN1, IPN2, IP2 = "172.16.0.2", "198.51.100.9", "203.0.113.5", "192.0.2.2"
IP1_6, IPN1_6, IPN2_6, IP2_6 = "fd00::2", "2001:db8:a::9", "2001:db8:b::5", "2001:db8:c::2"


def hosts(
    suite: EspSuite = GCM_SUITE, ends: tuple[str, str] = HOSTS, *, ports: tuple[str, str] = ("", "")
) -> Ends:
    """Return the two ends of a transport mode SA."""
    west_ts, east_ts = (f"{address}{port}" for address, port in zip(ends, ports, strict=True))
    made = make_ends(suite, west_ts=(west_ts,), east_ts=(east_ts,))
    return Ends(*(dataclasses.replace(pair, mode=Mode.TRANSPORT) for pair in made))


def across_nats(client: tuple[str, str], server: tuple[str, str]) -> Joined:
    """Return client (west) and server, who see the two hosts at (client, server) addresses."""
    west, _ = hosts(ends=client)
    _, east = hosts(ends=server)
    seen = [tuple(map(packed_address, pair)) for pair in (client, server)]
    west = dataclasses.replace(west, original=OriginalAddresses(seen[1][1], seen[1][0]))
    east = dataclasses.replace(east, original=OriginalAddresses(*seen[0]))
    return joined(Ends(west, east))


def carried(here: Joined, inner: bytes, *, traffic_class: int = 0) -> bytes:
    """Return what becomes of a packet from west to east."""
    sealed = here.west.outbound(inner)
    assert sealed.reason is None, sealed.reason
    verdict = here.east.inbound(sealed.octets, 1.0, traffic_class=traffic_class)
    assert verdict.reason is None, verdict.reason
    return verdict.octets


def tcp(source: str, destination: str) -> bytes:
    segment = TCP(sport=40000, dport=443) / Raw(b"odd")
    if ":" in source:
        return bytes(IPv6(src=source, dst=destination) / segment)
    return bytes(IP(src=source, dst=destination, id=0) / segment)


@pytest.mark.parametrize("suite", [GCM_SUITE, CBC_SUITE, ESN_SUITE], ids=str)
@pytest.mark.parametrize("ends", [HOSTS, HOSTS6])
def test_what_follows_the_header_is_sealed_and_nothing_else(
    suite: EspSuite, ends: tuple[str, str]
) -> None:
    here = joined(hosts(suite, ends))
    for size in range(20):
        inner = udp(*ends, bytes(size))
        assert carried(here, inner) == inner
    tunnel = joined(make_ends(suite, west_ts=(ends[0],), east_ts=(ends[1],)))
    saved = len(tunnel.west.outbound(inner).octets) - len(here.west.outbound(inner).octets)
    header = 40 if ":" in ends[0] else 20
    assert saved == header or (suite is CBC_SUITE and abs(saved - header) < 16)


@pytest.mark.parametrize("protocol", sorted({*range(256)} - {0, 43, 44, 59, 60}))
@pytest.mark.parametrize("ends", [HOSTS, HOSTS6])
def test_every_protocol_is_carried(protocol: int, ends: tuple[str, str]) -> None:
    here = joined(hosts(ends=ends))
    inner = packet(*ends, protocol, bytes(range(128, 168)))  # ICMP: no error
    assert carried(here, inner) == inner


@pytest.mark.parametrize("ends", [HOSTS, HOSTS6])
def test_ip_in_ip_is_not_taken_for_a_tunnel(ends: tuple[str, str]) -> None:
    here = joined(hosts(ends=ends))
    inside = udp("10.9.9.9", "10.8.8.8")
    inner = packet(*ends, IpProtocol.IPV4, inside)
    came = carried(here, inner)
    headers = read_headers(came)
    assert headers.protocol == IpProtocol.IPV4
    assert (headers.source, headers.destination) == tuple(map(packed_address, ends))
    assert came[headers.upper :] == inside


@pytest.mark.parametrize("ends", [HOSTS, HOSTS6])
def test_scapy_opens_and_seals_the_same(ends: tuple[str, str]) -> None:
    network = IPv6 if ":" in ends[0] else IP
    made = hosts(ends=ends)
    here = joined(made)

    def association(spi: int, key: bytes) -> object:
        return SecurityAssociation(  # type: ignore[no-untyped-call]
            ESP, spi=spi, seq_num=1, crypt_algo="AES-GCM", crypt_key=key
        )

    half = made.west.outbound
    key = half.encryption_key.reveal()
    inner = tcp(*ends)
    sealed = here.west.outbound(inner).octets
    esp = network(src=ends[0], dst=ends[1]) / ESP(sealed)
    opened = association(half.spi, key).decrypt(esp)  # type: ignore[attr-defined]
    assert bytes(opened[TCP]) == bytes(network(inner)[TCP])

    from_scapy = association(half.spi, key).encrypt(network(inner))  # type: ignore[attr-defined]
    octets = bytes(from_scapy[ESP])
    came = joined(made).east.inbound(octets, 1.0)
    assert came.octets == inner


@pytest.mark.parametrize("ends", [HOSTS, HOSTS6])
@pytest.mark.parametrize("traffic_class", [0, 1, 2, 3, 0xB8, 0xFF])
def test_the_header_that_travelled_gives_the_traffic_class(
    ends: tuple[str, str], traffic_class: int
) -> None:
    here = joined(hosts(ends=ends))
    inner = packet(*ends, 253, b"payload", ecn=0x42)
    (sa,) = here.west.outbound_batch((inner,))
    ((outer, (sealed,)),) = sa.take()
    assert outer == 0x42  # as there is but one header in transport mode
    verdict = here.east.inbound(sealed, 1.0, traffic_class=traffic_class)
    assert verdict.octets == packet(*ends, 253, b"payload", ecn=traffic_class)


def test_selectors_with_ports_hold_both_ways() -> None:
    here = joined(hosts(ports=("", "[tcp/443]")))
    assert carried(here, tcp(*HOSTS)) == tcp(*HOSTS)
    for other in (udp(*HOSTS, ports=(40000, 443)), echo(*HOSTS)):
        assert here.west.outbound(other).reason == DropReason.NO_POLICY
        seal = sealer(GCM_SUITE, here.ends.west.outbound, SeededRng())
        protocol, payload = other[9], other[20:]
        forged = seal(payload + encode_trailer(len(payload), 4, protocol), 100 + protocol)
        assert here.east.inbound(forged, 1.0).reason == DropReason.WRONG_SELECTORS


def test_inbound_dummies_and_strange_insides_are_dropped() -> None:
    for ends, next_header, reason in (
        (HOSTS, 59, DropReason.DUMMY),
        (HOSTS6, 59, DropReason.DUMMY),
        (HOSTS6, 44, DropReason.BAD_NEXT_HEADER),
        (HOSTS6, 60, DropReason.MALFORMED_PACKET),
    ):
        here = joined(hosts(ends=ends))
        seal = sealer(GCM_SUITE, here.ends.west.outbound, SeededRng())
        payload = bytes((6, 200)) + bytes(14)  # 60: a header that is longer than the packet
        sealed = seal(payload + encode_trailer(16, 4, next_header), 1)
        assert here.east.inbound(sealed, 1.0).reason == reason


# headers that stay outside


def test_ipv4_options_cannot_travel() -> None:
    here = joined(hosts())
    plain = udp(*HOSTS)
    with_options = bytes((0x46,)) + plain[1:2] + (len(plain) + 4).to_bytes(2) + plain[4:20]
    verdict = here.west.outbound(with_options + b"\x94\x04\x00\x00" + plain[20:])
    assert verdict.reason == DropReason.UNFIT_HEADER


@pytest.mark.parametrize("kind", [0, 43])
def test_ipv6_headers_for_routers_cannot_travel(kind: int) -> None:
    here = joined(hosts(ends=HOSTS6))
    one, other = map(packed_address, HOSTS6)
    body = udp(*HOSTS6)[40:]
    verdict = here.west.outbound(encode_ipv6(one, other, kind, bytes((17, 0)) + bytes(6) + body))
    assert verdict.reason == DropReason.UNFIT_HEADER


def test_ipv6_destination_options_travel_inside() -> None:
    here = joined(hosts(ends=HOSTS6, ports=("", "[udp/53]")))
    one, other = map(packed_address, HOSTS6)
    body = bytes((17, 0, 1, 4)) + bytes(4) + udp(*HOSTS6)[40:]
    inner = encode_ipv6(one, other, 60, body)
    assert carried(here, inner) == inner


# datagrams that the kernel has cut


def pieces(ends: tuple[str, str], whole: bytes, size: int, identifier: int = 7) -> list[bytes]:
    """Cut a UDP packet as the kernel does."""
    body = whole[read_headers(whole).upper :]
    cut = []
    for at in range(0, len(body), size):
        part, more = body[at : at + size], at + size < len(body)
        made = bytearray(fragment(*ends, at, more=more, payload=part))
        if ":" in ends[0]:
            made[44:48] = identifier.to_bytes(4)
        else:
            made[4:6] = identifier.to_bytes(2)
        cut.append(bytes(made))
    return cut


@pytest.mark.parametrize("ends", [HOSTS, HOSTS6])
def test_fragments_are_sealed_as_one_datagram(ends: tuple[str, str]) -> None:
    here = joined(hosts(ends=ends, ports=("", "[udp/53]")))
    whole = udp(*ends, bytes(range(256)) * 20)
    first, *others = pieces(ends, whole, 1376)
    assert here.west.outbound(first).reason == DropReason.INCOMPLETE
    (sa,) = here.west.outbound_batch(others)
    ((_, (sealed,)),) = sa.take()
    came = here.east.inbound(sealed, 1.0)
    assert came.reason is None
    assert came.octets[len(came.octets) - len(whole) :][-5000:] == whole[-5000:]
    assert read_headers(came.octets).end == len(whole)
    assert here.west.counters().totals.drops == {}


def test_datagrams_that_mix_come_out_each_by_itself() -> None:
    here = joined(hosts())
    one, two = (udp(*HOSTS, bytes([n]) * 3000) for n in (1, 2))
    mixed = [p for pair in zip(pieces(HOSTS, one, 800, 1), pieces(HOSTS, two, 800, 2), strict=True)
             for p in pair]  # fmt: skip
    (sa,) = here.west.outbound_batch(mixed)
    ((_, sealed),) = sa.take()
    came = [here.east.inbound(octets, 1.0).octets for octets in sealed]
    assert [octets[20:] for octets in came] == [one[20:], two[20:]]


def test_fragments_that_lack_others_are_counted_and_bounded() -> None:
    here = joined(hosts())
    for number in range(100):
        here.west.outbound_batch(pieces(HOSTS, udp(*HOSTS, bytes(3000)), 800, number)[:1])
    assert len(here.west._datagrams._unfinished) == 64
    late = pieces(HOSTS, udp(*HOSTS, bytes(3000)), 800, 999)[2]
    assert here.west.outbound_batch((late,)) == []
    assert here.west.counters().totals.drops == {DropReason.INCOMPLETE: 37}


def test_fragments_to_others_are_left_alone() -> None:
    here = joined(hosts())
    other = make_ends(spis=(0x5001, 0x6001)).west
    here.west.install(other)
    piece = fragment("10.1.0.1", "10.2.0.1", 0, more=True, payload=udp()[20:] + bytes(9))
    (sa,) = here.west.outbound_batch((piece,))
    assert sa.pair.spi == 0x5001


# checksums that NATs made wrong


def has_valid_checksum(octets: bytes) -> bool:
    """Have scapy compute the checksum anew."""
    network = IPv6 if octets[0] >> 4 == 6 else IP
    made = network(octets)
    again = network(octets)
    for layer in (TCP, UDP, ICMPv6EchoRequest):
        if layer in again:
            field = "cksum" if layer is ICMPv6EchoRequest else "chksum"
            delattr(again[layer], field)
            return bool(getattr(network(bytes(again))[layer], field) == getattr(made[layer], field))
    raise AssertionError("no checksum")


def _echo6(source: str, destination: str) -> bytes:
    return bytes(IPv6(src=source, dst=destination) / ICMPv6EchoRequest(id=7, data=b"x"))


@pytest.mark.requirement("R7296-160")
@pytest.mark.parametrize(
    ("client", "server"),
    [
        ((IP1, IPN2), (IPN1, IP2)),
        ((IP1, IP2), (IPN1, IP2)),
        ((IP1_6, IPN2_6), (IPN1_6, IP2_6)),
    ],
    ids=["two NATs", "one NAT", "IPv6"],
)
@pytest.mark.parametrize("make", [tcp, udp, _echo6])
def test_checksums_fit_the_addresses_that_each_end_sees(
    client: tuple[str, str], server: tuple[str, str], make: Callable[[str, str], bytes]
) -> None:
    if make is _echo6 and ":" not in client[0]:
        return
    here = across_nats(client, server)
    sent = make(*client)
    assert has_valid_checksum(sent)
    came = carried(here, sent)
    headers = read_headers(came)
    assert (headers.source, headers.destination) == tuple(map(packed_address, server))
    assert has_valid_checksum(came)

    answer = make(server[1], server[0])
    sealed = here.east.outbound(answer).octets
    back = here.west.inbound(sealed, 1.0).octets
    headers = read_headers(back)
    assert (headers.destination, headers.source) == tuple(map(packed_address, client))
    assert has_valid_checksum(back)


@pytest.mark.requirement("R7296-160")
def test_sums_of_every_value_are_corrected() -> None:
    here = across_nats((IP1, IPN2), (IPN1, IP2))
    for number in range(3000):
        came = carried(here, udp(IP1, IPN2, number.to_bytes(2)))
        upper = came[20:]
        pseudo = came[12:20] + bytes((0, 17)) + len(upper).to_bytes(2)
        stated = int.from_bytes(upper[6:8])
        assert stated == (checksum(pseudo + upper[:6] + bytes(2) + upper[8:]) or 0xFFFF)


@pytest.mark.requirement("R7296-160")
def test_what_was_damaged_stays_damaged_and_no_checksum_stays_none() -> None:
    here = across_nats((IP1, IPN2), (IPN1, IP2))
    damaged = bytearray(tcp(IP1, IPN2))
    damaged[-1] ^= 1
    assert not has_valid_checksum(carried(here, bytes(damaged)))
    bare = bytearray(udp(IP1, IPN2))
    bare[26:28] = bytes(2)
    assert carried(here, bytes(bare))[26:28] == bytes(2)
    short = packet(IP1, IPN2, IpProtocol.TCP, b"\x9c\x40\x01\xbb")
    assert carried(here, short)[20:] == short[20:]


@pytest.mark.parametrize(
    ("client", "server"),
    [((IP1, IPN2), (IPN1, IP2)), ((IP1_6, IPN2_6), (IPN1_6, IP2_6))],
)
def test_icmp_errors_name_what_this_host_sent(
    client: tuple[str, str], server: tuple[str, str]
) -> None:
    here = across_nats(client, server)
    sent = udp(*client)
    came = carried(here, sent)  # the server complains of what it got
    complaint = icmp_error(server[1], server[0], came)
    if ":" in client[0]:
        whole = IPv6(complaint)
        del whole.payload.cksum
        complaint = bytes(whole)
    sealed = here.east.outbound(complaint).octets
    back = here.west.inbound(sealed, 1.0).octets
    headers = read_headers(back)
    cause = read_headers(back[headers.upper + 8 :], is_whole=False)
    assert (cause.source, cause.destination) == tuple(map(packed_address, client))
    again = IPv6(back) if ":" in client[0] else IP(back)
    if ":" in client[0]:
        del again.payload.cksum
        assert bytes(again) == back
    else:
        del again[ICMP].chksum
        assert bytes(again)[20:28] == back[20:28]
        assert checksum(back[28:48]) == 0


# installation


def test_only_two_hosts_have_transport_mode() -> None:
    pair = dataclasses.replace(make_ends().west, mode=Mode.TRANSPORT)
    processor = Processor(SeededRng())
    with pytest.raises(LocalMisuse, match="between two hosts"):
        processor.install(pair)
    assert processor.counters().sas == []


def _from(pair: SaPair, port: int, *, spi: int) -> SaPair:
    """Return the pair as it would be with the peer at another port of the NAT."""
    local, remote, _ = pair.path
    path = Path(local, Transport(remote.address, port), encapsulated=True)
    return dataclasses.replace(
        pair, path=path, inbound=dataclasses.replace(pair.inbound, spi=spi), replaces=None
    )


def test_two_peers_behind_one_nat_do_not_share_packets() -> None:
    processor = Processor(SeededRng())
    first = _from(hosts().west, 20000, spi=0x1001)
    processor.install(first)
    with pytest.raises(Incompatible, match="behind one NAT only one can"):
        processor.install(_from(first, 20001, spi=0x1002))
    # The same peer may have a second one, and another peer what the first does not take.
    processor.install(_from(first, 20000, spi=0x1003))
    assert len(processor.counters().sas) == 2
    ports = Processor(SeededRng())
    ports.install(_from(hosts(ports=("[tcp/443]", "")).west, 20000, spi=0x1001))
    ports.install(_from(hosts(ports=("[tcp/22]", "")).west, 20001, spi=0x1002))
    processor.remove(0x1001)
    processor.remove(0x1003)
    processor.install(_from(first, 20001, spi=0x1002))
    assert processor._hosts == {tuple(map(packed_address, HOSTS)): 1}


def test_what_was_cut_off_stays_in_one_header() -> None:
    one, other = map(packed_address, HOSTS)
    biggest = encode_ipv4(one, other, 253, bytes(65515))
    here = joined(hosts())
    assert carried(here, biggest) == biggest
