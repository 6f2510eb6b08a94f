"""Hosts, links, and what is left of them when the lab ends."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ipsecme.lab.errors import LabUnavailable, StepFailed
from ipsecme.lab.network import LOGS_VARIABLE, Lab
from ipsecme.lab.ping import ping
from ipsecme.lab.sites import INNER_IPV4, OUTER_IPV4, OUTER_IPV6

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _folders_of_labs_that_fail_on_purpose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(LOGS_VARIABLE, raising=False)


def test_hosts_reach_each_other_at_once_over_both_families(lab: Lab) -> None:
    west, east = lab.host("west"), lab.host("east")
    lab.link(west, east, OUTER_IPV4, OUTER_IPV6)
    for source, target in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
        report = ping(west, source, target, count=3)
        assert (report.sent, report.received) == (3, 3)
        assert len(report.round_trips_seconds) == 3


def test_router_forwards_between_its_links(lab: Lab) -> None:
    west, router, east = lab.host("west"), lab.host("router"), lab.host("east")
    lab.link(west, router, ("10.0.1.2/24", "10.0.1.1/24"))
    lab.link(router, east, ("10.0.2.1/24", "10.0.2.2/24"))
    assert router.interfaces() == ["lo", "eth0", "eth1"]
    west.add_route("default", "10.0.1.1")
    east.add_route("10.0.1.0/24", "10.0.2.1")
    assert ping(west, "10.0.1.2", "10.0.2.2", count=1, patience_seconds=0.2).received == 0
    router.forward()
    assert ping(west, "10.0.1.2", "10.0.2.2", count=1).received == 1


def test_link_has_the_mtu_that_was_asked_for(lab: Lab) -> None:
    west, east = lab.host("west"), lab.host("east")
    end, _ = lab.link(west, east, OUTER_IPV4, mtu=1300)

    def largest() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.connect(("192.0.2.2", 9))
            return opened.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU

    assert end.host.call(largest) == 1300


def test_sockets_stay_where_they_were_opened(lab: Lab) -> None:
    host, other = lab.host("west"), lab.host("east")
    host.add_address("lo", INNER_IPV4[0])
    namespace = Path("/proc/thread-self/ns/net")
    own = namespace.stat().st_ino
    assert host.call(lambda: namespace.stat().st_ino) != own

    with host.call(lambda: socket.create_server(("10.1.0.1", 0))) as listener:
        assert namespace.stat().st_ino == own
        with host.call(socket.socket) as inside, other.call(socket.socket) as outside:
            inside.connect(listener.getsockname())
            with pytest.raises(OSError, match="unreachable"):
                outside.connect(listener.getsockname())


def test_names_are_there_during_the_lab_and_gone_after_an_error() -> None:
    lab = Lab("broken")
    paths = [lab.host(name).namespace.path for name in ("west", "east")]
    assert all(path.exists() for path in paths)
    with pytest.raises(ZeroDivisionError), lab:
        raise ZeroDivisionError
    assert not any(path.exists() for path in paths)


def test_program_that_nobody_stopped_is_named_and_ended() -> None:
    lab = Lab("forgetful")
    process = lab.host("west").start("sleep", ["sleep", "60"])
    with pytest.raises(StepFailed, match=r"left running .* on west \(sleep 60\)"):
        lab.close()
    assert process.exit_status == -9


def test_error_of_the_block_is_not_hidden_by_what_it_left_running() -> None:
    lab = Lab("forgetful")
    lab.host("west").start("sleep", ["sleep", "60"])
    with pytest.raises(ZeroDivisionError) as caught, lab:
        raise ZeroDivisionError
    assert "left running" in caught.value.__notes__[0]


def test_actions_at_the_end_run_in_reverse_and_all_of_them() -> None:
    done = []
    lab = Lab("ends")
    path = lab.host("west").namespace.path
    lab.at_end(lambda: done.append("first registered"))
    lab.at_end(lambda: 1 // 0)
    lab.at_end(lambda: done.append("last registered"))
    with pytest.raises(ZeroDivisionError):
        lab.close()
    assert done == ["last registered", "first registered"]
    assert not path.exists()


def test_logs_are_kept_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "logs"
    monkeypatch.setenv(LOGS_VARIABLE, str(place))
    with Lab("a title[with brackets]") as lab:
        west = lab.host("west")
        west.start("echo", ["echo", "hello"]).wait_ended(5)
        lab.failed = True
    (kept,) = place.iterdir()
    assert kept.name.startswith("a-title-with-brackets--")
    assert (kept / "west" / "echo.log").read_text() == "hello\n"
    assert str(kept) in capsys.readouterr().err
    assert not lab.folder.exists()


def test_logs_of_a_success_are_removed() -> None:
    with Lab("good") as lab:
        assert lab.folder.is_dir()
    assert not lab.folder.exists()


def test_run_returns_what_was_printed_without_the_errors(lab: Lab) -> None:
    host = lab.host("west")
    assert host.run(["sh", "-c", "echo out; echo err >&2"]) == "out\n"


def test_run_tells_why_a_program_failed(lab: Lab) -> None:
    host = lab.host("west")
    with pytest.raises(StepFailed, match=r"on west: sh -c .*: exit status 3\nwhy"):
        host.run(["sh", "-c", "echo why >&2; exit 3"])
    with pytest.raises(StepFailed, match=r"not finished after 0\.2 s"):
        host.run(["sleep", "60"], seconds=0.2)
    with pytest.raises(LabUnavailable, match="no-such-program is not installed"):
        host.run(["no-such-program"])


def test_impossible_changes_are_refused_with_the_reason(lab: Lab) -> None:
    host = lab.host("west")
    with pytest.raises(StepFailed, match="there is no interface eth7"):
        host.add_address("eth7", "10.0.0.1/24")
    with pytest.raises(StepFailed, match=r"route 10\.9\.0\.0/16 via 10\.9\.9\.9: .*unreachable"):
        host.add_route("10.9.0.0/16", "10.9.9.9")
