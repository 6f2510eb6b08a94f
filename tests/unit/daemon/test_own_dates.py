"""The dates of our own certificates: what `check` tells, and the reminder in the log."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from ipsecme.cli.main import app
from ipsecme.crypto.signature_keys import SigningKey
from ipsecme.daemon.own_dates import Reminder, date_complaint, own_dates
from ipsecme.daemon.story import tell
from ipsecme.ike.auth.trust import Credential, Trust
from ipsecme.ike.events import CertificateOutOfDate
from support.certificates import AT, authority, key, leaf, of
from support.pair import peer

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.ike.config import PeerConfig

DAY = dt.timedelta(days=1)
ROOT = authority("Root", number=1, at=AT - 400 * DAY, lifetime=4000 * DAY)


def signing(days: float) -> PeerConfig:
    own = leaf(ROOT, "gw.example", at=AT - 300 * DAY, lifetime=(300 + days) * DAY)
    credential = Credential(SigningKey(key()), (own,))
    return replace(peer("a"), psk=None, credentials=(credential,), trust=Trust(tuple(of(ROOT))))


@pytest.mark.parametrize(
    ("days", "words"),
    [(-1, "expired on 2030-05-31"), (3, "expires on 2030-06-04"), (14.1, ""), (90, "")],
)
def test_complaints(days: float, words: str) -> None:
    (one,) = own_dates([signing(days)])
    text = date_complaint(one.certificate, AT)
    assert bool(text) == bool(words)
    assert words in (text or "")
    assert one.days_left(AT) == int(days)


def test_a_certificate_of_the_future() -> None:
    text = date_complaint(leaf(ROOT, "gw.example", at=AT + DAY), AT)
    assert text is not None
    assert "is not valid before 2030-06-02" in text


def test_a_reminder_each_day_as_soon_as_there_is_reason() -> None:
    reminder = Reminder([signing(16)], AT)
    said = []
    for hour in range(24 * 20):
        at = AT + hour * DAY / 24
        said += [((at - AT).days, name, text) for name, text in reminder.due(at)]
    days = [day for day, _, _ in said]
    assert days == list(range(3, 20))
    assert "renew it soon" in said[0][2]
    assert "expired" in said[-1][2]
    assert {name for _, name, _ in said} == {"test"}


def test_the_line_in_the_log() -> None:
    line = tell(CertificateOutOfDate("east", "00ff", '"CN=gw"', AT - DAY, AT))
    assert line.level == "warning"
    assert line.name == "certificate_out_of_date"
    assert "valid from 2030-05-31 12:00 to 2030-06-01 12:00 UTC, not now" in line.text


@pytest.mark.parametrize("days", [100, -2])
def test_check_tells_the_days(tmp_path: Path, days: int) -> None:
    now = dt.datetime.now(dt.UTC)
    root = authority("Root", number=1, at=now - 99 * DAY, lifetime=900 * DAY)
    own = leaf(root, "gw.example", at=now - 50 * DAY, lifetime=(50 + days) * DAY + DAY / 2)
    private = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "gw.pem").write_bytes(own.library.public_bytes(Encoding.PEM))
    (tmp_path / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "gw.key").touch(mode=0o600)
    (tmp_path / "gw.key").write_bytes(private)
    path = tmp_path / "ipsecme.toml"
    path.write_text(
        '[connections.east]\nremote = "192.0.2.2"\nlocal = "127.0.0.1"\ncert = "gw.pem"\n'
        'key = "gw.key"\nca = ["ca.pem"]\nremote_id = "east.example"\n'
        'local_ts = ["10.1.0.0/24"]\nremote_ts = ["10.2.0.0/24"]\n'
    )
    result = CliRunner().invoke(app, ["check", "--config", str(path)])
    assert result.exit_code == 0
    wanted = "100 days left" if days > 0 else "expired on"
    assert wanted in result.stdout
    report = json.loads(CliRunner().invoke(app, ["check", "--json", "-c", str(path)]).stdout)
    (told,) = report["certificates"]
    assert told["connection"] == "east"
    assert told["days_left"] == (days if days > 0 else -2)
