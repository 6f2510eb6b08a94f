"""CRLs by URL: what is fetched, from where, how much of it, and nothing too soon."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.resolver import ThreadedResolver
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ipsecme.crypto.certificate_issue import make_crl
from ipsecme.crypto.certificate_path import PathRefused, TrustedPath
from ipsecme.crypto.signature_keys import SigningKey
from ipsecme.daemon import fetch
from ipsecme.daemon.answers import Answers
from ipsecme.daemon.certificates import ChainChecker
from ipsecme.daemon.fetch import Fetcher, FetchFailed
from ipsecme.daemon.revocation import NewsUrls, Url
from ipsecme.dataplane.memory import MemoryDataPlane, MemoryNetwork
from ipsecme.ike.auth.trust import Credential, Revocation, Trust
from ipsecme.ike.commands import CheckChain
from ipsecme.ike.endpoint import Endpoint
from ipsecme.ike.events import IkeSaEstablished, IkeSaFailed
from support.certificates import AT, authority, key, leaf, of
from support.drivers import EAST, INNER, WEST, Node, Wire, make_endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ipsecme.crypto.certificate import Certificate

ROOT = authority("Root", number=1)
DAY = dt.timedelta(days=1)
NORTH = "192.0.2.3"
INNER.setdefault(NORTH, "10.3.0.0/24")


class Server:
    """A web server on loopback that counts who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.called = asyncio.Event()
        self.body = b""
        self.url = ""
        self.target = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.called.set()
        match request.path:
            case "/crl":
                return web.Response(body=self.body)
            case "/large":
                return web.Response(body=bytes(1 << 20))
            case "/slow":
                await asyncio.sleep(60)
            case "/drip":
                reply = web.StreamResponse()
                await reply.prepare(request)
                while True:
                    await reply.write(b"x")
                    await asyncio.sleep(0.02)
            case "/loop":
                raise web.HTTPFound("/loop")
            case "/moved":
                raise web.HTTPFound("/crl")
            case "/elsewhere":
                raise web.HTTPFound(self.target)
            case "/file":
                raise web.HTTPFound("file:///etc/passwd")
        raise web.HTTPNotFound


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server, application = Server(), web.Application()
    application.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def with_server(test: Callable[[Server], Awaitable[None]]) -> None:
    async def run() -> None:
        async with serving() as server:
            await test(server)

    asyncio.run(run())


# the fetcher


def test_octets_come_also_after_a_redirect() -> None:
    async def test(server: Server) -> None:
        server.body = b"what a CRL would be"
        for path in ("/crl", "/moved"):
            assert await Fetcher().get(server.url + path, public_only=False) == server.body

    with_server(test)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/large", "gives more than 1000 octets"),
        ("/slow", "no answer within 0.3 seconds"),
        ("/drip", "no answer within 0.3 seconds"),
        ("/loop", "more than 3 redirects"),
        ("/file", "is no URL of HTTP"),
        ("/nothing", "status 404"),
    ],
)
def test_answers_that_are_not_taken(path: str, words: str) -> None:
    async def test(server: Server) -> None:
        fetcher = Fetcher(seconds=0.3, octets=1000)
        with pytest.raises(FetchFailed, match=words):
            await fetcher.get(server.url + path, public_only=False)

    with_server(test)


