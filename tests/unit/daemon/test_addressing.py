"""Settings about internal addresses: what is made of them, and the message for what is wrong."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

import ipsecme
from ipsecme.policy.address_pool import AddressRange
from ipsecme.policy.selector import selector_text
from unit.daemon.test_configuration import complaints, read

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.ike.config import ChildConfig

HEAD = """\
[connections.office]
local_id = "here"
psk = "correct horse battery staple 42"
"""
CALLS = HEAD + 'remote = "192.0.2.2"\n'


def sides(child: ChildConfig) -> tuple[list[str], bool, list[str], bool]:
    return (
        [selector_text(ts) for ts in child.local_ts],
        child.local_assigned,
        [selector_text(ts) for ts in child.remote_ts],
        child.remote_leased,
    )


def test_a_gateway_lends_and_its_peers_are_where_their_addresses_are(tmp_path: Path) -> None:
    text = """\
local_ts = ["10.2.0.0/16"]
pool = ["10.9.0.0/24", "fd00:9::10-fd00:9::1f"]
dns = ["10.2.0.53", "fd00:2::53"]
addresses_per_peer = 2
[connections.office.children.more]
local_ts = ["10.3.0.0/16"]
remote_ts = ["dynamic", "10.8.0.0/16"]
[daemon]
tell_version = true
"""
    configuration = read(tmp_path, HEAD + text)
    (peer,) = configuration.endpoint.peers
    assert peer.request_families == ()
    assert peer.lends is not None
    assert peer.lends.ranges == (
        AddressRange.parse("10.9.0.1-10.9.0.254"),
        AddressRange.parse("fd00:9::10-fd00:9::1f"),
    )
    assert [str(ipaddress.ip_address(one)) for one in peer.lends.dns] == ["10.2.0.53", "fd00:2::53"]
    assert peer.lends.most == 2
    assert list(map(sides, peer.children)) == [
        (["10.2.0.0/16"], False, [], True),
        (["10.3.0.0/16"], False, ["10.8.0.0/16"], True),
    ]
    assert configuration.endpoint.version == f"ipsecme {ipsecme.__version__}"


def test_a_client_asks_and_is_where_its_address_is(tmp_path: Path) -> None:
    text = 'request_addresses = ["ipv6", "ipv4"]\nremote_ts = ["10.2.0.0/16", "fd00:2::/48"]\n'
    configuration = read(tmp_path, CALLS + text)
    (peer,) = configuration.endpoint.peers
    assert (peer.request_families, peer.lends) == ((16, 4), None)
    assert list(map(sides, peer.children)) == [([], True, ["10.2.0.0/16", "fd00:2::/48"], False)]
    assert configuration.endpoint.version == ""


NETWORKS = 'local_ts = ["10.1.0.0/24"]\nremote_ts = ["10.2.0.0/24"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CALLS + 'local_ts = ["dynamic"]\nremote_ts = ["::/0"]\n', "add request_addresses"),
        (HEAD + 'remote_ts = ["dynamic"]\nlocal_ts = ["::/0"]\n', "no address is lent; add pool"),
        (CALLS + NETWORKS + 'request_addresses = ["ipv4"]\n', "request_addresses is for nothing"),
        (HEAD + NETWORKS + 'pool = ["10.9.0.0/24"]\n', "pool is for nothing"),
        (HEAD + 'request_addresses = ["ipv4"]\nremote_ts = ["10.0.0.0/8"]\n', "add its address"),
        (HEAD + NETWORKS + 'dns = ["10.2.0.53"]\n', "dns is told to those who have an address"),
        (CALLS + 'request_addresses = ["ipv4"]\n', "nothing to protect"),
        (CALLS + "request_addresses = []\n", "the list is empty"),
        (CALLS + 'request_addresses = ["ipv5"]\n', "expected one of 'ipv4' or 'ipv6'"),
        (
            CALLS + 'request_addresses = ["ipv6"]\nremote_ts = ["10.0.0.0/8"]\n',
            "share no address family",
        ),
        (HEAD + 'pool = ["fd00::/64"]\nlocal_ts = ["10.0.0.0/8"]\n', "share no address family"),
        (HEAD + 'pool = ["10.9.0.1/24"]\nlocal_ts = ["10.0.0.0/8"]\n', "write a prefix such as"),
        (
            HEAD + 'pool = ["10.9.0.0/24"]\nlocal_ts = ["10.0.0.0/8"]\ndns = ["ns"]\n',
            "'ns' is not an IP address",
        ),
        (
            CALLS + NETWORKS + '[connections.office.children.x]\nlocal_ts = ["dynamic"]\n'
            'remote_ts = ["10.0.0.0/8"]\n',
            "add request_addresses",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = complaints(tmp_path, text)
    assert expected in found
