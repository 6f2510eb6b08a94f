"""Certificates by SHA-1 and URL in the daemon: bounded, checked, and kept."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from typer.testing import CliRunner

from ipsecme.cli.main import app
from ipsecme.crypto.certificate_bundle import Location, LocationUnfit
from ipsecme.daemon.answers import Answers
from ipsecme.daemon.configuration import load
from ipsecme.daemon.fetch import Fetcher
from ipsecme.daemon.lookup import Lookup
from ipsecme.ike.commands import FetchCertificates
from support.certificates import authority, leaf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

ROOT = authority("Root", number=1)
LEAF = leaf(ROOT, "gw.example")


class Pages:
    """A web server on loopback; `gate` holds its answers back while it is closed."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {"/gw": LEAF.der}
        self.asked: list[str] = []
        self.arrivals: asyncio.Queue[str] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.base = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.arrivals.put_nowait(request.path)
        await self.gate.wait()
        if request.path == "/inside":
            raise web.HTTPFound(self.base + "/gw")
        if request.path not in self.content:
            raise web.HTTPNotFound
        return web.Response(body=self.content[request.path])

    def location(self, path: str, content: bytes = LEAF.der) -> Location:
        return Location.of(content, self.base + path, is_bundle=False)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Pages]:
    pages, application = Pages(), web.Application()
    application.router.add_get("/{path:.*}", pages.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    pages.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield pages
    finally:
        pages.gate.set()
        await runner.cleanup()


def with_pages(test: Callable[[Pages], Awaitable[None]]) -> None:
    async def run() -> None:
        async with serving() as pages:
            await test(pages)

    asyncio.run(run())


def question(*locations: Location, remote: str = "192.0.2.1", reach: str = "any",
             number: int = 1) -> FetchCertificates:  # fmt: skip
    return FetchCertificates(number, "test", remote, reach, locations)  # type: ignore[arg-type]


@pytest.mark.requirement("R7296-197")
def test_what_is_found_is_kept_and_what_does_not_match_is_not() -> None:
    async def test(pages: Pages) -> None:
        lookup = Lookup()
        pages.content["/other"] = b"something else"
        asked = question(pages.location("/gw"))
        assert lookup.known(asked) is None
        assert await lookup.find(asked) == (LEAF.der,)
        elsewhere = question(pages.location("/anywhere"))  # the same SHA-1 under another URL
        assert lookup.known(asked) == lookup.known(elsewhere) == (LEAF.der,)
        wrong = await Lookup().find(question(pages.location("/other")))
        assert isinstance(wrong, LocationUnfit)
        assert "gives something with SHA-1" in str(wrong)
        assert pages.asked == ["/gw", "/other"]

    with_pages(test)


@pytest.mark.requirement("R7296-196")
def test_what_is_too_large_missing_or_inside() -> None:
    async def test(pages: Pages) -> None:
        pages.content["/large"] = bytes(16385)
        refusals = {
            "more than 16384 octets": question(pages.location("/large")),
            "status 404": question(pages.location("/gw"), pages.location("/none", b"x")),
            "not public": question(pages.location("/gw"), reach="public"),
        }
        for words, asked in refusals.items():
            answer = await Lookup().find(asked)
            assert isinstance(answer, LocationUnfit)
            assert words in str(answer)
        assert await Lookup().find(question(pages.location("/inside"))) == (LEAF.der,)

    with_pages(test)


def test_a_server_that_does_not_answer() -> None:
    async def test(pages: Pages) -> None:
        pages.gate.clear()
        answer = await Lookup(Fetcher(seconds=0.2)).find(question(pages.location("/gw")))
        assert "no answer within 0.2 seconds" in str(answer)

    with_pages(test)


def test_few_lookups_at_once_altogether_and_for_one_peer() -> None:
    async def test(pages: Pages) -> None:
        pages.gate.clear()
        lookup, tasks = Lookup(), []
        asked = pages.location("/gw")
        for address in range(8):
            for _ in range(2):
                one = question(asked, remote=f"192.0.{address}.1")
                tasks.append(asyncio.create_task(lookup.find(one)))
        await asyncio.sleep(0)
        third = await lookup.find(question(asked, remote="192.0.0.77"))
        assert "too many lookups" in str(third)
        stranger = await lookup.find(question(asked, remote="192.0.99.1"))
        assert "too many lookups" in str(stranger)
        pages.gate.set()
        assert set(await asyncio.gather(*tasks)) == {(LEAF.der,)}
        assert await lookup.find(question(asked, remote="192.0.99.1")) == (LEAF.der,)

    with_pages(test)


def test_quiet_servers_hold_up_nobody_else() -> None:
    async def test(pages: Pages) -> None:
        pages.gate.clear()
        lookup = Lookup()
        content = {number: bytes((number,)) for number in range(4)}
        waiting = [
            asyncio.create_task(
                lookup.find(
                    question(
                        *(pages.location(f"/{n}", c) for n, c in content.items()),
                        remote=f"2001:db8:{network}::1",
                    )
                )
            )
            for network in range(15)
        ]
        for _ in range(60):
            await asyncio.wait_for(pages.arrivals.get(), 10)
        last = asyncio.create_task(lookup.find(question(pages.location("/gw"))))
        assert await asyncio.wait_for(pages.arrivals.get(), 10) == "/gw"
        pages.gate.set()
        assert await last == (LEAF.der,)
        assert all(isinstance(one, LocationUnfit) for one in await asyncio.gather(*waiting))

    with_pages(test)


def test_what_is_kept_is_bounded() -> None:
    async def test(pages: Pages) -> None:
        lookup = Lookup()
        contents = [number.to_bytes(2) * 50 for number in range(130)]
        for number, content in enumerate(contents):
            pages.content[f"/{number}"] = content
            await lookup.find(question(pages.location(f"/{number}", content)))
        kept = [c for c in contents if lookup.known(question(pages.location("/", c)))]
        assert kept == contents[-128:]

    with_pages(test)


def test_answers_come_later_and_the_next_time_at_once() -> None:
    async def test(pages: Pages) -> None:
        given: asyncio.Queue[tuple[int, object]] = asyncio.Queue()
        answers = Answers(lambda number, answer: given.put_nowait((number, answer)))
        asked = question(pages.location("/gw"), number=7)
        assert answers.take(asked) is None
        assert await asyncio.wait_for(given.get(), 10) == (7, (LEAF.der,))
        assert answers.take(asked) == (LEAF.der,)
        pages.gate.clear()
        assert answers.take(question(pages.location("/none", b"x"))) is None
        await answers.stop()
        assert given.empty()

    with_pages(test)


# in the configuration


def configured(folder: Path, settings: str) -> Path:
    path = folder / "ipsecme.toml"
    path.write_text(
        '[connections.east]\nremote = "192.0.2.2"\nlocal = "127.0.0.1"\n'
        'key = "pki/gw.example.key"\nremote_id = "east.example"\nca = ["pki/ca.pem"]\n'
        f'local_ts = ["10.1.0.0/24"]\nremote_ts = ["10.2.0.0/24"]\n{settings}\n'
    )
    return path


def pki(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["pki", *arguments])
    assert result.exit_code == 0, result.output
    return str(result.output)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pki("ca", "--dir", str(tmp_path / "pki"))
    pki("issue", "gw.example", "--dir", str(tmp_path / "pki"))
    return tmp_path


@pytest.mark.requirement("R7296-196")
@pytest.mark.parametrize(("key", "suffix"), [("cert_url", ".cer"), ("cert_bundle_url", ".bundle")])
def test_what_is_published_is_what_the_daemon_names(folder: Path, key: str, suffix: str) -> None:
    pem = folder / "pki/gw.example.pem"
    assert key in pki("publish", str(pem))
    url = f"http://192.0.2.9/gw{suffix}"
    settings = f'cert = "pki/gw.example.pem"\n{key} = "{url}"\ncert_fetch = "public"'
    (peer,) = load(configured(folder, settings)).endpoint.peers
    published = pem.with_suffix(suffix).read_bytes()
    location = peer.credentials[0].location
    assert location == Location.of(published, url, is_bundle=suffix == ".bundle")
    assert peer.trust is not None
    assert peer.trust.lookup == "public"


CERT = 'cert = "pki/gw.example.pem"\n'


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (CERT + 'cert_url = "https://192.0.2.9/"', "begins with http://"),
        (CERT + 'cert_url = "http://b\u00fccher.example/"', "no peer could use it"),
        (CERT + 'cert_url = ["http://a/", "http://b/"]', "2 URLs for 1 certificates"),
        (CERT + 'cert_url = "http://a/"\ncert_bundle_url = "http://a/"', "keep one"),
        (CERT + 'cert_fetch = "yes"', "cert_fetch"),
        ('cert_url = "http://a/"', "add cert, too"),
    ],
)
def test_mistakes(folder: Path, settings: str, words: str) -> None:
    result = CliRunner().invoke(app, ["check", "--config", str(configured(folder, settings))])
    assert result.exit_code == 1
    assert words in result.output
