"""``ipsecme pki``: what it makes serves a connection, is private, and can be revoked."""

from __future__ import annotations

import datetime as dt
import json
import stat
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ipsecme.cli.main import app
from ipsecme.crypto.certificate_issue import KEY_TYPES, KeyType
from ipsecme.crypto.certificate_news import News
from ipsecme.crypto.certificate_path import PathRefused, trust
from ipsecme.crypto.certificate_revocation import Crl
from ipsecme.daemon.configuration import load
from ipsecme.daemon.key_files import read_certificates

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.crypto.certificate import Certificate

NOW = dt.datetime.now(dt.UTC)


def run(folder: Path, *arguments: str, status: int = 0) -> str:
    verb, *rest = arguments
    where = [] if verb == "show" else ["--dir", str(folder / "pki")]
    result = CliRunner().invoke(app, ["pki", verb, *where, *rest])
    assert result.exit_code == status, result.output
    return str(result.output)


def one(path: Path) -> Certificate:
    (found,) = read_certificates("test", path)
    return found


@pytest.mark.parametrize("kind", KEY_TYPES)
def test_what_is_issued_leads_to_the_authority(tmp_path: Path, kind: KeyType) -> None:
    run(tmp_path, "ca", "--type", kind, "--name", "Ours")
    run(tmp_path, "issue", "gw", "--type", kind, "--san", "gw.example", "--san", "192.0.2.1")
    root, issued = one(tmp_path / "pki/ca.pem"), one(tmp_path / "pki/gw.pem")
    assert trust(issued, [], anchors=[root], pinned=(), at=NOW).leaf == issued
    assert str(issued.names) == "gw.example, 192.0.2.1"
    assert str(root.subject) == "CN=Ours"


def test_all_files_are_private(tmp_path: Path) -> None:
    run(tmp_path, "ca")
    run(tmp_path, "issue", "gw.example")
    run(tmp_path, "revoke", "gw.example")
    folder = tmp_path / "pki"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert files == dict.fromkeys(
        ["ca.pem", "ca.key", "ca.crl", "index.json", "gw.example.pem", "gw.example.key"], 0o600
    )


def test_what_is_issued_serves_a_configuration(tmp_path: Path) -> None:
    run(tmp_path, "ca")
    run(tmp_path, "issue", "west.example")
    run(tmp_path, "crl")
    config = tmp_path / "ipsecme.toml"
    config.write_text(
        '[connections.east]\nremote = "192.0.2.2"\nlocal = "127.0.0.1"\n'
        'remote_id = "east.example"\ncert = "pki/west.example.pem"\nkey = "pki/west.example.key"\n'
        'ca = ["pki/ca.pem"]\ncrl = ["pki/ca.crl"]\nrevocation = "strict"\n'
        'local_ts = ["10.1.0.0/24"]\nremote_ts = ["10.2.0.0/24"]\n'
    )
    loaded = load(config)
    assert not loaded.warnings
    assert str(loaded.endpoint.peers[0].local_id) == "west.example"


def test_revoking(tmp_path: Path) -> None:
    run(tmp_path, "ca")
    for name in ("a.example", "b.example"):
        run(tmp_path, "issue", name)
    assert "revoked 1 certificate for a.example" in run(tmp_path, "revoke", "a.example")
    folder = tmp_path / "pki"
    crl = Crl.decode((folder / "ca.crl").read_bytes())
    root = one(folder / "ca.pem")

    def judge(name: str) -> None:
        trust(
            one(folder / f"{name}.pem"),
            [],
            anchors=[root],
            pinned=(),
            news=News((crl,)),
            policy="strict",
            at=NOW,
        )

    judge("b.example")
    with pytest.raises(PathRefused, match="revoked it on"):
        judge("a.example")
    again = run(tmp_path, "revoke", "a.example", status=2)
    assert "issued and not revoked: b.example" in again
    serial = json.loads((folder / "index.json").read_text())["entries"][1]["serial"]
    run(tmp_path, "revoke", serial)


def test_showing(tmp_path: Path) -> None:
    run(tmp_path, "ca", "--name", "Ours")
    run(tmp_path, "issue", "gw.example", "--days", "9")
    run(tmp_path, "revoke", "gw.example")
    shown = run(tmp_path, "show", str(tmp_path / "pki/gw.example.pem"))
    for words in ("CN=gw.example", "issuer     CN=Ours", "a peer", "ECDSA P-256", "days left"):
        assert words in shown
    serial = json.loads((tmp_path / "pki/index.json").read_text())["entries"][0]["serial"]
    assert f"revoked    {serial} on 20" in run(tmp_path, "show", str(tmp_path / "pki/ca.crl"))
    listed = run(tmp_path, "show", str(tmp_path / "pki/ca.pem"), "--json")
    assert json.loads(listed)[0]["for"] == "an authority"


def test_nothing_is_replaced(tmp_path: Path) -> None:
    run(tmp_path, "ca")
    run(tmp_path, "issue", "gw")
    before = {path: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    assert "exists already" in run(tmp_path, "ca", status=2)
    assert "exists already" in run(tmp_path, "issue", "gw", status=2)
    assert {path: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before


@pytest.mark.parametrize("name", ["../gw", "ca", "", "-gw", "a b", "x" * 64])
def test_names_that_cannot_name_files(tmp_path: Path, name: str) -> None:
    run(tmp_path, "ca")
    assert "cannot name files" in run(tmp_path, "issue", "--", name, status=2)


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    assert "make one with: ipsecme pki ca" in run(tmp_path, "issue", "gw", status=2)
    assert "cannot be read" in run(tmp_path, "show", str(tmp_path / "nothing"), status=2)
    (tmp_path / "text").write_text("text")
    assert "no certificate" in run(tmp_path, "show", str(tmp_path / "text"), status=2)
    run(tmp_path, "ca")
    assert "no address, domain" in run(tmp_path, "issue", "gw", "--san", "a b", status=2)
    (tmp_path / "pki/index.json").write_text("{}")
    assert "is damaged" in run(tmp_path, "issue", "gw2", status=2)


def test_nothing_outlives_its_authority(tmp_path: Path) -> None:
    run(tmp_path, "ca", "--days", "10")
    run(tmp_path, "issue", "gw", "--days", "400")
    folder = tmp_path / "pki"
    assert one(folder / "gw.pem").not_after == one(folder / "ca.pem").not_after
