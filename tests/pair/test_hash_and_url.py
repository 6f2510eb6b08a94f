"""Certificates by SHA-1 and URL between two engines: what is sent, asked for, and refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest

from ipsecme.crypto.certificate_bundle import Location, encode_bundle
from ipsecme.crypto.signature_keys import SigningKey
from ipsecme.ike.auth.trust import Credential, Trust
from ipsecme.ike.config import AdmissionConfig
from ipsecme.ike.events import IkeSaEstablished, IkeSaFailed
from ipsecme.wire.ike import CertPayload
from ipsecme.wire.numbers import CertEncoding
from support.certificates import authority, key, leaf, of
from support.pair import Node, Pair, peer

if TYPE_CHECKING:
    from ipsecme.ike.config import PeerConfig

ROOT = authority("Root", number=1)
MIDDLE = authority("Middle", ROOT, number=2)
LOW = authority("Low", MIDDLE, number=3)
A_NAME, B_NAME = "a.example.com", "b.example.com"
URL = "http://certs.example.com/a.cer"
Reach = Literal["off", "public", "any"]


def credential(name: str, *, url: str = "", bundle: bool = False) -> Credential:
    """Return a credential with three certificates, the first or all of them at a URL."""
    chain = (leaf(LOW, name), *of(LOW, MIDDLE))
    content = content_of(chain[0].der, *(c.der for c in chain[1:])) if bundle else chain[0].der
    location = Location.of(content, url, is_bundle=bundle) if url else None
    return Credential(SigningKey(key()), chain, location=location)


def content_of(*ders: bytes) -> bytes:
    return encode_bundle(ders)


def signing(side: str, own: Credential, lookup: Reach = "any") -> PeerConfig:
    trust = Trust(tuple(of(ROOT)), lookup=lookup)
    return replace(peer(side), psk=None, credentials=(own,), trust=trust)


def pair_of(a: Credential, b: Credential, **settings: Reach) -> Pair:
    return Pair(
        a=signing("a", a, settings.get("a_lookup", "any")),
        b=signing("b", b, settings.get("b_lookup", "any")),
        fragment_octets=20000,
    )


def established(pair: Pair) -> None:
    pair.establish()
    failures = [e.detail for n in (pair.a, pair.b) for e in n.of(IkeSaFailed)]
    assert not failures, failures
    pair.check_sads()


def refused(pair: Pair) -> str:
    pair.establish()
    assert not pair.a.sad
    assert not pair.b.sad
    (failure,) = pair.b.of(IkeSaFailed)
    return failure.detail


def encodings(pair: Pair, message: int) -> list[CertEncoding]:
    return [p.encoding for p in pair.messages[message].payloads if isinstance(p, CertPayload)]


@pytest.mark.requirement("R7296-195", "R7296-196", "R7296-200")
@pytest.mark.parametrize("bundle", [False, True])
def test_both_ends_send_and_follow_urls(bundle: bool) -> None:
    ours = credential(A_NAME, url=URL, bundle=bundle)
    theirs = credential(B_NAME, url="http://certs.example.com/b", bundle=bundle)
    pair = pair_of(ours, theirs)
    for node, other in ((pair.a, theirs), (pair.b, ours)):
        assert other.location is not None
        ders = [c.der for c in other.certificates]
        node.web[other.location.url] = encode_bundle(ders) if bundle else ders[0]
    established(pair)
    for number in (1, 2):
        assert "HTTP_CERT_LOOKUP_SUPPORTED" in pair.messages[number].types
    expected = (
        [CertEncoding.HASH_AND_URL_BUNDLE]
        if bundle
        else [CertEncoding.HASH_AND_URL_X509, *[CertEncoding.X509_SIGNATURE] * 2]
    )
    assert encodings(pair, 2) == encodings(pair, 3) == expected
    data = next(p.data for p in pair.messages[2].payloads if isinstance(p, CertPayload))
    assert data == hashlib.sha1(pair.b.web[URL]).digest() + URL.encode()
    assert pair.b.of(IkeSaEstablished)[0].peer_identity == A_NAME
    for node in (pair.a, pair.b):
        (lookup,) = node.lookups
        assert len(lookup.locations) == 1
        assert lookup.reach == "any"


@pytest.mark.requirement("R7296-200")
def test_without_the_notification_certificates_are_sent_whole() -> None:
    pair = pair_of(credential(A_NAME, url=URL), credential(B_NAME), b_lookup="off")
    established(pair)
    assert encodings(pair, 2) == [CertEncoding.X509_SIGNATURE] * 3
    assert "HTTP_CERT_LOOKUP_SUPPORTED" not in pair.messages[1].types
    assert not pair.b.lookups


@pytest.mark.requirement("R7296-197")
def test_what_lies_there_must_be_what_was_named() -> None:
    pair = pair_of(credential(A_NAME, url=URL), credential(B_NAME))
    other = leaf(LOW, A_NAME, number=7)
    pair.b.web[URL] = other.der
    text = refused(pair)
    assert "the certificate of a.example.com was not found" in text
    assert f"{URL} gives something with SHA-1" in text


def test_a_page_that_is_not_there() -> None:
    pair = pair_of(credential(A_NAME, url=URL), credential(B_NAME))
    assert "no such page" in refused(pair)


def sends(monkeypatch: pytest.MonkeyPatch, pair: Pair, *payloads: CertPayload) -> None:
    """Let `a` send these in place of its certificates, and tell `b`'s end nothing of it."""
    own = pair.a.endpoint.config.peers[0].credentials[0].certificates[0].der

    def shown(credential: Credential, *_: object, **__: object) -> list[CertPayload]:
        if credential.certificates[0].der == own:
            return list(payloads)
        return [CertPayload(CertEncoding.X509_SIGNATURE, c.der) for c in credential.certificates]

    monkeypatch.setattr("ipsecme.ike.tasks.authenticate.shown", shown)


