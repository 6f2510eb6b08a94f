"""OCSP in the daemon: from files, from responders, and for peers that ask us."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from typer.testing import CliRunner

from ipsecme.cli.main import app
from ipsecme.crypto.certificate_issue import make_ocsp_response
from ipsecme.crypto.certificate_ocsp import OcspResponse, encode_request
from ipsecme.crypto.certificate_path import TrustedPath
from ipsecme.daemon.certificates import ChainChecker
from ipsecme.daemon.configuration import load
from ipsecme.daemon.fetch import Fetcher, FetchFailed
from ipsecme.daemon.own_ocsp import OwnCertificate, OwnOcsp
from ipsecme.daemon.revocation import OcspQuery, ask_responder
from ipsecme.ike.auth.trust import Revocation, Trust
from ipsecme.ike.commands import CheckChain
from support.certificates import AT, authority, leaf, of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ipsecme.crypto.certificate import Certificate

ROOT = authority("Root", number=1)
(ISSUER,) = of(ROOT)
LEAF = leaf(ROOT, "gw.example")
DAY = dt.timedelta(days=1)


class Responder:
    """An OCSP responder on loopback; `at` is what time it thinks it is."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.at = AT
        self.revoked: set[int] = set()
        self.with_nonce = True
        self.nonce: bytes | None = None
        self.body: bytes | None = None
        self.known: list[Certificate] = [LEAF]
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        assert request.method == "POST"
        assert request.content_type == "application/ocsp-request"
        if request.path == "/moved":
            raise web.HTTPTemporaryRedirect("/")
        asked = ocsp.load_der_ocsp_request(await request.read())
        self.asked.append(asked.serial_number)
        (extension,) = asked.extensions
        assert isinstance(extension.value, x509.OCSPNonce)
        nonce = self.nonce or extension.value.nonce
        about = next(c for c in self.known if c.library.serial_number == asked.serial_number)
        made = make_ocsp_response(
            about.library,
            ROOT.certificate,
            self.at,
            DAY,
            signer=ROOT,
            revoked=self.at - DAY if asked.serial_number in self.revoked else None,
            nonce=nonce if self.with_nonce else None,
        )
        body = made.public_bytes(Encoding.DER) if self.body is None else self.body
        return web.Response(body=body, content_type="application/ocsp-response")


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Responder]:
    responder, application = Responder(), web.Application()
    application.router.add_route("*", "/{path:.*}", responder.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    responder.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield responder
    finally:
        await runner.cleanup()


def with_responder(test: Callable[[Responder], Awaitable[None]]) -> None:
    async def run() -> None:
        async with serving() as responder:
            await test(responder)

    asyncio.run(run())


def question(certificate: Certificate, revocation: Revocation, *stapled: bytes) -> CheckChain:
    trust = Trust(tuple(of(ROOT)), revocation=revocation)
    return CheckChain(1, "test", trust, certificate, (), stapled)


async def judge(checker: ChainChecker, asked: CheckChain, now: float = 0) -> str:
    """Answer as the driver does; return nothing for trust, else the reason."""
    if wanted := checker.missing(asked, now, AT):
        await checker.fetch(wanted, now)
    answer = checker.check(asked, AT)
    return "" if isinstance(answer, TrustedPath) else str(answer)


def stapled(certificate: Certificate = LEAF, *, at: dt.datetime = AT) -> bytes:
    made = make_ocsp_response(certificate.library, ROOT.certificate, at, DAY, signer=ROOT)
    return made.public_bytes(Encoding.DER)


def test_a_responder_of_the_configuration() -> None:
    async def test(responder: Responder) -> None:
        checker = ChainChecker()
        asked = question(LEAF, Revocation("strict", ocsp=(responder.url,)))
        assert not await judge(checker, asked)
        assert not await judge(checker, asked, now=200)
        assert responder.asked == [LEAF.library.serial_number]  # and kept
        responder.revoked.add(LEAF.library.serial_number)
        assert "says OCSP" in await judge(ChainChecker(), asked)

    with_responder(test)


def test_a_responder_that_the_certificate_names() -> None:
    async def test(responder: Responder) -> None:
        access = x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(
                    AuthorityInformationAccessOID.OCSP,
                    x509.UniformResourceIdentifier(responder.url),
                )
            ]
        )
        pointing = leaf(ROOT, "gw.example", extensions=[(access, False)])
        assert pointing.ocsp_urls == (responder.url,)
        responder.known.append(pointing)
        following = Revocation("strict", ocsp_follow="any")
        assert not await judge(ChainChecker(), question(pointing, following))
        for follow in ("off", "public"):
            alone = Revocation("strict", ocsp_follow=follow)
            assert "not known" in await judge(ChainChecker(), question(pointing, alone))
        assert len(responder.asked) == 1

    with_responder(test)


