"""Certificates between us and strongSwan: every kind of key, and everything that is refused."""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from ipsecme.crypto.certificate_issue import Authority, KeyType, make_crl, make_ocsp_response
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.ipsecme import Ipsecme
from ipsecme.lab.peer import Credential, Tunnel
from ipsecme.lab.sites import two_sites
from ipsecme.lab.story import Story
from ipsecme.lab.strongswan import StrongSwan
from ipsecme.lab.wait import wait_until
from support.certificates import authority, key, leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ipsecme.lab.host import Host
    from ipsecme.lab.network import Lab
    from ipsecme.lab.process import Process

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.slow]

TUNNEL = Tunnel()
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
KINDS: list[KeyType] = ["ecdsa256", "rsa3072", "ed25519"]


def root_of(kind: KeyType = "ecdsa256", number: int = 1) -> Authority:
    return authority("Root", kind=kind, number=number, at=NOW)


def made(
    issuer: Authority,
    *names: str,
    trusts: Authority | None = None,
    kind: KeyType = "ecdsa256",
    at: dt.datetime = NOW,
    lifetime: dt.timedelta = 30 * DAY,
    between: Authority | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Credential:
    """Return what a host gets: its certificate, its key, and the authority that it trusts."""
    certificate = leaf(
        issuer, *names, title=names[0], kind=kind, at=at, lifetime=lifetime, extensions=extensions
    ).library
    chain = [certificate] + ([between.certificate] if between else [])
    return Credential(
        certificates=tuple(pem(c.public_bytes(Encoding.PEM)) for c in chain),
        key=pem(key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        authority=pem((trusts or issuer).certificate.public_bytes(Encoding.PEM)),
    )


def pem(octets: bytes) -> str:
    return octets.decode()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("we_call", [True, False], ids=["we-call", "strongswan-calls"])
def test_a_tunnel_with_every_kind_of_key(lab: Lab, kind: KeyType, we_call: bool) -> None:
    root = root_of(kind)
    west, east = two_sites(lab)
    ours = Ipsecme(west, TUNNEL, remote=east, credential=made(root, west.identity, kind=kind))
    strongswan = StrongSwan(
        east, TUNNEL, remote=west, credential=made(root, east.identity, kind=kind)
    )

    story = Story(lab, ours, strongswan)
    story.bring_up(by=ours if we_call else strongswan)
    story.ping()
    story.rekey_ike(by=strongswan)
    story.ping()


@pytest.mark.parametrize("we_call", [True, False], ids=["we-call", "strongswan-calls"])
def test_an_authority_between(lab: Lab, we_call: bool) -> None:
    root = root_of()
    middle = authority("Middle", root, number=2, at=NOW)
    west, east = two_sites(lab)
    credentials = [
        made(middle, site.identity, trusts=root, between=middle) for site in (west, east)
    ]
    ours = Ipsecme(west, TUNNEL, remote=east, credential=credentials[0])
    strongswan = StrongSwan(east, TUNNEL, remote=west, credential=credentials[1])

    story = Story(lab, ours, strongswan)
    story.bring_up(by=ours if we_call else strongswan)
    story.ping()


@pytest.mark.parametrize("we_call", [True, False], ids=["we-call", "strongswan-calls"])
def test_the_one_of_two_certificates_that_strongswan_asks_for(lab: Lab, we_call: bool) -> None:
    """It trusts one authority and says so in CERTREQ; our first certificate is under another."""
    first, second = root_of(number=1), authority("Second", number=6, at=NOW)
    west, east = two_sites(lab)
    ours = Ipsecme(
        west,
        TUNNEL,
        remote=east,
        credential=made(first, west.identity),
        also=made(second, west.identity, kind="rsa3072"),
    )
    strongswan = StrongSwan(
        east, TUNNEL, remote=west, credential=made(first, east.identity, trusts=second)
    )

    story = Story(lab, ours, strongswan)
    story.bring_up(by=ours if we_call else strongswan)
    story.ping()
    assert "with RSA" in strongswan.log_text()


@pytest.mark.requirement("R7296-196", "R7296-197")
@pytest.mark.parametrize("we_call", [True, False], ids=["we-call", "strongswan-calls"])
def test_certificates_by_url_in_both_directions(lab: Lab, we_call: bool) -> None:
    """Neither end sends its certificate; both fetch the other's from a web server."""
    root = root_of()
    west, east = two_sites(lab)
    mine, theirs = made(root, west.identity), made(root, east.identity)
    pages = west.host.folder / "pages"
    pages.mkdir()
    for credential in (mine, theirs):
        der = x509.load_pem_x509_certificate(credential.certificates[0].encode()).public_bytes(
            Encoding.DER
        )
        (pages / hashlib.sha1(der, usedforsecurity=False).hexdigest()).write_bytes(der)
    own = x509.load_pem_x509_certificate(mine.certificates[0].encode())
    own_page = hashlib.sha1(own.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest()
    server = west.host.start(
        "pages",
        [sys.executable, "-m", "http.server", "8080", "--directory", str(pages)],
    )
    wait_until(lambda: is_open(west.host, 8080), "the web server to listen", seconds=10)
    base = f"http://{west.address}:8080/"
    ours = Ipsecme(
        west,
        TUNNEL,
        remote=east,
        credential=mine,
        settings={"cert_url": base + own_page, "cert_fetch": "any"},
    )
    strongswan = StrongSwan(east, TUNNEL, remote=west, credential=theirs, certificates_at=base)

    try:
        story = Story(lab, ours, strongswan)
        story.bring_up(by=ours if we_call else strongswan)
        story.ping()
    finally:
        server.stop()
    asked = server.log_text()
    for page in pages.iterdir():
        assert f"GET /{page.name}" in asked, asked
    assert "fetched certificate" in strongswan.log_text()


def is_open(host: Host, port: int) -> bool:
    return f":{port}" in host.run(["ss", "-Hltn"])


@pytest.mark.parametrize("standing", ["good", "revoked", "unknown"])
def test_a_responder_of_openssl_about_strongswan(lab: Lab, standing: str) -> None:
    """It signs with a certificate of its own; where it is stands in the peer's certificate."""
    root = root_of()
    west, east = two_sites(lab)
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP,
                x509.UniformResourceIdentifier(f"http://{west.address}:8888/"),
            )
        ]
    )
    theirs = made(root, east.identity, extensions=[(access, False)])
    responder = start_responder(west.host, root, theirs, standing)
    wait_until(lambda: is_open(west.host, 8888), "the OCSP responder to listen", seconds=10)
    ours = Ipsecme(
        west,
        TUNNEL,
        remote=east,
        credential=made(root, west.identity),
        settings={"revocation": "strict", "ocsp_fetch": "any"},
    )
    strongswan = StrongSwan(east, TUNNEL, remote=west, credential=theirs)

    try:
        story = Story(lab, ours, strongswan)
        if standing == "good":
            story.bring_up(by=ours)
            story.ping()
            return
        with pytest.raises(StepFailed):
            ours.initiate()
        words = {"revoked": "says OCSP", "unknown": "the OCSP responder does not know"}
        assert words[standing] in last_error(ours)
        story.nothing_passes()
    finally:
        responder.stop()