INNER_HOSTS = [
    *("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"),
    *("[fe80::1%25lo]", "0.0.0.0", "2130706433", "127.1", "0177.0.0.1", "0x7f000001"),
    *("[::127.0.0.1]", "[fec0::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "me@127.0.0.1"),
    *("\uff11\uff12\uff17.0.0.1", "\u2460\u2461\u2466.0.0.1"),  # other digits of Unicode
]


def test_inner_addresses_are_left_alone() -> None:
    async def test(server: Server) -> None:
        port = server.url.rpartition(":")[2]
        for host in INNER_HOSTS:
            with pytest.raises(FetchFailed):
                await Fetcher(seconds=2).get(f"http://{host}:{port}/crl", public_only=True)
        assert not server.asked

    with_server(test)


def test_names_that_lead_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What DNS says is judged, and what passed is what is connected to: asked once for a visit."""
    asked: list[str] = []
    answers = [["127.0.0.1"], ["10.1.2.3", "fd00::1"], ["127.0.0.1", "169.254.169.254", "::1"]]

    async def resolve(
        _self: object, host: str, port: int = 0, family: int = 0
    ) -> list[dict[str, object]]:
        asked.append(host)
        return [
            {"hostname": host, "host": address, "port": port, "family": family, "proto": 0,
             "flags": 0}
            for address in answers[len(asked) - 1]
        ]  # fmt: skip

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    for number in range(1, 4):
        with pytest.raises(FetchFailed, match="has no public address"):
            asyncio.run(Fetcher().get("http://crl.example.com/", public_only=True))
        assert len(asked) == number


def test_a_second_answer_of_dns_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server counts as public here; whoever asked DNS again would be led to another."""

    async def test(server: Server) -> None:
        port = int(server.url.rpartition(":")[2])
        asked: list[str] = []

        async def resolve(
            _self: object, host: str, port: int = 0, _family: int = 0
        ) -> list[dict[str, object]]:
            asked.append(host)
            address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
            return [
                {"hostname": host, "host": address, "port": port, "family": socket.AF_INET,
                 "proto": 0, "flags": 0}
            ]  # fmt: skip

        monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
        monkeypatch.setattr(fetch, "_is_inside", lambda host: host == "127.0.0.2")
        server.body = b"news"
        url = f"http://crl.example.com:{port}/crl"
        assert await Fetcher().get(url, public_only=True) == b"news"
        assert asked == ["crl.example.com"]
        with pytest.raises(FetchFailed, match="has no public address"):
            await Fetcher().get(url, public_only=True)
        assert server.asked == ["/crl"]

    with_server(test)


def test_a_redirect_does_not_lead_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(server: Server) -> None:
        monkeypatch.setattr(fetch, "_is_inside", lambda host: host == "127.0.0.2")
        port = server.url.rpartition(":")[2]
        server.target = f"http://127.0.0.2:{port}/crl"
        with pytest.raises(FetchFailed, match=r"127\.0\.0\.2.* not public"):
            await Fetcher().get(f"{server.url}/elsewhere", public_only=True)
        assert server.asked == ["/elsewhere"]

    with_server(test)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://", "gopher://x", ""])
def test_other_urls(url: str) -> None:
    with pytest.raises(FetchFailed):
        asyncio.run(Fetcher().get(url, public_only=False))


def test_no_server_at_all() -> None:
    with pytest.raises(FetchFailed, match=r"127\.0\.0\.1:9"):
        asyncio.run(Fetcher().get("http://127.0.0.1:9/crl", public_only=False))


# when CRLs are fetched


def question(certificate: Certificate, *sources: str, follow: str = "off") -> CheckChain:
    revocation = Revocation("strict", sources, follow)  # type: ignore[arg-type]
    return CheckChain(1, "test", Trust(tuple(of(ROOT)), revocation=revocation), certificate, ())


def crl(*serials: int) -> bytes:
    made = make_crl(ROOT, [(serial, AT - DAY) for serial in serials], 1, AT, DAY)
    return made.public_bytes(Encoding.DER)


def with_point(url: str, number: int = 0) -> Certificate:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    points = x509.CRLDistributionPoints([point])
    return leaf(ROOT, "gw.example", number=number, extensions=[(points, False)])


async def judge(checker: ChainChecker, asked: CheckChain, now: float = 0) -> str:
    """Answer as the driver does; return nothing for trust, else the reason."""
    if urls := checker.missing(asked, now, AT):
        await checker.fetch(urls, now)
    answer = checker.check(asked, AT)
    return "" if isinstance(answer, TrustedPath) else str(answer)


def test_urls_of_the_configuration_and_of_certificates() -> None:
    async def test(server: Server) -> None:
        url = f"{server.url}/crl"
        good, bad = leaf(ROOT, "gw.example"), leaf(ROOT, "gw.example")
        server.body = crl(bad.library.serial_number)
        checker = ChainChecker()
        assert not await judge(checker, question(good, url))
        assert "is revoked" in await judge(checker, question(bad, url))
        assert server.asked == ["/crl"]  # and kept
        pointing = with_point(url)
        assert not await judge(ChainChecker(), question(pointing, follow="any"))
        assert "not known" in await judge(ChainChecker(), question(pointing, follow="off"))
        assert "not known" in await judge(ChainChecker(), question(pointing, follow="public"))
        assert len(server.asked) == 2

    with_server(test)


@pytest.mark.requirement("CRT-01")
def test_nothing_is_fetched_for_a_certificate_that_is_not_trusted() -> None:
    async def test(server: Server) -> None:
        point = x509.DistributionPoint(
            [x509.UniformResourceIdentifier(f"{server.url}/crl")], None, None, None
        )
        points = [(x509.CRLDistributionPoints([point]), False)]
        other = leaf(authority("Other", number=5), "gw.example", extensions=points)
        old = leaf(ROOT, "gw.example", at=AT - 9 * DAY, lifetime=DAY, extensions=points)
        for certificate in (other, old):
            assert await judge(ChainChecker(), question(certificate, follow="any"))
        assert not server.asked

    with_server(test)


def test_a_failure_is_not_repeated_at_once_and_the_last_news_stays() -> None:
    async def test(server: Server) -> None:
        url, certificate = f"{server.url}/crl", leaf(ROOT, "gw.example")
        server.body = b"nonsense"
        checker = ChainChecker()
        asked = question(certificate, url)
        for now in (0.0, 30.0):
            assert "not known" in await judge(checker, asked, now)
        assert len(server.asked) == 1
        server.body = crl()
        assert not await judge(checker, asked, 61.0)
        assert len(server.asked) == 2

    with_server(test)


@pytest.mark.requirement("CRT-02")
def test_what_is_kept_is_bounded() -> None:
    async def test(server: Server) -> None:
        server.body = crl()
        urls = NewsUrls()
        wanted = [Url(f"{server.url}/crl?{number}", public_only=False) for number in range(70)]
        for url in wanted:
            await urls.fetch([url], 0)
        assert len(urls.read(wanted)) == 64

    with_server(test)


def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    certificate = leaf(ROOT, "gw.example")
    path = tmp_path / "ca.crl"
    checker, asked = ChainChecker(), question(certificate, str(path))

    def result() -> str:
        answer = checker.check(asked, AT)
        return "" if isinstance(answer, TrustedPath) else str(answer)

    assert "there is no CRL" in result()
    path.write_bytes(crl())
    assert not result()
    path.write_bytes(crl(certificate.library.serial_number))
    assert "is revoked" in result()
    path.write_bytes(b"nonsense")
    assert "not known" in result()
    path.unlink()
    assert isinstance(checker.check(asked, AT), PathRefused)


# within the daemon


def gateways(url: str) -> tuple[Endpoint, Endpoint, Endpoint]:
    """West proves itself by a certificate, whose CRL east fetches; north has a secret."""
    now = dt.datetime.now(dt.UTC)
    root = authority("Root", number=1, at=now)
    points = [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)]
    own = leaf(root, WEST, at=now, extensions=[(x509.CRLDistributionPoints(points), False)])
    credential = Credential(SigningKey(key()), (own,))
    trust = Trust(tuple(of(root)), revocation=Revocation("strict", follow="any"))
    west = with_peers(make_endpoint(WEST, EAST), credentials=(credential,))
    east = make_endpoint(EAST, WEST)
    north = make_endpoint(EAST, NORTH).config.peers[0]
    signing = replace(east.config.peers[0], trust=trust)
    both = Endpoint(replace(east.config, peers=(signing, replace(north, name="north"))))
    return west, both, make_endpoint(NORTH, EAST)


