"""What the daemon asks of its surroundings: names, addresses, lines of files, systemd."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import ConfigError
from ipsecme.daemon.lines import LineFinder
from ipsecme.daemon.notify import notify
from ipsecme.daemon.resolve import SystemResolver

if TYPE_CHECKING:
    from pathlib import Path


def test_addresses_of_this_host_are_known() -> None:
    resolver = SystemResolver()
    assert resolver.is_local("127.0.0.1")
    assert resolver.is_local("::1")
    assert not resolver.is_local("192.0.2.1")
    assert resolver.source("127.0.0.1", 500) == "127.0.0.1"
    assert resolver.source("::1", 500) == "::1"


def test_names_are_resolved_to_canonical_addresses() -> None:
    resolver = SystemResolver()
    assert resolver.address("localhost", 4) == "127.0.0.1"
    assert resolver.address("127.0.0.1", None) == "127.0.0.1"
    with pytest.raises(ConfigError, match=r"'a\.\.b' cannot be resolved .*see to the name service"):
        resolver.address("a..b", None)


def test_a_destination_that_cannot_be_reached_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"no way to 255\.255\.255\.255 .*set local"):
        SystemResolver().source("255.255.255.255", 500)


def test_lines_of_keys_are_found_in_every_notation() -> None:
    lines = LineFinder(
        "# a comment\n"
        "[daemon]  # another\n"
        'log_level = "info"\n'
        '["connections"."a.b"]\n'
        "remote='192.0.2.1'\n"
        "retransmission.tries = 3\n"
        "local_ts = [\n"
        '  "10.0.0.0/8",\n'
        "]\n"
    )
    assert lines.line(("daemon",)) == 2
    assert lines.line(("daemon", "log_level")) == 3
    assert lines.line(("connections", "a.b", "remote")) == 5
    assert lines.line(("connections", "a.b", "retransmission", "tries")) == 6
    assert lines.line(("connections", "a.b", "retransmission", "factor")) == 6
    assert lines.line(("connections", "a.b", "psk")) == 4
    assert lines.line(("nothing",)) is None


def test_systemd_hears_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_abstract_addresses_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("")  # the kernel chooses an abstract name
        systemd.settimeout(5)
        name = systemd.getsockname()[1:].decode()
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert systemd.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "/no/such/socket", "nonsense"])
def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
