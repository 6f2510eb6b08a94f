"""The file with the name servers of gateways, which a resolver may read."""

from __future__ import annotations

import io
import json
from pathlib import Path

from ipsecme.daemon.log import configure
from ipsecme.daemon.nameservers import NameServers, name_server_file
from ipsecme.ike.events import AddressesAssigned, IkeSaClosed, IkeSaRekeyed


def assigned(spi: str, *dns: str) -> AddressesAssigned:
    return AddressesAssigned("office", spi, ("10.9.0.1",), dns)


def rekeyed(old: str, new: str) -> IkeSaRekeyed:
    return IkeSaRekeyed("office", old, new, True, None)  # type: ignore[arg-type]  # not looked at


def closed(spi: str) -> IkeSaClosed:
    return IkeSaClosed("office", spi, "deleted", "deleted here")


def test_it_lies_beside_the_control_socket() -> None:
    assert name_server_file(Path("/run/ipsecme/control.sock")) == Path(
        "/run/ipsecme/control.resolv.conf"
    )


def test_it_holds_what_is_valid_now(tmp_path: Path) -> None:
    path = tmp_path / "control.resolv.conf"
    servers = NameServers(path)
    servers(assigned("01"), 1.0)  # a gateway that names none
    assert not path.exists()
    servers(assigned("02", "10.2.0.53", "fd00:2::53"), 2.0)
    servers(assigned("03", "10.2.0.53", "10.3.0.53"), 3.0)
    assert path.read_text().split() == [
        "nameserver", "10.2.0.53", "nameserver", "fd00:2::53", "nameserver", "10.3.0.53",
    ]  # fmt: skip
    servers(rekeyed("02", "04"), 4.0)
    servers(closed("02"), 5.0)
    servers(closed("03"), 6.0)
    assert path.read_text() == "nameserver 10.2.0.53\nnameserver fd00:2::53\n"
    servers(closed("04"), 7.0)
    assert list(tmp_path.iterdir()) == []


def test_it_goes_with_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "control.resolv.conf"
    servers = NameServers(path)
    servers(assigned("02", "10.2.0.53"), 2.0)
    assert path.stat().st_mode & 0o777 == 0o644
    servers.close()
    servers.close()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_the_log_says_so(
    tmp_path: Path,
) -> None:
    lines = io.StringIO()
    configure("info", "json", lines)
    servers = NameServers(tmp_path / "nowhere" / "control.resolv.conf")
    servers(assigned("02", "10.2.0.53"), 2.0)
    servers.close()
    line = json.loads(lines.getvalue())
    assert line["event"] == "name_servers_not_written"
    assert "No such file" in line["msg"]