def with_peers(endpoint: Endpoint, **changes: object) -> Endpoint:
    (only,) = endpoint.config.peers
    changed = replace(only, **changes)  # type: ignore[arg-type]
    return Endpoint(replace(endpoint.config, peers=(changed,)))


@pytest.mark.requirement("CRT-01")
def test_a_server_that_never_answers_delays_nobody_else() -> None:
    async def test(server: Server) -> None:
        wire, network = Wire(), MemoryNetwork()
        made = gateways(f"{server.url}/slow")
        west, east, north = (
            Node(wire, address, endpoint, MemoryDataPlane(network, (address,)))
            for address, endpoint in zip((WEST, EAST, NORTH), made, strict=True)
        )
        checker = ChainChecker(NewsUrls(Fetcher(seconds=1.0)))
        east.driver._answers = Answers(east.driver._answer_later, checker=checker)
        nodes = (west, east, north)
        for node in nodes:
            await node.start()
        try:
            west.driver.operate(lambda now: made[0].initiate("site", None, now))
            async with asyncio.timeout(10):
                await server.called.wait()
            north.driver.operate(lambda now: made[2].initiate("site", None, now))
            await north.until(IkeSaEstablished)
            assert not [e for e in east.events if isinstance(e, IkeSaFailed)]
            refusal = await east.until(IkeSaFailed)
            assert isinstance(refusal, IkeSaFailed)
            assert "not known, and revocation is strict" in refusal.detail
            assert server.asked == ["/slow"]
        finally:
            for node in nodes:
                await node.stop()

    with_server(test)
