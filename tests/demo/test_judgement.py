"""The parts of the demonstration that judge: what crossed the link, and what both daemons say."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from ipsecme.lab.demo_checks import agreement, counter_problems
from ipsecme.lab.demo_link import Kind, LinkTally, kind_of_frame
from ipsecme.lab.demo_report import DemoReport
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.ping import PingReport
from ipsecme.lab.traffic import StreamReport, TransferReport
from support.fake_daemon import CHILD, IKE_SA, OFFICE, STATUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipsecme.control import IkeStatus, StatusReply

NOTHING = {
    "ok": False,
    "suite": None,
    "ping": {"sent": 0, "received": 0, "rtt_ms": None},
    "tcp": {"bytes": 0, "sha256_match": False, "mbit_s": 0.0},
    "rekeys": {"ike": 0, "child": 0},
    "lost_packets": None,
    "seconds": 0.0,
}


def ipv4(protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    ends = ipaddress.ip_address("10.1.0.1").packed + ipaddress.ip_address("10.2.0.1").packed
    return bytes(12) + b"\x08\x00" + header + ends + payload


def ipv6(protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255) + bytes(32)
    return bytes(12) + b"\x86\xdd" + header + payload


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (bytes(12) + b"\x08\x06" + bytes(28), Kind.HOUSEKEEPING),
        (ipv4(50, bytes(40)), Kind.ESP),
        (ipv6(50, bytes(40)), Kind.ESP),
        (ipv4(17, udp(500, bytes(28))), Kind.IKE),
        (ipv4(17, udp(4500, bytes(32))), Kind.IKE),
        (ipv4(17, udp(4500, b"\x00\x00\x00\x01" + bytes(36))), Kind.ESP),
        (ipv4(17, udp(4500, b"\xff")), Kind.HOUSEKEEPING),
        (ipv6(58, bytes([135]) + bytes(23)), Kind.HOUSEKEEPING),
        (ipv6(0, bytes([58, 0, 5, 2, 0, 0, 0, 0, 143]) + bytes(19)), Kind.HOUSEKEEPING),
        (ipv6(58, bytes([128]) + bytes(23)), Kind.CLEAR),
        (ipv4(1, bytes(8)), Kind.CLEAR),
        (ipv4(6, bytes(20)), Kind.CLEAR),
        (ipv4(17, udp(53, b"?")), Kind.CLEAR),
        (bytes(12) + b"\x08\x00" + b"\x45", Kind.CLEAR),
        (bytes(12) + b"\x88\xcc" + bytes(20), Kind.CLEAR),
        (b"", Kind.CLEAR),
    ],
)
def test_each_frame_has_its_kind(frame: bytes, kind: Kind) -> None:
    assert kind_of_frame(frame) is kind


@given(st.binary(max_size=200))
def test_any_frame_is_counted_and_none_raises(frame: bytes) -> None:
    counted = LinkTally()
    counted.add(frame)
    assert sum(counted.counts.values()) == 1


def test_the_first_frames_in_clear_are_described() -> None:
    counted = LinkTally()
    for _ in range(5):
        counted.add(ipv4(6, bytes(20)))
    assert counted.clear == 5
    assert counted.examples == ["10.1.0.1 to 10.2.0.1, protocol 6, 54 octets"] * 3


# both daemons

TRAFFIC = {"packets_out": 10, "packets_in": 20, "bytes_out": 1000, "bytes_in": 2000}
MIRRORED = {"packets_out": 20, "packets_in": 10, "bytes_out": 2000, "bytes_in": 1000}
FAR_CHILD = replace(
    CHILD,
    inbound_spi=CHILD.outbound_spi,
    outbound_spi=CHILD.inbound_spi,
    local_ts=CHILD.remote_ts,
    remote_ts=CHILD.local_ts,
)
FAR_SA = replace(IKE_SA, initiator=False, children=(FAR_CHILD,))


def status(
    sa: IkeStatus | None = IKE_SA, counters: Mapping[str, int] = MappingProxyType({})
) -> StatusReply:
    office = replace(OFFICE, ike_sas=() if sa is None else (sa,))
    return replace(STATUS, connections=(office,), packet_counters=dict(counters))


def test_mirrored_sas_agree() -> None:
    agreed = agreement(status(IKE_SA), status(FAR_SA))
    assert agreed.suite == "IKE aes256gcm16-prfsha256-x25519, ESP aes256gcm16-esn"
    assert agreed.child_spis == (CHILD.inbound_spi, CHILD.outbound_spi)


@pytest.mark.parametrize(
    ("far", "words"),
    [
        (None, "east has 0 IKE SAs"),
        (replace(FAR_SA, state="half-open"), "east has 0 IKE SAs"),
        (replace(FAR_SA, children=()), "east has 0 Child SAs"),
        (replace(FAR_SA, children=(FAR_CHILD, FAR_CHILD)), "east has 2 Child SAs"),
        (replace(FAR_SA, spi_r="00"), "different IKE SAs"),
        (replace(FAR_SA, initiator=True), "same role"),
        (replace(FAR_SA, children=(CHILD,)), "different Child SAs"),
        (replace(FAR_SA, suite="other"), "different suites"),
        (
            replace(FAR_SA, children=(replace(FAR_CHILD, remote_ts=("0.0.0.0/0",)),)),
            "different traffic",
        ),
    ],
)
def test_where_the_ends_differ_is_said(far: IkeStatus | None, words: str) -> None:
    with pytest.raises(StepFailed, match=words):
        agreement(status(IKE_SA), status(far))


def test_counters_that_mirror_each_other_are_fine() -> None:
    here, there = status(counters=TRAFFIC), status(counters=MIRRORED)
    assert counter_problems(here, there, at_least=10) == []


@pytest.mark.parametrize("name", TRAFFIC)
def test_one_packet_or_octet_less_is_a_problem(name: str) -> None:
    here = status(counters={**TRAFFIC, name: TRAFFIC[name] - 1})
    assert counter_problems(here, status(counters=MIRRORED), at_least=1)


def test_traffic_that_took_another_way_is_a_problem() -> None:
    found = counter_problems(status(counters=TRAFFIC), status(counters=MIRRORED), at_least=11)
    assert found == ["west sent fewer packets by ESP than were sent through the tunnel"]


# the report


def test_a_report_of_nothing_has_all_keys_and_is_not_ok() -> None:
    assert DemoReport().to_json() == NOTHING


def test_a_report_tells_what_was_found() -> None:
    report = DemoReport(
        suite="x",
        ping=PingReport(3, 3, (0.003, 0.001, 0.002)),
        tcp=TransferReport(20_000_000, intact=True, seconds=0.5),
        ike_rekeys=1,
        child_rekeys=1,
        stream=StreamReport(100, 0, 99, 98, 0, (0.1, 0.2), 0.02),
        seconds=6.543,
        finished=True,
    )
    assert report.answers == 101
    assert report.to_json() == {
        "ok": True,
        "suite": "x",
        "ping": {"sent": 3, "received": 3, "rtt_ms": 2.0},
        "tcp": {"bytes": 20_000_000, "sha256_match": True, "mbit_s": 320.0},
        "rekeys": {"ike": 1, "child": 1},
        "lost_packets": 2,
        "seconds": 6.54,
    }
    report.problems.append("something")
    assert not report.ok
    assert report.to_json()["ok"] is False
