"""The configuration file: what is made of it, and the message for each thing that can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import ConfigError, Secret
from ipsecme.daemon.complaints import ConfigurationRejected
from ipsecme.daemon.configuration import Configuration, load
from ipsecme.dataplane.user.settings import UserSettings
from ipsecme.ike.config import AdmissionConfig, Identity, Lifetimes
from ipsecme.policy.parameters import Mode
from ipsecme.policy.selector import selector_text
from ipsecme.wire.numbers import EncrId, IdType

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "correct horse battery staple 42"
SIX_LINES = f"""\
[connections.office]
remote = "192.0.2.2"
psk = "{SECRET}"
local_ts = ["10.1.0.0/24"]
remote_ts = ["10.2.0.0/24"]
"""


class FakeResolver:
    """A host with the address 192.0.2.1 and one name in its name service."""

    def address(self, name: str, version: int | None) -> str:
        if name != "gw.example":
            raise ConfigError(f"the name {name!r} cannot be resolved (unknown)")
        return "2001:db8::2" if version == 6 else "192.0.2.2"

    def source(self, remote: str, _port: int) -> str:
        if remote.startswith("203."):
            raise ConfigError(f"no way to {remote}")
        return "2001:db8::1" if ":" in remote else "192.0.2.1"

    def is_local(self, address: str) -> bool:
        return address in ("192.0.2.1", "2001:db8::1")


def read(
    folder: Path, text: str, *, mode: int = 0o600, environment: Mapping[str, str] | None = None
) -> Configuration:
    path = folder / "ipsecme.toml"
    path.write_text(text)
    path.chmod(mode)
    return load(path, resolver=FakeResolver(), environment=environment or {})


def complaints(folder: Path, text: str) -> list[str]:
    """Return the complaints as texts, with the folder left out."""
    with pytest.raises(ConfigurationRejected) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def test_five_lines_make_a_site_to_site_connection(tmp_path: Path) -> None:
    configuration = read(tmp_path, SIX_LINES)
    (peer,) = configuration.endpoint.peers
    (child,) = peer.children
    assert (peer.name, child.name) == ("office", "office")
    assert (peer.local_address, peer.remote_address) == ("192.0.2.1", "192.0.2.2")
    assert peer.local_id == Identity.parse("192.0.2.1")
    assert peer.remote_id == Identity.parse("192.0.2.2")
    assert peer.psk == Secret(SECRET.encode())
    assert [selector_text(ts) for ts in child.local_ts] == ["10.1.0.0/24"]
    assert [selector_text(ts) for ts in child.remote_ts] == ["10.2.0.0/24"]
    assert configuration.start == ()
    assert configuration.warnings == ()
    assert configuration.endpoint.export_keys is False


def test_every_key_arrives_where_it_belongs(tmp_path: Path) -> None:
    configuration = read(
        tmp_path,
        f"""
        [daemon]
        control = "/run/test/control.sock"
        listen = ["192.0.2.1", "2001:0DB8::1"]
        ike_port = 1500
        nat_port = 14500
        tun = "vpn0"
        mtu = 1350
        mark = 7
        table = 700
        rule_priority = 70
        log_level = "debug"
        log_format = "json"
        keylog = "keys"
        keepalive = "10s"
        cookie_threshold = 0
        half_open_limit = 7
        cookie_threshold_per_prefix = 3
        half_open_per_prefix = 4
        half_open_timeout = "20s"
        ike_sa_limit = 9
        metrics = "[::1]:9469"

        [connections.lab]
        remote = "gw.example"
        remote_port = 1500
        local = "2001:db8::1"
        local_id = "west.example"
        remote_id = "east@example.org"
        psk = "{SECRET}"
        start = "start"
        ike_proposals = ["aes128gcm16-prfsha256-x25519"]
        esp_proposals = ["aes128gcm16"]
        encapsulation = "always"
        liveness = 5
        ike_rekey = "1h"
        child_rekey = "15m"
        replay_window = 64
        retransmission = {{ first_wait = 1, factor = 2, longest_wait = 8, tries = 3 }}

        [connections.lab.children.one]
        local_ts = ["2001:db8:1::/48"]
        remote_ts = ["2001:db8:2::/48", "2001:db8:3::/48[tcp/443]"]
        esp_proposals = ["aes256-sha256"]
        child_rekey = "90s"
        replay_window = 128

        [connections.lab.children.two]
        local_ts = ["10.1.0.0/16"]
        remote_ts = ["10.2.0.0/16"]
        """,
    )
    endpoint, daemon = configuration.endpoint, configuration.daemon
    assert str(daemon.control) == "/run/test/control.sock"
    assert daemon.user == UserSettings(
        tun_name="vpn0",
        mtu=1350,
        listen=("192.0.2.1", "2001:db8::1"),
        nat_port=14500,
        mark=7,
        table=700,
        rule_priority=70,
    )
    assert (endpoint.ike_port, endpoint.nat_port, endpoint.keepalive) == (1500, 14500, 10)
    assert (daemon.log_level, daemon.log_format) == ("debug", "json")
    assert daemon.keylog == tmp_path / "keys"
    assert endpoint.export_keys
    assert endpoint.admission == AdmissionConfig(
        cookie_threshold=0,
        cookie_threshold_per_prefix=3,
        half_open_limit=7,
        half_open_per_prefix=4,
        half_open_seconds=20,
        ike_sa_limit=9,
    )
    assert daemon.metrics == "[::1]:9469"
    (peer,) = endpoint.peers
    assert (peer.remote_address, peer.remote_port) == ("2001:db8::2", 1500)
    assert peer.local_id.type == IdType.ID_FQDN
    assert peer.remote_id == Identity(IdType.ID_RFC822_ADDR, b"east@example.org")
    assert peer.lifetimes == Lifetimes(rekey=3600, hard=3960)
    assert peer.retransmission.wait(4) == 8
    assert peer.retransmission.tries == 3
    assert (peer.encapsulate, peer.liveness) == (True, 5)
    assert configuration.start == ("lab",)
    one, two = peer.children
    assert one.proposals[0].encr == ((EncrId.ENCR_AES_CBC, 256),)
    assert one.lifetimes == Lifetimes(rekey=90, hard=120)
    assert one.replay_window == 128
    assert two.proposals[0].encr == ((EncrId.ENCR_AES_GCM_16, 128),)
    assert two.lifetimes == Lifetimes(rekey=900, hard=990)
    assert two.replay_window == 64


def test_all_errors_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """\
[daemon]
ike_prot = 500

