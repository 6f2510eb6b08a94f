"""The log: stable names, one line for each event, nothing secret, nothing a peer could forge."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Path, Secret, Transport
from ipsecme.crypto.suite import EspSuite, IkeSuite
from ipsecme.daemon.hints import HINTS
from ipsecme.daemon.log import EventLog, configure, log
from ipsecme.daemon.story import tell
from ipsecme.ike import events
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = Path(Transport("192.0.2.1", 4500), Transport("192.0.2.2", 4500), encapsulated=True)
IKE_SUITE = IkeSuite(
    EncrId.ENCR_AES_GCM_16, 256, IntegId.NONE, PrfId.PRF_HMAC_SHA2_256, KeId.CURVE25519
)
ESP_SUITE = EspSuite(EncrId.ENCR_AES_GCM_16, 256, IntegId.NONE, esn=True)
SPI = "0102030405060708"
KEY = b"this-key-must-never-be-in-a-log!"

ALL_EVENTS: list[events.Event] = [
    events.IkeSaEstablished(
        "office", SPI, True, "east.example", PATH, IKE_SUITE, "none"
    ),
    events.IkeSaFailed("office", SPI, True, "no_proposal_chosen", "nothing in common", PATH),
    events.IkeSaRekeyed("office", SPI, "1112131415161718", False, IKE_SUITE),
    events.IkeSaClosed("office", SPI, "unreachable", "no answer to 10 requests"),
    events.ChildSaCreated(
        "office", "net", SPI, 0xC0FFEE, 0xBEEF, ESP_SUITE, True,
        ("10.1.0.0/24",), ("10.2.0.0/24", "10.3.0.0/24"), None,
    ),
    events.ChildSaFailed("office", "net", SPI, "ts_unacceptable", "they share nothing"),
    events.ChildSaClosed("office", "net", SPI, 0xC0FFEE, "rekeyed"),
    events.PathChanged(
        "office", SPI, PATH, PATH._replace(remote=Transport("192.0.2.3", 1024))
    ),
    events.AddressesLeased("office", SPI, "laptop.example", ("10.9.0.1", "fd00:9::1")),
    events.AddressesAssigned("office", SPI, ("10.9.0.1",), ("10.2.0.53",)),
    events.IkeKeysDerived(
        "office", b"\1" * 8, b"\2" * 8, IKE_SUITE,
        sk_ei=Secret(KEY), sk_er=Secret(KEY), sk_ai=Secret(KEY), sk_ar=Secret(KEY),
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def written(form: str, *happened: events.Event, level: str = "info") -> list[str]:
    stream = io.StringIO()
    configure(level, form, stream)  # type: ignore[arg-type]
    reader = EventLog()
    for event in happened:
        reader(event, 0.0)
    return stream.getvalue().splitlines()


def test_every_event_is_one_json_line_with_a_stable_name() -> None:
    lines = [json.loads(line) for line in written("json", *ALL_EVENTS)]
    assert [line["event"] for line in lines] == [
        "ike_sa_established",
        "ike_sa_failed",
        "ike_sa_rekeyed",
        "ike_sa_closed",
        "child_sa_created",
        "child_sa_failed",
        "child_sa_closed",
        "path_changed",
        "addresses_leased",
        "addresses_assigned",
        "ike_keys_derived",
    ]
    assert all(line["connection"] == "office" for line in lines)
    assert all(line["msg"] and line["time"] for line in lines)
    assert lines[4]["inbound_spi"] == "0x00c0ffee"
    assert lines[4]["remote_ts"] == "10.2.0.0/24, 10.3.0.0/24"


@pytest.mark.requirement("STM-03")
def test_failures_say_why_and_what_to_try_in_one_line() -> None:
    (line,) = map(json.loads, written("json", ALL_EVENTS[1]))
    assert line["level"] == "warning"
    assert line["reason"] == "no_proposal_chosen"
    assert line["msg"] == "no IKE SA with 192.0.2.2:4500: nothing in common"
    assert line["try"] == HINTS["no_proposal_chosen"]
    (text,) = written("text", ALL_EVENTS[1])
    assert text.endswith(f"-- try: {HINTS['no_proposal_chosen']}")
    assert " warning ike_sa_failed no IKE SA with" in text


def test_wanted_ends_are_no_warnings() -> None:
    closed = events.IkeSaClosed("office", SPI, "deleted_by_peer", "")
    assert tell(closed).level == "info"
    assert tell(ALL_EVENTS[3]).level == "warning"


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_line_holds_key_material(form: str) -> None:
    everything = "\n".join(written(form, *ALL_EVENTS))
    assert KEY.decode() not in everything
    assert KEY.hex() not in everything


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_peer_cannot_write_lines_or_move_the_cursor(form: str) -> None:
    nasty = "east\n2026 info ike_sa_established \x1b[2J\u202e{0} %s"
    event = events.IkeSaEstablished("office", SPI, True, nasty, PATH, IKE_SUITE, "none")
    (line,) = written(form, event)
    assert line.isprintable()
    if form == "json":
        escaped = "east\\n2026 info ike_sa_established \\x1b[2J\\u202e{0} %s"
        assert json.loads(line)["peer"] == escaped


@pytest.mark.requirement("STM-03")
def test_strangers_cannot_flood_the_log() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    reader = EventLog()
    for _ in range(100):
        reader(ALL_EVENTS[1], 5.0)
    assert len(stream.getvalue().splitlines()) == 20
    reader(ALL_EVENTS[1], 6.0)
    last = json.loads(stream.getvalue().splitlines()[-1])
    assert last["left_out"] == 80


def test_the_level_is_respected() -> None:
    names = [json.loads(line)["event"] for line in written("json", *ALL_EVENTS, level="warning")]
    assert names == ["ike_sa_failed", "ike_sa_closed", "child_sa_failed", "ike_keys_derived"]


def test_a_closed_stream_does_not_stop_the_daemon() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    stream.close()
    log.info("something", msg="goes nowhere")


def test_errors_of_libraries_are_single_lines_too() -> None:
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        compile("inner\n trouble", "nowhere", "exec")
    except SyntaxError:
        logging.getLogger("asyncio").exception("a task failed")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["level"], line["logger"]) == ("library_error", "error", "asyncio")
    assert "unexpected indent" in line["traceback"]
