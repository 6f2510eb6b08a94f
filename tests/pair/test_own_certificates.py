"""Several certificates of our own: which one is shown depends on what the peer asks for."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_issue import make_ocsp_response
from ipsecme.crypto.signature_keys import SigningKey
from ipsecme.ike.auth.choice import PeerWishes, choose
from ipsecme.ike.auth.trust import Credential, Revocation, Trust
from ipsecme.ike.config import Identity
from ipsecme.ike.events import CertificateOutOfDate, IkeSaEstablished, IkeSaFailed
from ipsecme.ike.tasks import certificates
from ipsecme.wire.ike import AuthPayload, CertPayload, CertReqPayload
from ipsecme.wire.numbers import AuthMethod, CertEncoding, HashId
from support.certificates import AT, authority, key, leaf, of
from support.pair import Pair, Sent, peer

if TYPE_CHECKING:
    from ipsecme.crypto.certificate_issue import Authority, KeyType
    from ipsecme.ike.config import PeerConfig

ROOT = authority("Root", number=1)
LOW = authority("Low", ROOT, number=2)
OTHER = authority("Other", number=5)
A_NAME, B_NAME = "a.example.com", "b.example.com"


def credential(
    issuer: Authority,
    *names: str,
    kind: KeyType = "ecdsa256",
    number: int = 0,
    at: dt.datetime = AT,
    lifetime: dt.timedelta = dt.timedelta(days=90),
    below: tuple[Authority, ...] = (),
) -> Credential:
    own = leaf(issuer, *names, kind=kind, number=number, at=at, lifetime=lifetime)
    hashes = frozenset(c.key.key_hash for c in of(issuer, *below))
    return Credential(SigningKey(key(kind, number)), (own,), hashes)


def pair_of(
    a: tuple[Credential, ...], b: tuple[Credential, ...], a_trusts: Authority, b_trusts: Authority
) -> Pair:
    """Return a pair that sends no fragments, so that each message can be looked at."""
    return Pair(a=signing("a", a, a_trusts), b=signing("b", b, b_trusts), fragment_octets=9000)


def signing(side: str, credentials: tuple[Credential, ...], trusts: Authority) -> PeerConfig:
    return replace(peer(side), psk=None, credentials=credentials, trust=Trust(tuple(of(trusts))))


def established(pair: Pair) -> None:
    pair.establish()
    failures = [e.detail for n in (pair.a, pair.b) for e in n.of(IkeSaFailed)]
    assert not failures, failures
    pair.check_sads()


def shown(pair: Pair, message: int) -> bytes:
    """Return the first certificate of one of the four messages."""
    return next(p.data for p in pair.messages[message].payloads if isinstance(p, CertPayload))


@pytest.mark.requirement("R7296-199")
@pytest.mark.parametrize("trusted", [0, 1])
@pytest.mark.parametrize("side", ["a", "b"])
def test_the_certificate_under_an_authority_that_the_peer_trusts(trusted: int, side: str) -> None:
    name, other = (A_NAME, B_NAME) if side == "a" else (B_NAME, A_NAME)
    several = credential(ROOT, name), credential(OTHER, name, number=1)
    authorities = ROOT, OTHER
    one = (credential(ROOT, other),)
    if side == "a":
        pair = pair_of(several, one, a_trusts=ROOT, b_trusts=authorities[trusted])
    else:
        pair = pair_of(one, several, a_trusts=authorities[trusted], b_trusts=ROOT)
    established(pair)
    message = 2 if side == "a" else 3
    assert shown(pair, message) == several[trusted].certificates[0].der


def test_an_authority_further_up_counts() -> None:
    several = credential(OTHER, A_NAME), credential(LOW, A_NAME, number=1, below=(ROOT,))
    middle = replace(several[1], certificates=(*several[1].certificates, *of(LOW)))
    pair = pair_of((several[0], middle), (credential(ROOT, B_NAME),), ROOT, ROOT)
    established(pair)
    assert shown(pair, 2) == middle.certificates[0].der


@pytest.mark.requirement("R7296-200")
def test_the_first_one_where_nothing_fits_or_nothing_is_asked() -> None:
    several = credential(ROOT, A_NAME), credential(ROOT, A_NAME, number=1)
    unknown = tuple(replace(c, authorities=frozenset()) for c in several)
    pair = pair_of(unknown, (credential(ROOT, B_NAME),), ROOT, ROOT)
    established(pair)  # the peer asked for ROOT, of which this end knows nothing
    assert shown(pair, 2) == several[0].certificates[0].der
    pinned = Trust(certificates=several[0].certificates)
    asks_nothing = replace(signing("b", (credential(ROOT, B_NAME),), ROOT), trust=pinned)
    pair = Pair(a=signing("a", several, ROOT), b=asks_nothing)
    established(pair)
    assert CertEncoding.X509_SIGNATURE not in requested(pair.messages[1])


def requested(message: Sent) -> list[CertEncoding]:
    return [p.encoding for p in message.payloads if isinstance(p, CertReqPayload)]


def test_a_key_that_the_peer_can_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_ANNOUNCEMENT", b"\x00\x02")  # SHA2-256 alone
    several = (
        credential(ROOT, A_NAME, kind="ed25519"),
        credential(OTHER, A_NAME, kind="rsa3072"),
        credential(ROOT, A_NAME, number=1),
    )
    pair = pair_of(several, (credential(ROOT, B_NAME),), ROOT, ROOT)
    established(pair)
    assert shown(pair, 2) == several[2].certificates[0].der


def test_a_peer_from_before_rfc_7427_gets_rsa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_ANNOUNCEMENT", b"")
    several = credential(ROOT, A_NAME, kind="ed448"), credential(ROOT, A_NAME, kind="rsa3072")
    pair = pair_of(several, (credential(ROOT, B_NAME),), ROOT, ROOT)
    established(pair)
    auth = pair.messages[2].only(AuthPayload)
    assert auth.method == AuthMethod.RSA_DIGITAL_SIGNATURE


@pytest.mark.parametrize("side", ["a", "b"])
def test_one_that_is_in_time_and_a_word_about_one_that_is_not(side: str) -> None:
    name = A_NAME if side == "a" else B_NAME
    week = dt.timedelta(days=7)
    old = credential(ROOT, name, at=AT - 5 * week, lifetime=week)
    young = credential(ROOT, name, number=1)
    one = credential(ROOT, B_NAME if side == "a" else A_NAME)
    for ours, message in (((old, young), ""), ((old,), "expired on 2030-05-04")):
        a, b = (ours, (one,)) if side == "a" else ((one,), ours)
        pair = pair_of(a, b, ROOT, ROOT)
        node = pair.a if side == "a" else pair.b
        node.endpoint.handle_wall_clock(AT, pair.now)
        pair.establish()
        told = node.of(CertificateOutOfDate)
        failures = [e.detail for n in (pair.a, pair.b) for e in n.of(IkeSaFailed)]
        assert bool(told) == bool(message)
        assert bool(failures) == bool(message)
        assert message in " ".join(failures)
    assert told[0].not_after == old.certificates[0].not_after


@pytest.mark.requirement("R7296-005")
def test_the_name_that_the_initiator_asks_for() -> None:
    names = "one.example", "two.example"
    several = tuple(
        replace(credential(ROOT, name, number=n), identity=Identity.parse(name))
        for n, name in enumerate(names)
    )
    for number, name in enumerate(names):
        a = replace(signing("a", (credential(ROOT, A_NAME),), ROOT), remote_id=Identity.parse(name))
        pair = Pair(a=a, b=signing("b", several, ROOT))
        established(pair)
        assert pair.a.of(IkeSaEstablished)[0].peer_identity == name
        assert shown(pair, 3) == several[number].certificates[0].der


def test_a_caller_calls_itself_what_its_certificate_says() -> None:
    several = tuple(
        replace(credential(issuer, name, number=n), identity=Identity.parse(name))
        for n, (issuer, name) in enumerate(((ROOT, "one.example"), (OTHER, "two.example")))
    )
    b = replace(signing("b", (credential(ROOT, B_NAME),), OTHER), remote_id=None)
    pair = Pair(a=signing("a", several, ROOT), b=b)
    established(pair)
    assert pair.b.of(IkeSaEstablished)[0].peer_identity == "two.example"
    assert shown(pair, 2) == several[1].certificates[0].der


def test_a_raw_key_for_a_peer_that_asks_for_one() -> None:
    raw = Credential(SigningKey(key("ed25519", 7)))
    several = credential(ROOT, A_NAME), raw
    b = replace(
        signing("b", (credential(ROOT, B_NAME),), ROOT), trust=Trust(keys=(raw.key.public,))
    )
    pair = Pair(a=signing("a", several, ROOT), b=b)
    established(pair)
    assert shown(pair, 2) == raw.key.public.spki


def test_nothing_that_the_peer_verifies() -> None:
    with pytest.raises(PeerError, match=r"Ed448 cannot serve.*Ed25519 cannot serve"):
        choose(
            (Credential(SigningKey(key("ed448"))), Credential(SigningKey(key("ed25519")))),
            PeerWishes(frozenset({HashId.SHA2_256})),
            None,
        )


# OCSP within IKE


def ocsp_about(credential: Credential) -> bytes:
    made = make_ocsp_response(
        credential.certificates[0].library,
        ROOT.certificate,
        AT,
        dt.timedelta(days=1),
        signer=ROOT,
    )
    return made.public_bytes(Encoding.DER)


def strict(side: str, credentials: tuple[Credential, ...], **settings: object) -> PeerConfig:
    revocation = Revocation("strict", **settings)  # type: ignore[arg-type]
    trust = Trust(tuple(of(ROOT)), revocation=revocation)
    return replace(signing(side, credentials, ROOT), trust=trust)


def content(message: Sent) -> list[bytes]:
    return [
        p.data
        for p in message.payloads
        if isinstance(p, CertPayload) and p.encoding == CertEncoding.OCSP_CONTENT
    ]


@pytest.mark.requirement("R4806-001", "R4806-002", "R4806-003", "R4806-004", "R4806-006")
def test_ocsp_is_asked_for_and_sent_by_both_ends() -> None:
    ours, theirs = credential(ROOT, A_NAME), credential(ROOT, B_NAME, number=1)
    responder = tuple(of(OTHER))
    a = strict("a", (ours,), responders=responder)
    b = strict("b", (theirs,))
    pair = Pair(a=a, b=b, fragment_octets=9000)
    about_us, about_them = ocsp_about(ours), ocsp_about(theirs)
    pair.a.endpoint.handle_ocsp(ours.certificates[0], about_us)
    pair.b.endpoint.handle_ocsp(theirs.certificates[0], about_them)
    established(pair)
    asked = [
        p
        for message in pair.messages[1:3]
        for p in message.payloads
        if isinstance(p, CertReqPayload) and p.encoding == CertEncoding.OCSP_CONTENT
    ]
    assert [p.authorities for p in asked] == [b"", responder[0].key.key_hash]
    assert content(pair.messages[2]) == [about_us]
    assert content(pair.messages[3]) == [about_them]


@pytest.mark.requirement("R4806-005")
def test_without_a_response_strict_ends_refuse_and_soft_ones_do_not() -> None:
    ours, theirs = (credential(ROOT, A_NAME),), (credential(ROOT, B_NAME, number=1),)
    pair = Pair(a=signing("a", ours, ROOT), b=strict("b", theirs), fragment_octets=9000)
    pair.establish()
    (failure,) = pair.b.of(IkeSaFailed)
    assert "not known, and revocation is strict" in failure.detail
    soft = Trust(tuple(of(ROOT)), revocation=Revocation("soft"))
    pair = Pair(a=signing("a", ours, ROOT), b=replace(strict("b", theirs), trust=soft))
    established(pair)


def test_nobody_gets_a_response_unasked_or_one_that_is_taken_back() -> None:
    ours, theirs = credential(ROOT, A_NAME), credential(ROOT, B_NAME, number=1)
    pair = Pair(a=signing("a", (ours,), ROOT), b=signing("b", (theirs,), ROOT))
    pair.a.endpoint.handle_ocsp(ours.certificates[0], ocsp_about(ours))
    established(pair)
    assert not content(pair.messages[2])
    pair = Pair(a=signing("a", (ours,), ROOT), b=strict("b", (theirs,)), fragment_octets=9000)
    pair.a.endpoint.handle_ocsp(ours.certificates[0], ocsp_about(ours))
    pair.a.endpoint.handle_ocsp(ours.certificates[0], None)
    pair.establish()
    assert not content(pair.messages[2])


@pytest.mark.parametrize("octets", [b"", b"0", bytes(300), bytes(20000)])
def test_nonsense_in_place_of_a_response(octets: bytes) -> None:
    ours, theirs = credential(ROOT, A_NAME), credential(ROOT, B_NAME, number=1)
    pair = Pair(a=signing("a", (ours,), ROOT), b=strict("b", (theirs,)), fragment_octets=40000)
    pair.a.endpoint.handle_ocsp(ours.certificates[0], octets)
    pair.establish()
    (failure,) = pair.b.of(IkeSaFailed)
    assert "not known" in failure.detail


# signatures that take long


def slow_pair() -> Pair:
    theirs = credential(ROOT, B_NAME, kind="rsa3072")
    return pair_of((credential(ROOT, A_NAME),), (theirs,), ROOT, ROOT)


def test_a_responder_has_slow_signatures_made_elsewhere() -> None:
    pair = slow_pair()
    established(pair)
    (asked,) = pair.b.signatures
    assert "RSA 3072" in repr(asked.key)
    assert pair.messages[3].only(AuthPayload).method == AuthMethod.DIGITAL_SIGNATURE
    fast = pair_of((credential(ROOT, A_NAME),), (credential(ROOT, B_NAME),), ROOT, ROOT)
    established(fast)
    assert not fast.b.signatures
    swapped = pair_of(
        (credential(ROOT, A_NAME, kind="rsa3072"),), (credential(ROOT, B_NAME),), ROOT, ROOT
    )
    established(swapped)
    assert not swapped.a.signatures  # a caller's request is made in one go


def test_nothing_is_signed_for_a_stranger() -> None:
    pair = slow_pair()
    stranger = credential(OTHER, A_NAME)
    pair = Pair(a=signing("a", (stranger,), ROOT), b=pair.b.endpoint.config.peers[0])
    pair.establish()
    assert pair.b.of(IkeSaFailed)
    assert not pair.b.signatures


def test_a_late_signature_and_one_that_never_comes() -> None:
    pair = slow_pair()
    pair.b.answers_questions = False
    pair.initiate()
    pair.drive(1)
    pair.b.answer(pair.now)  # about the chain
    pair.flush(pair.b)
    pair.drive(4)
    assert len(pair.b.signatures) == 1  # repetitions of the request ask for no other
    pair.b.sign(pair.now)
    pair.flush(pair.b)
    pair.drive()
    pair.check_sads()
    pair = slow_pair()
    pair.b.answers_questions = False
    pair.initiate()
    pair.drive(1)
    pair.b.answer(pair.now)
    pair.flush(pair.b)
    pair.drive(60)
    assert pair.b.of(IkeSaFailed)[0].reason == "timeout"
    assert not pair.b.sad
    assert not pair.b.endpoint._services.questions


def test_an_answer_that_is_no_signature() -> None:
    pair = slow_pair()
    pair.b.answers_questions = False
    pair.initiate()
    pair.drive(1)
    pair.b.answer(pair.now)
    pair.flush(pair.b)
    pair.b.endpoint.answer(pair.b.signatures[0].number, None, pair.now)
    pair.flush(pair.b)
    pair.drive()
    assert "could not be made" in pair.b.of(IkeSaFailed)[0].detail
    assert not pair.a.sad


def test_the_choice_stays_while_the_signature_is_made() -> None:
    """The clock moves past the end of the certificate meanwhile; the answer fits all the same."""
    hour = dt.timedelta(hours=1)
    ending = credential(ROOT, B_NAME, kind="rsa3072", at=AT - 9 * hour, lifetime=9.5 * hour)
    other = credential(ROOT, B_NAME, number=1)
    pair = pair_of((credential(ROOT, A_NAME),), (ending, other), ROOT, ROOT)
    pair.b.endpoint.handle_wall_clock(AT, pair.now)
    pair.b.answers_questions = False
    pair.initiate()
    pair.drive(1)
    pair.b.answer(pair.now)
    pair.flush(pair.b)
    pair.b.endpoint.handle_wall_clock(AT + hour, pair.now)
    pair.b.sign(pair.now)
    pair.flush(pair.b)
    pair.drive()
    pair.check_sads()
    sent = [p.data for m in pair.messages if m.sender == "b" for p in m.payloads
            if isinstance(p, CertPayload)]  # fmt: skip
    assert sent == [ending.certificates[0].der]
    assert len(pair.b.of(CertificateOutOfDate)) == 1