[connections.office]
remotee = "192.0.2.2"
psk = 12345
local_ts = ["10.1.0.0/33"]
remote_ts = "10.2.0.0/24"
start = "yes"

[connections.branch]
remote = "192.0.2.3"
liveness = "soon"
ike_proposals = ["aes256gcm-prfsha256-x25518"]
replay_window = 8
"""
    expected = """\
2: daemon.ike_prot: unknown key; did you mean 'ike_port'?
5: connections.office.remotee: unknown key; did you mean 'remote'?
6: connections.office.psk: expected a text in quotes
7: connections.office.local_ts[0]: '10.1.0.0/33' is not a traffic selector: \
'10.1.0.0/33' does not appear to be an IPv4 or IPv6 network
8: connections.office.remote_ts: expected a list in brackets, such as ["10.1.0.0/24"]
9: connections.office.start: expected one of 'none' or 'start'
13: connections.branch.liveness: 'soon' is no duration; write "90s", "15m", "4h", "1d" or seconds
14: connections.branch.ike_proposals[0]: 'x25518' in proposal 'aes256gcm-prfsha256-x25518' \
is not an algorithm; did you mean 'x25519'?
15: connections.branch.replay_window: must be at least 32
"""
    found = complaints(tmp_path, text)
    assert found == [f"ipsecme.toml:{line}" for line in expected.splitlines()]


def _office(*lines: str) -> str:
    return "\n".join(
        (
            "[connections.office]",
            *lines,
            'local_ts = ["10.1.0.0/24"]',
            'remote_ts = ["10.2.0.0/24"]',
        )
    )


REMOTE, PSK = 'remote = "192.0.2.2"', f'psk = "{SECRET}"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_office(REMOTE), "no secret is given; add psk, psk_file or psk_env"),
        (_office(REMOTE, PSK, 'psk_env = "X"'), "psk and psk_env are given; keep one"),
        (_office(REMOTE, 'psk_env = "NO_SUCH"'), "variable NO_SUCH is not set or empty"),
        (_office(REMOTE, 'psk_file = "gone"'), "gone cannot be read: No such file or directory"),
        (_office(REMOTE, 'psk_file = "a\\u0000b"'), "'a\\x00b' is not a file name"),
        (_office(REMOTE, 'psk_file = ""'), "'' is not a file name"),
        (_office(REMOTE, 'psk = "short"'), "has fewer than 8 octets and could be guessed"),
        (_office(REMOTE, 'psk = "aaaaaaaaaaaaaaaaaaaaaaaa"'), "repeats a few characters"),
        (_office(REMOTE, 'psk = "0x0123456789abcdefg0"'), "introduces hexadecimal digits"),
        (_office('remote = "nowhere.example"', PSK), "'nowhere.example' cannot be resolved"),
        (_office('remote = "203.0.113.9"', PSK), "no way to 203.0.113.9"),
        (_office(PSK), "connections.office.local_id: the peer may come from anywhere"),
        (_office(PSK, 'start = "start"'), 'start = "start" needs the address of the peer'),
        (_office(REMOTE, PSK, 'local = "west"'), "'west' is not an IP address"),
        (_office(REMOTE, PSK, 'local = "::1"'), "remote is 192.0.2.2 and local is ::1"),
        (_office(REMOTE, PSK, 'local_id = "a b"'), "'a b' is no address, domain name"),
        (_office(REMOTE, PSK, "liveness = 0"), "must be more than 0"),
        (_office(REMOTE, PSK, "liveness = true"), "write a number of seconds or a text such as"),
        (_office(REMOTE, PSK, "ike_proposals = []"), "the list is empty"),
        (f'[connections.a]\n{REMOTE}\n{PSK}\nlocal_ts=["::/0"]', "remote_ts is missing"),
        (f"[connections.a]\n{REMOTE}\n{PSK}", "nothing to protect; add local_ts and remote_ts"),
        (
            f'[connections.a]\n{REMOTE}\n{PSK}\nlocal_ts=["::/0"]\nremote_ts=["10.0.0.0/8"]',
            "share no address family",
        ),
        (
            _office(REMOTE, PSK)
            + '\n[connections.office.children.office]\nlocal_ts=["10.3.0.0/24"]'
            + '\nremote_ts=["10.4.0.0/24"]',
            "office is also the name of the Child SA",
        ),
        (
            _office(REMOTE, PSK) + "\n[connections.office.children.x]\nremote_ts=['10.4.0.0/24']",
            "ipsecme.toml:6: connections.office.children.x.local_ts: is missing",
        ),
        ('[connections."bad name"]', "'bad name' cannot be a name"),
        ("[daemon]\nike_port = 4500", "ike_port and nat_port are the same"),
        ('[daemon]\nlisten = ["here"]', "ipsecme.toml:2: daemon.listen: 'here' is not an IP"),
        ("[daemon]\nike_port = 70000", "must be at most 65535"),
        ('[daemon]\ntun = "a/b"', "make an interface name"),
        ('[office]\nremote = "192.0.2.2"', "a connection is written [connections.office]"),
        ("[connections.office]\npsk\n", "ipsecme.toml:2: Expected '=' after a key"),
    ],
)
def test_each_error_says_what_to_do(tmp_path: Path, text: str, expected: str) -> None:
    found = complaints(tmp_path, text)
    assert len([line for line in found if expected in line]) == 1, found
    assert not any(SECRET in line for line in found)


def test_missing_file_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRejected) as caught:
        load(tmp_path / "none.toml")
    assert str(caught.value) == (
        f"{tmp_path}/none.toml: No such file or directory; write one or name another with --config"
    )


def test_a_secret_with_a_problem_is_never_quoted(tmp_path: Path) -> None:
    secret = "0x-this-is-the-secret"
    found = complaints(tmp_path, _office(REMOTE, f'psk = "{secret}"'))
    assert len(found) == 1
    assert "this-is-the-secret" not in found[0]


@pytest.mark.parametrize(
    ("written", "octets"),
    [
        ("x" * 60 + "abcd", b"x" * 60 + b"abcd"),
        ("0x00ff00ff0102030405", bytes.fromhex("00ff00ff0102030405")),
        ("schlüssel zum büro", "schlüssel zum büro".encode()),
    ],
)
def test_a_secret_is_its_octets_with_nothing_added(
    tmp_path: Path, written: str, octets: bytes
) -> None:
    configuration = read(tmp_path, _office(REMOTE, f'psk = "{written}"'))
    assert configuration.endpoint.peers[0].psk == Secret(octets)


def test_a_secret_may_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "secret").chmod(0o600)
    from_file = read(tmp_path, _office(REMOTE, 'psk_file = "secret"'))
    from_environment = read(
        tmp_path, _office(REMOTE, 'psk_env = "OFFICE_PSK"'), environment={"OFFICE_PSK": SECRET}
    )
    for configuration in (from_file, from_environment):
        assert configuration.endpoint.peers[0].psk == Secret(SECRET.encode())


def test_a_secret_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o644)
    (found,) = complaints(tmp_path, _office(REMOTE, 'psk_file = "secret"'))
    assert found == (
        f"ipsecme.toml:3: connections.office.psk_file: everybody may read {tmp_path}/secret; "
        f"protect it with: chmod 600 {tmp_path}/secret"
    )


def test_warnings_name_what_had_better_change(tmp_path: Path) -> None:
    text = _office('local_id = "gw.example"', 'local = "192.0.2.77"', 'psk = "short but ok"')
    warnings = read(tmp_path, text, mode=0o644).warnings
    assert len(warnings) == 4
    assert warnings[0].endswith(f"chmod 600 {tmp_path}/ipsecme.toml")
    assert "does not have 192.0.2.77" in warnings[1]
    assert "without remote_id everyone who has its secret is accepted" in warnings[2]
    assert "the pre-shared key is short for its purpose" in warnings[3]
    assert not any("short but ok" in warning for warning in warnings)


def test_a_peer_from_anywhere_is_never_called(tmp_path: Path) -> None:
    text = _office('remote = "any"', 'local_id = "gw.example"', 'remote_id = "road.example"', PSK)
    (peer,) = read(tmp_path, text).endpoint.peers
    assert peer.remote_address is None
    assert peer.local_address is None
    assert str(peer.remote_id) == "road.example"


def test_an_empty_file_is_accepted_with_a_warning(tmp_path: Path) -> None:
    configuration = read(tmp_path, "")
    assert configuration.endpoint.peers == ()
    assert configuration.warnings[0].endswith("add [connections.NAME]")


def test_the_control_socket_is_where_the_client_looks_for_it(tmp_path: Path) -> None:
    configuration = read(tmp_path, SIX_LINES, environment={"RUNTIME_DIRECTORY": "/run/a:/run/b"})
    assert configuration.daemon.control == Path("/run/a/control.sock")


@pytest.mark.parametrize(("variable", "expected"), [("json", "json"), ("x", "text"), ("", "text")])
def test_the_environment_may_overrule_the_log_format(
    tmp_path: Path, variable: str, expected: str
) -> None:
    text = '[daemon]\nlog_format = "text"'
    configuration = read(tmp_path, text, environment={"IPSECME_LOG_FORMAT": variable})
    assert configuration.daemon.log_format == expected


def test_a_configuration_does_not_show_its_secrets(tmp_path: Path) -> None:
    assert SECRET not in repr(read(tmp_path, SIX_LINES))


HOSTS = """\
[connections.host]
remote = "192.0.2.2"
psk = "correct horse battery staple 42"
"""


def test_transport_mode_needs_no_selectors_and_does_without_mobike(tmp_path: Path) -> None:
    (peer,) = read(tmp_path, HOSTS + 'mode = "transport"\n').endpoint.peers
    (child,) = peer.children
    assert (child.name, child.mode, child.tunnel_fallback) == ("host", Mode.TRANSPORT, False)
    assert [selector_text(s) for s in child.local_ts] == ["0.0.0.0/0", "::/0"]
    assert not peer.mobike

    (peer,) = read(
        tmp_path,
        HOSTS
        + """
