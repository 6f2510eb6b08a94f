"""Keys and certificates in the configuration: every form of file, and every mistake with them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from ipsecme.crypto.certificate_issue import make_crl
from ipsecme.daemon.complaints import ConfigurationRejected
from ipsecme.daemon.configuration import load
from ipsecme.ike.auth.trust import Revocation
from ipsecme.ike.config import Identity
from ipsecme.wire.numbers import IdType
from support.certificates import authority, key, leaf, of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipsecme.crypto.certificate import Certificate
    from ipsecme.ike.config import PeerConfig

NOW = dt.datetime.now(dt.UTC)
ROOT = authority("Root", number=1, at=NOW)
MIDDLE = authority("Middle", ROOT, number=2, at=NOW)
OWN = leaf(MIDDLE, "gw.example", "192.0.2.9", at=NOW)
PASSWORD = b"correct horse"
SIGNED = 'cert = "gw.pem"\nkey = "gw.key"\nca = ["ca.pem"]\nremote_id = "peer.example"'


def pem(*certificates: Certificate) -> bytes:
    return b"".join(c.library.public_bytes(Encoding.PEM) for c in certificates)


def pkcs8(number: int = 0, password: bytes | None = None) -> bytes:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    return key(number=number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path, "ca.pem", pem(*of(ROOT)), 0o644)
    put(tmp_path, "gw.pem", pem(OWN, *of(MIDDLE, ROOT)), 0o644)
    put(tmp_path, "gw.key", pkcs8())
    return tmp_path


def put(folder: Path, name: str, content: bytes, mode: int = 0o600) -> None:
    (folder / name).write_bytes(content)
    (folder / name).chmod(mode)


def write(folder: Path, settings: str, remote: str = "192.0.2.2") -> Path:
    path = folder / "ipsecme.toml"
    path.write_text(
        f'[connections.office]\nremote = "{remote}"\nlocal = "127.0.0.1"\n'
        if remote != "any"
        else '[connections.office]\nremote = "any"\n'
    )
    with path.open("a") as file:
        file.write('local_ts = ["10.1.0.0/24"]\nremote_ts = ["10.2.0.0/24"]\n' + settings + "\n")
    return path


def peer(folder: Path, settings: str, remote: str = "192.0.2.2") -> PeerConfig:
    (found,) = load(write(folder, settings, remote)).endpoint.peers
    return found


def complaint(folder: Path, settings: str) -> str:
    with pytest.raises(ConfigurationRejected) as caught:
        load(write(folder, settings))
    (found,) = caught.value.complaints
    return f"{found.key}: {found.message}"


# what works


def test_a_certificate_its_key_and_an_authority(folder: Path) -> None:
    found = peer(folder, SIGNED)
    assert len(found.credentials) == 1
    assert found.credentials[0].certificates == (OWN, *of(MIDDLE))  # the root need not be sent
    assert found.trust is not None
    assert list(found.trust.authorities) == of(ROOT)
    assert found.psk is None
    assert found.local_id == Identity.parse("gw.example")
    assert found.remote_id == Identity.parse("peer.example")


def test_several_certificates_find_their_keys(folder: Path) -> None:
    other = authority("Other", number=5, at=NOW)
    second = leaf(other, "gw.elsewhere", number=8, at=NOW)
    put(folder, "second.pem", pem(second, *of(other)), 0o644)
    put(folder, "second.key", pkcs8(8))
    settings = (
        'cert = ["gw.pem", "second.pem"]\nkey = ["second.key", "gw.key"]\n'
        'ca = ["ca.pem"]\nremote_id = "peer.example"'
    )
    found = peer(folder, settings).credentials
    assert [c.certificates[0] for c in found] == [OWN, second]
    assert [c.key.public for c in found] == [OWN.key, second.key]
    assert found[0].authorities == {c.key.key_hash for c in of(MIDDLE, ROOT)}
    assert found[1].authorities == {c.key.key_hash for c in of(other)}
    assert [str(c.identity) for c in found] == ["gw.example", "gw.elsewhere"]
    named = peer(folder, settings + '\nlocal_id = "gw.example"').credentials
    assert [c.identity for c in named] == [None, None]


def test_the_authority_may_be_known_from_ca_alone(folder: Path) -> None:
    own = leaf(ROOT, "gw.example", at=NOW)
    put(folder, "gw.pem", pem(own), 0o644)
    (found,) = peer(folder, SIGNED).credentials
    assert found.authorities == {of(ROOT)[0].key.key_hash}


def test_a_key_without_a_certificate_among_several(folder: Path) -> None:
    put(folder, "stray.key", pkcs8(9))
    settings = SIGNED.replace('key = "gw.key"', 'key = ["gw.key", "stray.key"]')
    assert "stray.key belongs to none of the certificates in cert" in complaint(folder, settings)
    assert "holds no private key" in complaint(
        folder, SIGNED.replace('key = "gw.key"', 'key = ["gw.key", "gw.pem"]')
    )


FORMS: dict[str, Callable[[Path], str]] = {}


def form(make: Callable[[Path], str]) -> Callable[[Path], str]:
    FORMS[make.__name__] = make
    return make


@form
def all_in_one_pem(folder: Path) -> str:
    put(folder, "all.pem", pem(*of(MIDDLE)) + pkcs8() + pem(OWN))
    return 'cert = "all.pem"'


@form
def der(folder: Path) -> str:
    put(folder, "gw.cer", OWN.der)
    made = key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    put(folder, "gw.der", made)
    return 'cert = "gw.cer"\nkey = "gw.der"'


@form
def traditional_pem(folder: Path) -> str:
    made = key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    put(folder, "old.key", made)
    return 'cert = "gw.pem"\nkey = "old.key"'


@form
def protected_pem(folder: Path) -> str:
    put(folder, "safe.key", pkcs8(password=PASSWORD))
    put(folder, "password", PASSWORD + b"\n")
    return 'cert = "gw.pem"\nkey = "safe.key"\npassword_file = "password"'


@form
def pkcs12_store(folder: Path) -> str:
    private = key()
    assert isinstance(private, EllipticCurvePrivateKey)
    store = pkcs12.serialize_key_and_certificates(
        b"gw", private, OWN.library, [MIDDLE.certificate], BestAvailableEncryption(PASSWORD)
    )
    put(folder, "gw.p12", store)
    put(folder, "password", PASSWORD)
    return 'cert = "gw.p12"\npassword_file = "password"'


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_forms_of_files(folder: Path, make: Callable[[Path], str]) -> None:
    found = peer(folder, make(folder) + '\nca = ["ca.pem"]\nremote_id = "peer.example"')
    assert len(found.credentials) == 1
    assert found.credentials[0].certificates[0] == OWN
    assert found.credentials[0].key.public == OWN.key


def test_raw_keys(folder: Path) -> None:
    public = key(number=9).public_key()
    for name, encoding in (("peer.pub", Encoding.PEM), ("peer.der", Encoding.DER)):
        put(folder, name, public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo), 0o644)
        found = peer(folder, f'key = "gw.key"\nremote_key = "{name}"')
        assert len(found.credentials) == 1
        assert found.trust is not None
        assert found.credentials[0].certificates == ()
        assert len(found.trust.keys) == 1


def test_a_pinned_certificate_names_the_peer(folder: Path) -> None:
    put(folder, "peer.pem", pem(leaf(None, "peer.example", number=9, at=NOW)), 0o644)
    found = peer(folder, 'psk = "a secret of twenty octets"\nremote_cert = "peer.pem"')
    assert found.remote_id == Identity.parse("peer.example")


def test_names_that_follow_from_certificates(folder: Path) -> None:
    put(folder, "bare.pem", pem(leaf(ROOT, title="Bare", at=NOW)), 0o644)
    bare = SIGNED.replace("gw.pem", "bare.pem")
    assert str(peer(folder, bare).local_id) == "O=Example, CN=Bare"
    unnamed = SIGNED.replace('remote_id = "peer.example"', "")
    assert peer(folder, unnamed, "localhost").remote_id == Identity.parse("localhost")
    assert peer(folder, unnamed).remote_id == Identity.parse("192.0.2.2")
    assert peer(folder, unnamed, "any").remote_id is None


def test_no_authentication_is_written_out(folder: Path) -> None:
    found = peer(folder, 'local_auth = "null"\nca = ["ca.pem"]\nremote_id = "peer.example"')
    assert found.local_null
    assert found.local_id.type == IdType.ID_NULL
    found = peer(folder, 'cert = "gw.pem"\nkey = "gw.key"\nremote_auth = "null"', "any")
    assert found.remote_null
    assert found.remote_id is None


# what does not


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('cert = "gw.pem"', "nothing says how the peer proves itself; add ca"),
        ('ca = ["ca.pem"]', "nothing proves this end; add cert and key, or psk"),
        ('psk = "a secret of twenty octets"\n' + SIGNED, "psk serves no end"),
        ('remote_auth = "null"\nca = ["ca.pem"]', "remove one or the other"),
        ('local_auth = "null"\n' + SIGNED, "remove one or the other"),
        ('psk = "a secret of twenty octets"\ncrl = ["x"]', "add ca"),
        ('psk = "a secret of twenty octets"\nrevocation = "strict"', "add ca"),
    ],
)
def test_settings_that_do_not_go_together(folder: Path, settings: str, words: str) -> None:
    assert words in complaint(folder, settings)


def test_files_that_are_not_there(folder: Path) -> None:
    for name in ("ca.pem", "gw.pem", "gw.key"):
        (folder / name).rename(folder / "away")
        text = complaint(folder, SIGNED)
        assert name in text
        assert "cannot be read: No such file" in text
        (folder / "away").rename(folder / name)


def test_a_key_that_everybody_may_read(folder: Path) -> None:
    (folder / "gw.key").chmod(0o644)
    text = complaint(folder, SIGNED)
    assert text.startswith("connections.office.key: everybody may read the secret in")
    assert f"chmod 600 {folder / 'gw.key'}" in text


def test_a_key_of_another_certificate(folder: Path) -> None:
    put(folder, "gw.key", pkcs8(number=33))
    assert "does not belong to the certificate" in complaint(folder, SIGNED)


def test_a_certificate_without_its_key(folder: Path) -> None:
    text = complaint(folder, SIGNED.replace('key = "gw.key"\n', ""))
    assert "holds no private key; name its file with key" in text


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAA==\n"])
def test_files_that_hold_something_else(folder: Path, content: bytes) -> None:
    for name in ("ca.pem", "gw.pem", "gw.key"):
        before = (folder / name).read_bytes()
        put(folder, name, content)
        assert name in complaint(folder, SIGNED)
        put(folder, name, before)


def test_passwords(folder: Path) -> None:
    put(folder, "gw.key", pkcs8(password=PASSWORD))
    assert "password_file" in complaint(folder, SIGNED)
    put(folder, "password", b"wrong")
    text = complaint(folder, SIGNED + '\npassword_file = "password"')
    assert "gw.key" in text
    assert "wrong" not in text


def test_an_authority_that_is_none(folder: Path) -> None:
    put(folder, "ca.pem", pem(OWN))
    assert "not marked as an authority" in complaint(folder, SIGNED)


def test_dates_are_warned_of(folder: Path) -> None:
    old = leaf(ROOT, "gw.example", at=NOW - dt.timedelta(days=9), lifetime=dt.timedelta(days=3))
    soon = leaf(ROOT, "gw.example", at=NOW, lifetime=dt.timedelta(days=3))
    future = leaf(ROOT, "gw.example", at=NOW + dt.timedelta(days=3))
    for made, words in ((old, "expired on"), (soon, "renew it soon"), (future, "not valid before")):
        put(folder, "gw.pem", pem(made))
        (warning,) = load(write(folder, SIGNED)).warnings
        assert words in warning
        assert warning.startswith("connection office: the certificate")


def test_a_name_that_the_certificate_does_not_have(folder: Path) -> None:
    settings = SIGNED + '\nlocal_id = "other.example"'
    (warning,) = load(write(folder, settings)).warnings
    assert "local_id is other.example" in warning
    assert "gw.example" in warning


def test_crls(folder: Path) -> None:
    made = make_crl(ROOT, [], 1, NOW, dt.timedelta(days=9))
    put(folder, "ca.crl", made.public_bytes(Encoding.PEM), 0o644)
    put(folder, "ca.der.crl", made.public_bytes(Encoding.DER), 0o644)
    found = peer(folder, SIGNED + '\ncrl = ["ca.crl", "ca.der.crl"]').trust
    assert found is not None
    assert found.revocation == Revocation(
        "soft", (str(folder / "ca.crl"), str(folder / "ca.der.crl"))
    )
    found = peer(folder, SIGNED + '\nrevocation = "strict"').trust
    assert found is not None
    assert found.revocation.policy == "strict"
    assert "gw.pem: the CRL cannot be read" in complaint(folder, SIGNED + '\ncrl = ["gw.pem"]')
