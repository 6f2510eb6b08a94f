from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from ipsecme.cli.plain import plain
from ipsecme.cli.sheet import Sheet
from ipsecme.cli.status_view import show_status
from support.fake_daemon import BRANCH, CHILD, IKE_SA, OFFICE, STATUS

if TYPE_CHECKING:
    from ipsecme.control import StatusReply

PIPED = """\
ipsecme 1.2.3  pid 4711, running for 2 h 5 min, 1 of 2 connections up
  dropped    12 no policy

office  up for 3 min 12 s
  local      west.example at 192.0.2.1:4500
  remote     east.example at 198.51.100.9:4500
  nat        the peer is behind one
  ike        aes256gcm16-prfsha256-x25519, initiator
  spi        8a8fb2a9c1d00500 initiator, 77aa0cdd12345600 responder
  rekey      in 3 h 50 min, expires in 4 h 20 min
  rekeyed    IKE SA 1 x, Child SAs 4 x
  last heard 0.4 s ago
  child net  installed for 3 min 12 s
    traffic    10.1.0.0/24 <-> 10.2.0.0/24, 10.3.0.0/24
    esp        aes256gcm16-esn, tunnel mode, in UDP
    spi        c0ffee00 in, 0badcafe out
    rekey      in 51 min 40 s, expires in 1 h 2 min
    received   1.21 MiB in 1,234 packets, last 0.4 s ago
    sent       512 B in 1 packet
    dropped    3 replay

branch  down, the daemon tries again by itself
  last error authentication failed, 1 min 15 s ago: the peer answered AUTHENTICATION_FAILED
  try        compare the pre-shared key, local_id and remote_id with the peer's
"""


CLIENT = replace(
    IKE_SA,
    children=(),
    assigned=("10.9.0.1", "fd00:9::1"),
    dns=("10.2.0.53",),
    networks=("10.2.0.0/16",),
    peer_version="a gateway \x1b[2J",
)


def shown(reply: StatusReply, *, width: int = 80, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    show_status(reply, Sheet(console))
    return file.getvalue()


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_pipe_gets_one_line_for_each_fact_whatever_the_width(width: int) -> None:
    assert shown(STATUS, width=width) == PIPED


@pytest.mark.parametrize("width", [40, 60, 80, 132])
def test_a_terminal_gets_colours_and_all_words_within_its_width(width: int) -> None:
    text = shown(STATUS, width=width, terminal=True)
    assert "\x1b[" in text
    lines = without_colours(text).splitlines()
    assert max(map(len, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(PIPED.split())


def test_only_what_matters_stands_out() -> None:
    lines = shown(STATUS, terminal=True).splitlines()
    assert lines[0].startswith("\x1b[1mipsecme 1.2.3\x1b[0m  pid 4711")
    assert "\x1b[1moffice\x1b[0m\x1b[1;32m  up\x1b[0m for 3 min 12 s" in lines


def test_what_wraps_is_aligned_under_its_value() -> None:
    lines = without_colours(shown(STATUS, width=50, terminal=True)).splitlines()
    number = next(i for i, line in enumerate(lines) if "8a8fb2a9c1d00500" in line)
    assert lines[number + 1].startswith(" " * 13)
    assert "responder" in lines[number + 1] + lines[number + 2]


def test_strangers_at_the_door_are_shown() -> None:
    admission = replace(STATUS.admission, half_open=7)
    counters = {"cookies_asked": 12, "dropped_prefix_limit": 3, "datagrams_in": 50}
    text = shown(replace(STATUS, admission=admission, ike_counters=counters))
    assert "half-open  7 IKE SAs of 5000" in text
    assert "refused    12 cookies asked, 3 prefix limit" in text


def test_text_from_peers_cannot_play_tricks() -> None:
    sa = replace(IKE_SA, remote_id="evil\x1b[31m\n[bold]x[/bold]")
    text = shown(replace(STATUS, connections=(replace(OFFICE, ike_sas=(sa,)),)))
    assert "\x1b" not in text
    assert r"evil\x1b[31m\n[bold]x[/bold] at" in text


def test_an_sa_that_is_not_there_yet_shows_what_there_is() -> None:
    sa = replace(
        IKE_SA,
        state="half-open",
        suite="",
        local_id="",
        remote_id="198.51.100.9",
        established=None,
        rekey_in=None,
        expires_in=None,
        children=(),
    )
    office = replace(OFFICE, state="connecting", last_packet_in=None, ike_sas=(sa,))
    text = shown(replace(STATUS, connections=(office,)))
    assert "office  connecting\n" in text
    assert "  state      half-open\n" in text
    assert "  remote     198.51.100.9:4500\n" in text
    assert "  last heard never\n" in text


def test_rekeying_that_is_due_is_said_to_be_now() -> None:
    child = replace(CHILD, rekey_in=0.0, last_packet_in=None, drops={})
    office = replace(OFFICE, ike_sas=(replace(IKE_SA, children=(child,)),))
    text = shown(replace(STATUS, connections=(office,)))
    assert "    rekey      now, expires in 1 h 2 min\n" in text
    assert "    received   1.21 MiB in 1,234 packets\n" in text
    assert text.count("dropped") == 1


def test_a_connection_that_nobody_wants_is_simply_down() -> None:
    branch = replace(BRANCH, wanted=False, last_error=None)
    assert shown(replace(STATUS, connections=(branch,))).endswith("\nbranch  down\n")


def test_plain_text_stays_as_it_is() -> None:
    assert plain("Zürich 10.0.0.0/8") == "Zürich 10.0.0.0/8"


def test_internal_addresses_are_shown_at_both_ends() -> None:
    gateway = replace(IKE_SA, children=(), leased=("10.9.0.1", "fd00:9::1"))
    at_client, at_gateway = (
        shown(replace(STATUS, connections=(replace(OFFICE, ike_sas=(sa,)),)))
        for sa in (CLIENT, gateway)
    )
    for line in (
        "  assigned   10.9.0.1, fd00:9::1",
        "  dns        10.2.0.53",
        "  networks   10.2.0.0/16",
    ):
        assert line in at_client.splitlines()
        assert line not in at_gateway.splitlines()
    assert "  peer runs  a gateway " in at_client
    assert "\x1b" not in at_client
    assert "  leased     10.9.0.1, fd00:9::1" in at_gateway.splitlines()
    assert "leased" not in at_client