[connections.host.children.web]
mode = "prefer-transport"
local_ts = ["192.0.2.1"]
remote_ts = ["192.0.2.0/24[tcp/443]"]
[connections.host.children.net]
local_ts = ["10.1.0.0/24"]
remote_ts = ["10.2.0.0/24"]
""",
    ).endpoint.peers
    web, net = peer.children
    assert (web.mode, web.tunnel_fallback) == (Mode.TRANSPORT, True)
    assert (net.mode, net.tunnel_fallback) == (Mode.TUNNEL, False)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            'mode = "transport"\nlocal_ts = ["10.1.0.0/24"]\nremote_ts = ["192.0.2.2"]',
            (
                "ipsecme.toml:5: connections.host.local_ts: local_ts of host does not hold "
                "192.0.2.1, and transport mode protects what the two hosts themselves send; leave "
                "local_ts out, add 192.0.2.1, or use tunnel mode"
            ),
        ),
        (
            'mode = "transport"\nlocal_ts = ["192.0.2.1"]\nremote_ts = ["10.2.0.0/24"]',
            (
                "ipsecme.toml:6: connections.host.remote_ts: remote_ts of host does not hold "
                "192.0.2.2, and transport mode protects what the two hosts themselves send; leave "
                "remote_ts out, add 192.0.2.2, or use tunnel mode"
            ),
        ),
        (
            'mode = "transport"\nrequest_addresses = ["ipv4"]\nremote_ts = ["192.0.2.2"]',
            (
                "ipsecme.toml:1: connections.host: "
                '"dynamic" addresses are inside a tunnel; transport mode has the hosts\' own ones'
            ),
        ),
        (
            'mode = "transit"',
            (
                "ipsecme.toml:4: connections.host.mode: "
                "expected one of 'tunnel', 'transport' or 'prefer-transport'"
            ),
        ),
    ],
)
def test_what_is_wrong_with_transport_mode(tmp_path: Path, lines: str, expected: str) -> None:
    assert complaints(tmp_path, HOSTS + lines + "\n") == [expected]