ONE, BUNDLE = CertEncoding.HASH_AND_URL_X509, CertEncoding.HASH_AND_URL_BUNDLE


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://certs.example.com/a", "begins with http://"),
        ("ftp://certs.example.com/a", "begins with http://"),
        ("file:///etc/passwd", "begins with http://"),
        ("", "begins with http://"),
        ("http://certs.example.com/\x00", "characters that no URL has"),
        ("http://certs.example.com/a b", "characters that no URL has"),
        ("http://certs.example.com/\xff", "characters that no URL has"),
        ("http://certs.example.com/" + "a" * 1024, "a URL of 1049 octets"),
    ],
)
def test_urls_that_are_not_followed(monkeypatch: pytest.MonkeyPatch, url: str, words: str) -> None:
    pair = pair_of(credential(A_NAME), credential(B_NAME))
    sends(monkeypatch, pair, CertPayload(ONE, bytes(20) + url.encode("latin-1")))
    assert words in refused(pair)
    assert not pair.b.lookups


def test_too_many_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(credential(A_NAME), credential(B_NAME))
    sends(monkeypatch, pair, *[CertPayload(ONE, bytes(20) + URL.encode())] * 5)
    assert "5 URLs; 4 are followed" in refused(pair)
    assert not pair.b.lookups


def test_urls_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(credential(A_NAME), credential(B_NAME), b_lookup="off")
    sends(monkeypatch, pair, CertPayload(ONE, bytes(20) + URL.encode()))
    assert "set cert_fetch" in refused(pair)
    assert not pair.b.lookups


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x30\x00",
        encode_bundle([b"nonsense"]),
        encode_bundle([b"x"] * 9),
        encode_bundle([leaf(LOW, A_NAME).der]) + b"\x00",
        encode_bundle([leaf(LOW, A_NAME).der])[:-1],
        b"\x30\x84\xff\xff\xff\xff\xa0\x00",
        b"\x30\x85\x00\x00\x00\x00\x02\xa0\x00",
        b"\x30\x02\xa1\x00",
        bytes(70000),
    ],
)
def test_bundles_that_are_none(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    pair = pair_of(credential(A_NAME), credential(B_NAME))
    location = Location.of(content, URL, is_bundle=True)
    sends(monkeypatch, pair, CertPayload(BUNDLE, location.encode()))
    pair.b.web[URL] = content
    assert "a.example.com" in refused(pair)


def test_a_list_of_revoked_certificates_in_a_bundle_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = credential(A_NAME)
    pair = pair_of(own, credential(B_NAME))
    inner = encode_bundle([c.der for c in own.certificates])[4:] + b"\xa1\x02\x30\x00"
    content = b"\x30\x82" + len(inner).to_bytes(2) + inner
    location = Location.of(content, URL, is_bundle=True)
    sends(monkeypatch, pair, CertPayload(BUNDLE, location.encode()))
    pair.b.web[URL] = content
    established(pair)


def test_nothing_is_fetched_under_siege() -> None:
    """Above the threshold of COOKIE strangers get their connection, but no errands run for them."""
    ours, theirs = credential(A_NAME, url=URL), credential(B_NAME)
    pair = pair_of(ours, theirs)
    config = replace(pair.b.endpoint.config, admission=AdmissionConfig(cookie_threshold=0))
    pair.b = Node("b", config, 9)
    pair.b.web[URL] = ours.certificates[0].der
    pair.establish()
    assert not pair.b.lookups
    (failure,) = pair.b.of(IkeSaFailed)
    assert "nothing is fetched while so many IKE SAs are half open" in failure.detail


def test_repetitions_ask_nothing_and_the_wait_has_an_end() -> None:
    ours = credential(A_NAME, url=URL)
    pair = pair_of(ours, credential(B_NAME))
    pair.b.answers_questions = False
    pair.initiate()
    pair.drive(5)
    assert len(pair.b.lookups) == 1
    assert pair.b.endpoint.counters["dropped_suspended"] >= 1
    pair.b.web[URL] = ours.certificates[0].der
    pair.b.answers_questions = True
    pair.b.look_up(pair.now)
    pair.flush(pair.b)
    pair.drive()
    pair.check_sads()
    silent = pair_of(ours, credential(B_NAME))
    silent.b.answers_questions = False
    silent.initiate()
    silent.drive(60)
    (failure,) = silent.b.of(IkeSaFailed)
    assert failure.reason == "timeout"
    assert not silent.b.endpoint._services.questions


def test_an_answer_of_another_kind_proves_nothing() -> None:
    for answer in (None, object(), (), (b"", b""), b""):
        pair = pair_of(credential(A_NAME, url=URL), credential(B_NAME))
        pair.b.answers_questions = False
        pair.initiate()
        pair.drive(1)
        pair.b.endpoint.answer(pair.b.lookups[0].number, answer, pair.now)
        pair.flush(pair.b)
        pair.drive()
        assert not pair.b.sad
        assert pair.b.of(IkeSaFailed)


@pytest.mark.requirement("R7296-196")
def test_four_certificates_on_the_wire() -> None:
    lowest = authority("Lowest", LOW, number=4)
    chain = (leaf(lowest, A_NAME), *of(lowest, LOW, MIDDLE))
    pair = pair_of(Credential(SigningKey(key()), chain), credential(B_NAME))
    established(pair)
    assert encodings(pair, 2) == [CertEncoding.X509_SIGNATURE] * 4