def start_responder(host: Host, root: Authority, about: Credential, standing: str) -> Process:
    """Let openssl answer as its index says, by a certificate for this purpose."""
    folder = host.folder / "responder"
    folder.mkdir()
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    signer = leaf(root, title="Responder", number=9, at=NOW, extensions=[(purpose, False)])
    private = key(number=9).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "signer.pem").write_bytes(signer.library.public_bytes(Encoding.PEM) + private)
    (folder / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    certificate = x509.load_pem_x509_certificate(about.certificates[0].encode())
    end, since = (f"{at:%y%m%d%H%M%SZ}" for at in (certificate.not_valid_after_utc, NOW - DAY))
    serial = f"{certificate.serial_number:X}"
    serial = serial.zfill(len(serial) + len(serial) % 2)
    lines = {
        "good": f"V\t{end}\t\t{serial}\tunknown\t/CN=x\n",
        "revoked": f"R\t{end}\t{since}\t{serial}\tunknown\t/CN=x\n",
        "unknown": "",
    }
    (folder / "index.txt").write_text(lines[standing])
    return host.start(
        "responder",
        ["openssl", "ocsp", "-port", "8888", "-index", str(folder / "index.txt"),
         "-CA", str(folder / "ca.pem"), "-rsigner", str(folder / "signer.pem"),
         "-ndays", "1", "-ignore_err"],
    )  # fmt: skip


def test_ocsp_within_ike_between_two_of_ours(lab: Lab) -> None:
    """Both are strict and have no other news; when the caller's runs out nobody lets it in."""
    root = root_of()
    west, east = two_sites(lab)
    credentials = [made(root, site.identity) for site in (west, east)]
    files = [site.host.folder / "own.ocsp" for site in (west, east)]
    for path, credential in zip(files, credentials, strict=True):
        path.write_bytes(ocsp_about(root, credential))
    caller, called = (
        Ipsecme(site, TUNNEL, remote=other, credential=credential,
                settings={"revocation": "strict", "ocsp_own": [str(path)]})
        for site, other, credential, path in zip(
            (west, east), (east, west), credentials, files, strict=True
        )
    )  # fmt: skip

    story = Story(lab, caller, called)
    story.bring_up(by=caller)
    story.ping()
    story.delete_ike(by=caller)
    files[0].write_bytes(ocsp_about(root, credentials[0], revoked=NOW - DAY))
    wait_until(
        lambda: "there is no OCSP response" in caller.log_text(),
        "the caller to notice that it is revoked",
        seconds=20,
    )
    with pytest.raises(StepFailed):
        caller.initiate()
    assert "not known, and revocation is strict" in last_error(called)
    story.nothing_passes()


def ocsp_about(
    root: Authority, credential: Credential, revoked: dt.datetime | None = None
) -> bytes:
    certificate = x509.load_pem_x509_certificate(credential.certificates[0].encode())
    response = make_ocsp_response(
        certificate, root.certificate, NOW, DAY, signer=root, revoked=revoked
    )
    return response.public_bytes(Encoding.DER)


class Refusal(NamedTuple):
    """What strongSwan gets, what we have beside it, and what we say."""

    strongswan: Callable[[Authority, str], Credential]
    words: str
    crl: Callable[[Authority, Credential], str] | None = None


def revoked(root: Authority, credential: Credential) -> str:
    serial = x509.load_pem_x509_certificate(credential.certificates[0].encode()).serial_number
    crl = make_crl(root, [(serial, NOW - DAY)], 1, NOW, DAY)
    return pem(crl.public_bytes(Encoding.PEM))


REFUSALS = {
    "wrong name": Refusal(
        lambda root, name: made(root, f"not-{name}"),
        "has not-east.example in subjectAltName",
    ),
    "expired": Refusal(
        lambda root, name: made(root, name, at=NOW - 9 * DAY, lifetime=3 * DAY),
        "expired on",
    ),
    "untrusted": Refusal(
        lambda root, name: made(authority("Other", number=7, at=NOW), name, trusts=root),
        "not an authority in ca",
    ),
    "revoked": Refusal(made, "is revoked", revoked),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("we_call", [True, False], ids=["we-call", "strongswan-calls"])
def test_what_we_refuse_and_say(lab: Lab, refusal: Refusal, we_call: bool) -> None:
    root = root_of()
    west, east = two_sites(lab)
    theirs = refusal.strongswan(root, east.identity)
    mine = made(root, west.identity)
    if refusal.crl is not None:
        mine = replace(mine, crl=refusal.crl(root, theirs))
    ours = Ipsecme(west, TUNNEL, remote=east, credential=mine)
    strongswan = StrongSwan(east, TUNNEL, remote=west, credential=theirs)

    story = Story(lab, ours, strongswan)
    with pytest.raises(StepFailed):
        (ours if we_call else strongswan).initiate()
    wait_until(
        lambda: refusal.words in last_error(ours),
        f"us to say {refusal.words!r}",
        seconds=10,
        explain=lambda: last_error(ours),
    )
    story.nothing_passes()
    assert not [sa for sa in ours.sas() if sa.established]


def last_error(ours: Ipsecme) -> str:
    (connection,) = ours.status().connections
    return connection.last_error.detail if connection.last_error else ""
