"""What the lab writes for strongSwan and for us, and how it reads what strongSwan reports."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, cast

from ipsecme.lab import ipsecme, strongswan
from ipsecme.lab.peer import ChildSaView, IkeSaView, Site, Tunnel

if TYPE_CHECKING:
    from ipsecme.lab.host import Host, Interface

WEST = Site(
    host=cast("Host", None),
    outside=cast("Interface", None),
    address="192.0.2.1",
    reachable_as="192.0.2.1",
    identity="west.example",
    networks=("10.1.0.0/24", "2001:db8:1::/64"),
    inner=("10.1.0.1", "2001:db8:1::1"),
)
HIDDEN = Site(
    host=cast("Host", None),
    outside=cast("Interface", None),
    address="172.16.0.2",
    reachable_as=None,
    identity="east.example",
    networks=("10.2.0.0/24", "2001:db8:2::/64"),
    inner=("10.2.0.1", "2001:db8:2::1"),
)

# Of strongSwan 5.9.8, shortened.
LISTED = """\
list-sa event {
  tunnel {
    uniqueid = 1
    version = 2
    state = ESTABLISHED
    local-id = C=CH, O=strongSwan, CN=west
    initiator = yes
    initiator-spi = b6837d3e0d2ebf7d
    responder-spi = 3338a1d8b9f4a1d6
    child-sas {
      tunnel-1 {
        name = tunnel
        state = REKEYED
        spi-in = c4e9e0dd
        spi-out = a24ed95c
        bytes-in = 297896
        bytes-out = 0
        packets-in = 5356
        packets-out = 0
        local-ts = [
          10.1.0.0/24
        ]
      }
      tunnel-2 {
        name = tunnel
        state = INSTALLED
        spi-in = 6a819113
        spi-out = 4c8bdc71
        bytes-in = 23028
        bytes-out = 24000
        packets-in = 101
        packets-out = 102
      }
    }
  }
}
list-sa event {
  tunnel {
    state = CONNECTING
    initiator-spi = 0000000000000001
    responder-spi = 0000000000000000
    child-sas {
    }
  }
}
list-sas reply {
}
"""


def test_reported_sas_are_read_whatever_their_identities_hold() -> None:
    assert [strongswan._ike_sa(section) for section in strongswan._sections(LISTED)] == [
        IkeSaView(
            established=True,
            spi_initiator=0xB6837D3E0D2EBF7D,
            spi_responder=0x3338A1D8B9F4A1D6,
            children=(
                ChildSaView(
                    installed=False,
                    spi_in=0xC4E9E0DD,
                    spi_out=0xA24ED95C,
                    octets_in=297896,
                    octets_out=0,
                    packets_in=5356,
                    packets_out=0,
                ),
                ChildSaView(
                    installed=True,
                    spi_in=0x6A819113,
                    spi_out=0x4C8BDC71,
                    octets_in=23028,
                    octets_out=24000,
                    packets_in=101,
                    packets_out=102,
                ),
            ),
        ),
        IkeSaView(established=False, spi_initiator=1, spi_responder=0, children=()),
    ]


def test_no_sas_are_read_as_none() -> None:
    assert list(strongswan._sections("list-sas reply {\n}\n")) == []


def test_both_daemons_are_told_the_same_tunnel() -> None:
    tunnel = Tunnel(psk='quote " and \\ back', child_rekey_seconds=60)
    table = tomllib.loads(ipsecme.render_tunnel(tunnel, local=WEST, remote=HIDDEN))
    connection: dict[str, Any] = table["connections"]["tunnel"]
    assert connection == {
        "local": "192.0.2.1",
        "remote": "any",
        "local_id": "west.example",
        "remote_id": "east.example",
        "psk": 'quote " and \\ back',
        "local_ts": ["10.1.0.0/24", "2001:db8:1::/64"],
        "remote_ts": ["10.2.0.0/24", "2001:db8:2::/64"],
        "ike_proposals": ["aes256gcm16-prfsha256-x25519"],
        "esp_proposals": ["aes256gcm16"],
        "child_rekey": 60,
    }
    plain = Tunnel(psk="secret", child_rekey_seconds=60)
    text = strongswan.render_tunnel(plain, local=WEST, remote=HIDDEN)
    lines = {line.strip() for line in text.splitlines()}
    assert {
        "local_addrs = 192.0.2.1",
        "remote_addrs = %any",
        "id = west.example",
        "id = east.example",
        "proposals = aes256gcm16-prfsha256-x25519",
        "esp_proposals = aes256gcm16",
        "local_ts = 10.1.0.0/24,2001:db8:1::/64",
        "remote_ts = 10.2.0.0/24,2001:db8:2::/64",
        "rekey_time = 60s",
        'secret = "secret"',
    } <= lines