@pytest.mark.requirement("R4806-004", "R4806-005")
def test_what_the_peer_sent_saves_asking() -> None:
    async def test(responder: Responder) -> None:
        told = Revocation("strict", ocsp=(responder.url,))
        assert not await judge(ChainChecker(), question(LEAF, told, stapled()))
        assert not responder.asked
        old = stapled(at=AT - 3 * DAY)
        assert not await judge(ChainChecker(), question(LEAF, told, b"nonsense", old))
        assert len(responder.asked) == 1  # for what is too old is no answer

    with_responder(test)


def test_a_peer_with_too_many_responses() -> None:
    rest = (b"",) * 4
    asked = question(LEAF, Revocation("strict"), *rest, stapled())
    assert "not known" in asyncio.run(judge(ChainChecker(), asked))
    assert not asyncio.run(judge(ChainChecker(), question(LEAF, Revocation("strict"), stapled())))


def test_a_response_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "gw.ocsp"
    asked = question(LEAF, Revocation("strict", ocsp=(str(path),)))
    checker = ChainChecker()
    assert "no CRL" in asyncio.run(judge(checker, asked))
    path.write_bytes(stapled())
    assert not asyncio.run(judge(checker, asked))
    path.write_bytes(b"nonsense")
    assert "not known" in asyncio.run(judge(checker, asked))


@pytest.mark.parametrize("with_nonce", [True, False])
def test_nonces_are_compared_where_they_are_sent(with_nonce: bool) -> None:
    async def test(responder: Responder) -> None:
        responder.with_nonce, responder.nonce = with_nonce, b"of another request"
        asked = question(LEAF, Revocation("strict", ocsp=(responder.url,)))
        assert bool(await judge(ChainChecker(), asked)) == with_nonce

    with_responder(test)


def test_answers_that_are_not_taken() -> None:
    async def test(responder: Responder) -> None:
        query = OcspQuery(responder.url, public_only=False, certificate=LEAF, issuer=ISSUER)
        moved = replace(query, text=responder.url + "moved")
        with pytest.raises(FetchFailed, match="status 307"):
            await ask_responder(Fetcher(), moved)
        responder.body = bytes(16385)
        with pytest.raises(FetchFailed, match="more than 16384 octets"):
            await ask_responder(Fetcher(), query)
        responder.body = None
        with pytest.raises(FetchFailed, match="not public"):
            await ask_responder(Fetcher(), replace(query, public_only=True))
        assert len(responder.asked) == 1

    with_responder(test)


# for peers that ask us


@pytest.mark.requirement("R4806-006")
def test_our_own_response_is_kept_fresh(tmp_path: Path) -> None:
    told: list[bytes | None] = []

    async def test(responder: Responder) -> None:
        path = tmp_path / "own.ocsp"
        own = OwnCertificate(LEAF, ISSUER, (str(path), responder.url))
        keeper = OwnOcsp([own], lambda _, response: told.append(response))
        await keeper.refresh(AT)
        await keeper.refresh(AT + dt.timedelta(minutes=30))
        assert len(told) == len(responder.asked) == 1
        responder.at = AT + dt.timedelta(hours=2)
        await keeper.refresh(responder.at)  # time to ask again
        assert len(told) == len(responder.asked) == 2
        assert told[0] != told[1]
        path.write_bytes(stapled(at=responder.at))  # a file comes first where it stands first
        await keeper.refresh(responder.at)
        assert told[-1] == path.read_bytes()
        path.unlink()
        responder.revoked.add(LEAF.library.serial_number)
        responder.at = AT + dt.timedelta(hours=4)
        await keeper.refresh(responder.at)
        assert told[-1] is None  # nobody is shown that we are revoked

    with_responder(test)


def test_a_response_that_got_old_is_not_shown_any_more(tmp_path: Path) -> None:
    told: list[bytes | None] = []
    path = tmp_path / "own.ocsp"
    path.write_bytes(stapled())
    keeper = OwnOcsp([OwnCertificate(LEAF, ISSUER, (str(path),))], lambda _, r: told.append(r))
    asyncio.run(keeper.refresh(AT))
    asyncio.run(keeper.refresh(AT + 2 * DAY))
    assert told == [path.read_bytes(), None]


# the command, and openssl as a second opinion


def pki(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["pki", *arguments, "--dir", str(folder / "pki")])
    assert result.exit_code == 0, result.output
    return str(result.output)


def openssl(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["openssl", "ocsp", *arguments],
        cwd=folder / "pki", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_openssl_believes_what_we_sign(tmp_path: Path) -> None:
    pki(tmp_path, "ca")
    pki(tmp_path, "issue", "gw.example")
    verify = "-respin", "gw.example.ocsp", "-CAfile", "ca.pem", "-issuer", "ca.pem"
    assert "good, for 7 days" in pki(tmp_path, "ocsp", "gw.example")
    said = openssl(tmp_path, *verify, "-cert", "gw.example.pem", "-no_nonce")
    assert "Response verify OK" in said
    assert "gw.example.pem: good" in said
    pki(tmp_path, "revoke", "gw.example")
    report = json.loads(pki(tmp_path, "ocsp", "gw.example", "--json"))
    assert report["standing"] == "revoked"
    assert "gw.example.pem: revoked" in openssl(tmp_path, *verify, "-cert", "gw.example.pem")
    shown = CliRunner().invoke(app, ["pki", "show", str(tmp_path / "pki/gw.example.ocsp")])
    assert "revoked since" in shown.output
    refused = CliRunner().invoke(app, ["pki", "ocsp", "nobody", "--dir", str(tmp_path / "pki")])
    assert refused.exit_code == 2
    assert "issued: gw.example" in refused.output


def test_we_understand_a_request_and_an_answer_of_openssl(tmp_path: Path) -> None:
    """openssl answers our request as a responder with a certificate of its own would."""
    now = dt.datetime.now(dt.UTC)
    root = authority("Root", number=1, at=now)
    own = leaf(root, "gw.example", at=now)
    folder = tmp_path / "pki"
    folder.mkdir()
    private = root.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ca.key").write_bytes(private)
    (folder / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (folder / "gw.pem").write_bytes(own.library.public_bytes(Encoding.PEM))
    serial = f"{own.library.serial_number:X}"
    serial = serial if len(serial) % 2 == 0 else f"0{serial}"
    end = f"{own.not_after:%y%m%d%H%M%SZ}"
    (folder / "index.txt").write_text(f"V\t{end}\t\t{serial}\tunknown\t/CN=leaf\n")
    (issuer,) = of(root)
    (folder / "request.der").write_bytes(encode_request(own, issuer, b"sixteen octets!!"))
    said = openssl(
        tmp_path, "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key",
        "-reqin", "request.der", "-respout", "response.der", "-ndays", "1",
    )  # fmt: skip
    response = OcspResponse.decode((folder / "response.der").read_bytes())
    assert response.nonce == b"sixteen octets!!", said
    trust = Trust((issuer,), revocation=Revocation("strict"))
    asked = CheckChain(1, "test", trust, own, (), (response.der,))
    assert isinstance(ChainChecker().check(asked), TrustedPath)


# in the configuration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pki(tmp_path, "ca")
    pki(tmp_path, "issue", "gw.example")
    pki(tmp_path, "ocsp", "gw.example")
    return tmp_path


def configured(folder: Path, settings: str) -> Path:
    path = folder / "ipsecme.toml"
    path.write_text(
        '[connections.east]\nremote = "192.0.2.2"\nlocal = "127.0.0.1"\n'
        'cert = "pki/gw.example.pem"\nkey = "pki/gw.example.key"\nremote_id = "east.example"\n'
        f'local_ts = ["10.1.0.0/24"]\nremote_ts = ["10.2.0.0/24"]\n{settings}\n'
    )
    return path


@pytest.mark.requirement("R4806-007")
def test_settings(folder: Path) -> None:
    path = configured(
        folder,
        'ca = ["pki/ca.pem"]\nocsp = ["pki/gw.example.ocsp", "http://192.0.2.9/"]\n'
        'ocsp_fetch = "public"\nocsp_responder = "pki/ca.pem"\nocsp_max_age = "1d"\n'
        'ocsp_own = ["pki/gw.example.ocsp"]',
    )
    (peer,) = load(path).endpoint.peers
    assert peer.trust is not None
    told = peer.trust.revocation
    file = str(folder / "pki/gw.example.ocsp")
    assert told.policy == "soft"
    assert told.ocsp == (file, "http://192.0.2.9/")
    assert (told.ocsp_follow, told.ocsp_max_age, len(told.responders)) == ("public", 86400, 1)
    assert peer.credentials[0].ocsp == (file,)
    assert peer.credentials[0].issuer == peer.trust.authorities[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('ca = ["pki/ca.pem"]\nocsp = ["pki/ca.pem"]', "cannot be read"),
        ('ca = ["pki/ca.pem"]\nocsp = ["ftp://x/y"]', "neither a file nor a URL"),
        ('ca = ["pki/ca.pem"]\nocsp_own = ["absent"]', "No such file"),
        ('remote_key = "pki/ca.pem"\nocsp = ["pki/gw.example.ocsp"]', "add ca, too"),
        ('remote_key = "pki/ca.pem"\nocsp_fetch = "any"', "add ca, too"),
        ('remote_key = "pki/ca.pem"\nocsp_own = ["pki/gw.example.ocsp"]', "who issued"),
    ],
)
def test_mistakes(folder: Path, settings: str, words: str) -> None:
    result = CliRunner().invoke(app, ["check", "--config", str(configured(folder, settings))])
    assert result.exit_code == 1
    assert words in result.output
