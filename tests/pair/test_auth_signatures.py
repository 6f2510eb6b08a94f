"""Signatures and certificates between two engines: all kinds of keys, and everything refused."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ipsecme.base import PeerError, Secret
from ipsecme.crypto.certificate_names import DistinguishedName
from ipsecme.crypto.certificate_path import PathRefused
from ipsecme.crypto.signature_keys import SigningKey
from ipsecme.ike.auth.presented import authorities_of
from ipsecme.ike.auth.proof import Authenticated
from ipsecme.ike.auth.trust import Credential, Trust
from ipsecme.ike.config import Identity
from ipsecme.ike.endpoint import Endpoint
from ipsecme.ike.events import IkeSaEstablished, IkeSaFailed
from ipsecme.ike.tasks import certificates
from ipsecme.wire.ike import CertPayload, CertReqPayload, NotifyPayload
from ipsecme.wire.numbers import CertEncoding, ExchangeType, NotifyType
from support.certificates import AT, authority, key, leaf, of
from support.pair import Link, Node, Pair, Sent, peer

if TYPE_CHECKING:
    from ipsecme.crypto.certificate import Certificate
    from ipsecme.crypto.certificate_issue import Authority, KeyType
    from ipsecme.ike.config import PeerConfig

ROOT = authority("Root", number=1)
MIDDLE = authority("Middle", ROOT, number=2)
LOW = authority("Low", MIDDLE, number=3)
OTHER = authority("Other", number=5)
TRUST = Trust(tuple(of(ROOT)))
A_NAME, B_NAME = "a.example.com", "b.example.com"


def credential(certificate: Certificate, *between: Authority, kind: KeyType = "ecdsa256",
               number: int = 0) -> Credential:  # fmt: skip
    return Credential(SigningKey(key(kind, number)), (certificate, *of(*between)))


A_CREDENTIAL = credential(leaf(ROOT, A_NAME))
B_CREDENTIAL = credential(leaf(ROOT, B_NAME))


def a_peer(credential: Credential | None = A_CREDENTIAL, trust: Trust | None = TRUST) -> PeerConfig:
    return signing("a", credential, trust)


def b_peer(credential: Credential | None = B_CREDENTIAL, trust: Trust | None = TRUST) -> PeerConfig:
    return signing("b", credential, trust)


def signing(side: str, credential: Credential | None, trust: Trust | None) -> PeerConfig:
    psk = None if credential and trust else Secret(b"a secret of twenty octets")
    return replace(
        peer(side), psk=psk, credentials=(credential,) if credential else (), trust=trust
    )


def established(pair: Pair) -> None:
    pair.establish()
    failures = [e.detail for n in (pair.a, pair.b) for e in n.of(IkeSaFailed)]
    assert not failures, failures
    pair.check_sads()


def refused(pair: Pair, by: Node | None = None) -> str:
    """Nobody is established for long, all failures look alike; return what `by` says to people."""
    by = by or pair.b
    pair.establish()
    assert not pair.a.sad
    assert not pair.b.sad
    (failure,) = by.of(IkeSaFailed)
    assert failure.reason == "authentication_failed"
    if by is pair.b:
        (told,) = pair.a.of(IkeSaFailed)
        assert told.reason == "authentication_failed"
        assert told.detail == "the peer answered AUTHENTICATION_FAILED"
    return failure.detail


# what comes up


@pytest.mark.parametrize("kind", ["ecdsa256", "ecdsa384", "rsa3072", "ed25519", "ed448"])
def test_every_kind_of_key(kind: KeyType) -> None:
    mine = credential(leaf(ROOT, A_NAME, kind=kind), kind=kind)
    theirs = credential(leaf(ROOT, B_NAME, kind=kind), kind=kind)
    pair = Pair(a=a_peer(mine), b=b_peer(theirs))
    established(pair)
    assert pair.b.of(IkeSaEstablished)[0].peer_identity == A_NAME


@pytest.mark.requirement("R7296-195")
def test_with_authorities_between() -> None:
    mine = credential(leaf(LOW, A_NAME), LOW, MIDDLE)
    theirs = credential(leaf(LOW, B_NAME), MIDDLE, LOW, ROOT, OTHER)
    established(Pair(a=a_peer(mine), b=b_peer(theirs)))


def test_an_authority_between_that_is_missing() -> None:
    pair = Pair(a=a_peer(credential(leaf(LOW, A_NAME), LOW)), b=b_peer())
    text = refused(pair)
    assert "chain:" in text
    assert "CN=Middle" in text


@pytest.mark.requirement("R7296-114", "R7296-229")
@pytest.mark.parametrize("signer", ["a", "b"])
def test_a_secret_one_way_and_a_signature_the_other(signer: str) -> None:
    if signer == "a":
        pair = Pair(a=a_peer(A_CREDENTIAL, None), b=b_peer(None, TRUST))
    else:
        pair = Pair(a=a_peer(None, TRUST), b=b_peer(B_CREDENTIAL, None))
    established(pair)


def test_pinned_certificates_need_no_authority() -> None:
    mine, theirs = leaf(None, A_NAME, number=20), leaf(None, title="no names", number=21)
    pair = Pair(
        a=a_peer(credential(mine, number=20), Trust(certificates=(theirs,))),
        b=b_peer(credential(theirs, number=21), Trust(certificates=(mine,))),
    )
    established(pair)


def test_a_pinned_certificate_need_not_be_sent() -> None:
    mine = leaf(None, A_NAME)
    raw = Credential(A_CREDENTIAL.key)
    pair = Pair(a=a_peer(raw), b=b_peer(trust=Trust(certificates=(mine,))))
    established(pair)


@pytest.mark.requirement("R7296-198")
def test_raw_public_keys() -> None:
    mine, theirs = SigningKey(key("ed25519", 1)), SigningKey(key("ecdsa256", 22))
    pair = Pair(
        a=a_peer(Credential(mine), Trust(keys=(theirs.public,))),
        b=b_peer(Credential(theirs), Trust(keys=(A_CREDENTIAL.key.public, mine.public))),
    )
    established(pair)


def test_no_authentication_where_that_is_configured() -> None:
    a = replace(peer("a"), psk=None, local_null=True, trust=TRUST)
    b = replace(b_peer(), remote_null=True, trust=None, remote_id=None)
    a = replace(a, local_id=Identity.parse("anybody"))
    established(Pair(a=a, b=b))


@pytest.mark.requirement("R7296-192")
def test_identities_of_all_kinds() -> None:
    names = {
        "192.0.2.1": "192.0.2.1",
        "2001:db8::1": "2001:db8::1",
        "Carol@Example.com": "carol@example.com",
        "GW.example.com": "gw.example.com.",
    }
    for identity, name in names.items():
        mine = credential(leaf(ROOT, name))
        a = replace(a_peer(mine), local_id=Identity.parse(identity))
        established(Pair(a=a, b=replace(b_peer(), remote_id=Identity.parse(identity))))
        established(Pair(a=a, b=replace(b_peer(), remote_id=None)))


@pytest.mark.requirement("R7296-192", "R7296-229")
@pytest.mark.parametrize("identity", ["192.0.2.1", "gw.example", "carol@example.com", "@#00ff"])
def test_secrets_go_with_identities_of_all_kinds(identity: str) -> None:
    a = replace(peer("a"), local_id=Identity.parse(identity))
    established(Pair(a=a, b=replace(peer("b"), remote_id=Identity.parse(identity))))


@pytest.mark.requirement("R7296-229")
def test_rsa_goes_with_distinguished_names_and_mail_addresses() -> None:
    made = leaf(ROOT, "carol@example.com", A_NAME, kind="rsa3072")
    for identity in ("carol@example.com", A_NAME, str(made.subject)):
        mine = replace(a_peer(credential(made, kind="rsa3072")), local_id=Identity.parse(identity))
        established(Pair(a=mine, b=replace(b_peer(), remote_id=Identity.parse(identity))))


@pytest.mark.requirement("R7296-229")
def test_rsa_goes_with_key_ids_where_the_certificate_is_pinned() -> None:
    """A key id stands in no certificate, so only the configuration can bind it to one."""
    made = leaf(ROOT, A_NAME, kind="rsa3072")
    mine = replace(a_peer(credential(made, kind="rsa3072")), local_id=Identity.parse("@#0102"))
    pinning = replace(b_peer(trust=Trust(certificates=(made,))), remote_id=Identity.parse("@#0102"))
    established(Pair(a=mine, b=pinning))
    trusting = replace(b_peer(), remote_id=Identity.parse("@#0102"))
    assert "a key id stands in no certificate" in refused(Pair(a=mine, b=trusting))


@pytest.mark.requirement("R7296-229")
def test_small_rsa_keys_are_refused() -> None:
    small = rsa.generate_private_key(65537, 1024)
    with pytest.raises(PeerError, match="1024 bits; 2048 to 8192 are accepted"):
        SigningKey(small)


def test_distinguished_names() -> None:
    subject = A_CREDENTIAL.certificates[0].subject
    own = Identity.parse(str(subject))
    for text in ("O=EXAMPLE, CN=leaf", "cn=Leaf,o=Example"):
        b = replace(b_peer(), remote_id=Identity.parse(text))
        established(Pair(a=replace(a_peer(), local_id=own), b=b))
    wrong = replace(b_peer(), remote_id=Identity.parse("O=Example, CN=else"))
    assert "remote_id" in refused(Pair(a=replace(a_peer(), local_id=own), b=wrong))
    assert DistinguishedName(own.data) == subject


def test_over_a_lossy_link() -> None:
    chain = credential(leaf(LOW, A_NAME), LOW, MIDDLE)
    for seed in range(30):
        link = Link(loss=0.2, duplicate=0.2, jitter=0.3, seed=seed)
        pair = Pair(link, a=a_peer(chain), b=b_peer())
        pair.initiate()
        pair.drive(60)
        pair.check_sads()


# what is refused, and what is said about it


@pytest.mark.requirement("R7296-200")
def test_an_authority_that_is_not_trusted() -> None:
    text = refused(Pair(a=a_peer(credential(leaf(OTHER, A_NAME))), b=b_peer()))
    assert text.startswith("chain: the certificate of a.example.com is not trusted")
    assert "CN=Other, which is not an authority in ca" in text


def test_the_initiator_refuses_as_well() -> None:
    pair = Pair(a=a_peer(), b=b_peer(credential(leaf(OTHER, B_NAME))))
    assert "CN=Other" in refused(pair, by=pair.a)


@pytest.mark.requirement("M-61")
def test_the_authority_of_another_connection_vouches_for_nobody_here() -> None:
    """Both connections have the same addresses; each has an authority and a peer of its own."""
    ours = b_peer()
    theirs = replace(
        b_peer(trust=Trust(tuple(of(OTHER)))),
        name="other",
        remote_id=Identity.parse("c.example.com"),
    )
    pair = Pair(a=a_peer(credential(leaf(OTHER, A_NAME))), b=ours)
    config = replace(pair.b.endpoint.config, peers=(ours, theirs))
    pair.b.endpoint = Endpoint(config, pair.b.rng)
    pair.establish()
    assert pair.a.reasons(IkeSaFailed) == ["authentication_failed"]
    assert not pair.b.of(IkeSaEstablished)
    allowed = Pair(a=replace(a_peer(credential(leaf(OTHER, "c.example.com"))),
                             local_id=Identity.parse("c.example.com")), b=ours)  # fmt: skip
    allowed.b.endpoint = Endpoint(config, allowed.b.rng)
    allowed.establish()
    (event,) = allowed.b.of(IkeSaEstablished)
    assert event.connection == "other"


@pytest.mark.requirement("M-61")
def test_nobody_is_let_in_where_no_connection_is_configured() -> None:
    pair = Pair(a=a_peer())
    pair.b.endpoint = Endpoint(replace(pair.b.endpoint.config, peers=()), pair.b.rng)
    pair.establish()
    assert pair.a.reasons(IkeSaFailed) == ["no_proposal_chosen"]
    assert pair.b.endpoint.half_open == 0
    assert not pair.b.events


@pytest.mark.requirement("R7296-194")
def test_the_certificate_of_somebody_else() -> None:
    text = refused(Pair(a=a_peer(credential(leaf(ROOT, "c.example.com"))), b=b_peer()))
    assert text.startswith("name: the peer calls itself a.example.com")
    assert "c.example.com in subjectAltName" in text
    text = refused(Pair(a=a_peer(credential(leaf(ROOT, title=A_NAME))), b=b_peer()))
    assert "no names in subjectAltName" in text


@pytest.mark.requirement("AUT-07")
def test_a_copied_certificate_without_its_key() -> None:
    """The chain is good, the signature is not by that key."""
    thief = Credential(SigningKey(key(number=30)), A_CREDENTIAL.certificates)
    text = refused(Pair(a=a_peer(thief), b=b_peer()))
    assert text.startswith("key: the signature of a.example.com is wrong")


@pytest.mark.requirement("R7296-195", "AUT-07")
def test_a_trusted_key_that_is_not_the_one_in_the_certificate() -> None:
    other = leaf(ROOT, B_NAME, number=31)
    thief = Credential(SigningKey(key(number=31)), (A_CREDENTIAL.certificates[0], other))
    assert "key:" in refused(Pair(a=a_peer(thief), b=b_peer()))


def test_out_of_date() -> None:
    past = credential(leaf(ROOT, A_NAME, at=AT - dt.timedelta(days=20), lifetime=dt.timedelta(9)))
    assert "expired on 2030-05-21" in refused(Pair(a=a_peer(past), b=b_peer()))
    future = credential(leaf(ROOT, A_NAME, at=AT + dt.timedelta(days=2)))
    assert "is not valid before" in refused(Pair(a=a_peer(future), b=b_peer()))


@pytest.mark.requirement("AUT-06")
def test_a_raw_key_that_is_not_pinned() -> None:
    known, unknown = SigningKey(key(number=40)), SigningKey(key(number=41))
    trust = Trust(keys=(known.public,))
    text = refused(Pair(a=a_peer(Credential(unknown)), b=b_peer(trust=trust)))
    assert unknown.public.fingerprint in text
    text = refused(Pair(a=a_peer(), b=b_peer(trust=trust)))
    assert text.startswith("key:")


def test_a_certificate_that_is_not_the_pinned_one() -> None:
    pinned = Trust(certificates=(leaf(ROOT, A_NAME, number=42),))
    assert "remote_cert" in refused(Pair(a=a_peer(), b=b_peer(trust=pinned)))


def test_a_certificate_where_no_authority_is_asked_and_none_is_sent() -> None:
    bare = Credential(A_CREDENTIAL.key)
    assert "sent no certificate" in refused(Pair(a=a_peer(bare), b=b_peer()))


def test_methods_that_are_not_configured() -> None:
    text = refused(Pair(a=peer("a"), b=b_peer()))
    assert "its signature is wanted" in text
    pair = Pair(a=a_peer(A_CREDENTIAL, None), b=peer("b"))
    assert "a pre-shared key is configured" in refused(pair)
    nobody = replace(peer("a"), local_null=True)
    assert "NULL" in refused(Pair(a=nobody, b=peer("b")))
    assert "NULL" in refused(Pair(a=nobody, b=b_peer(None, TRUST)))


@pytest.mark.requirement("AUT-08")
def test_a_lax_connection_does_not_open_a_strict_one() -> None:
    """Same addresses, one connection for anybody and one for holders of certificates."""
    strict = replace(b_peer(), name="strict")
    lax = replace(
        peer("b"), psk=None, remote_id=None, credentials=(B_CREDENTIAL,), remote_null=True
    )
    anybody = replace(peer("a"), psk=None, local_null=True, trust=TRUST)
    for peers in ((strict, lax), (lax, strict)):
        pair = Pair(a=anybody, b=b_peer())
        pair.b = Node("b", replace(pair.b.endpoint.config, peers=peers), 9)
        pair.establish()
        names = {event.connection for event in pair.b.of(IkeSaEstablished)}
        assert "strict" not in names


def test_a_key_that_the_peer_cannot_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_ANNOUNCEMENT", b"\x00\x02")  # SHA2-256 alone
    ed25519 = credential(leaf(ROOT, A_NAME, kind="ed25519"), kind="ed25519")
    pair = Pair(a=a_peer(ed25519), b=b_peer())
    pair.initiate()
    pair.drive(10)
    (failure,) = pair.a.of(IkeSaFailed)
    assert "Ed25519 cannot serve" in failure.detail
    pair = Pair(a=a_peer(), b=b_peer(credential(leaf(ROOT, B_NAME, kind="ed448"), kind="ed448")))
    assert "Ed448 cannot serve" in refused(pair)


@pytest.mark.requirement("R7296-113")
def test_peers_from_before_rfc_7427(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_ANNOUNCEMENT", b"")
    for kind in ("rsa3072", "ecdsa256", "ecdsa384"):
        mine = credential(leaf(ROOT, A_NAME, kind=kind), kind=kind)
        established(Pair(a=a_peer(mine), b=b_peer()))


# what is on the wire


@pytest.mark.requirement("R7296-002")
def test_where_certificates_and_their_requests_stand() -> None:
    pair = Pair(a=a_peer(), b=b_peer(), fragment_octets=9000)
    established(pair)
    request, response = pair.messages[2:4]
    order = ["IDi", "CERT", "CERTREQ", "IDr", "AUTH", "INITIAL_CONTACT", "SA", "TSi", "TSr"]
    assert request.types[: len(order)] == order
    order = ["IDr", "CERT", "AUTH", "SA", "TSi", "TSr"]
    assert response.types[: len(order)] == order


@pytest.mark.requirement("R7296-199")
def test_what_is_announced_and_asked_for() -> None:
    pair = Pair(a=a_peer(), b=b_peer())
    established(pair)
    for message in pair.messages[:2]:
        assert announced(message) == [b"\x00\x02\x00\x03\x00\x04\x00\x05"]
    (request,) = (p for p in pair.messages[1].payloads if isinstance(p, CertReqPayload))
    assert request.encoding == CertEncoding.X509_SIGNATURE
    assert request.authorities == of(ROOT)[0].key.key_hash


def test_secrets_alone_announce_nothing() -> None:
    pair = Pair()
    established(pair)
    for message in pair.messages[:2]:
        assert not announced(message)


def announced(message: Sent) -> list[bytes]:
    kind = NotifyType.SIGNATURE_HASH_ALGORITHMS
    return [p.data for p in message.payloads if isinstance(p, NotifyPayload) and p.type == kind]


# suspension


def suspended() -> Pair:
    pair = Pair(a=a_peer(), b=b_peer())
    pair.b.answers_questions = False
    pair.initiate()
    pair.drive(3)
    assert len(pair.b.questions) == 1
    return pair


def test_a_late_answer_is_good_and_repetitions_ask_nothing() -> None:
    pair = suspended()
    assert pair.b.endpoint.counters["dropped_suspended"] >= 1  # retransmissions of the request
    pair.b.answer(pair.now)
    pair.flush(pair.b)
    pair.drive()
    pair.check_sads()
    assert len(pair.b.questions) == 1


def test_a_refusal_from_outside() -> None:
    pair = suspended()
    number = pair.b.questions[0].number
    pair.b.endpoint.answer(number, PathRefused("revoked yesterday"), pair.now)
    pair.flush(pair.b)
    pair.drive()
    assert "revoked yesterday" in pair.b.of(IkeSaFailed)[0].detail
    assert not pair.b.sad


@pytest.mark.requirement("AUT-02")
def test_an_answer_that_is_no_proof_proves_nothing() -> None:
    pair = suspended()
    pair.b.endpoint.answer(pair.b.questions[0].number, object(), pair.now)
    pair.flush(pair.b)
    pair.drive()
    assert pair.b.of(IkeSaFailed)
    with pytest.raises(TypeError):
        Authenticated(object(), a_peer(), Identity.parse("x"), None)  # type: ignore[arg-type]


def test_the_proof_for_another_certificate_proves_nothing() -> None:
    pair = suspended()
    elsewhere = Pair(a=a_peer(credential(leaf(ROOT, A_NAME, number=50), number=50)), b=b_peer())
    elsewhere.b.answers_questions = False
    elsewhere.initiate()
    elsewhere.drive(1)
    asked, other = pair.b.questions[0], elsewhere.b.questions[0]
    pair.b.questions.append(other._replace(number=asked.number))
    pair.b.answer(pair.now)
    pair.flush(pair.b)
    pair.drive()
    assert "another key" in pair.b.of(IkeSaFailed)[0].detail


def test_no_answer_ends_in_time_and_leaves_nothing() -> None:
    pair = suspended()
    pair.drive(60)
    (failure,) = pair.b.of(IkeSaFailed)
    assert (failure.reason, failure.detail) == (
        "timeout",
        "the check of the peer's certificate took too long",
    )
    pair.b.answer(pair.now)
    assert not pair.b.endpoint._services.questions
    assert pair.b.endpoint.half_open == 0


def test_no_answer_at_the_initiator_ends_in_time() -> None:
    pair = Pair(a=a_peer(), b=b_peer())
    pair.a.answers_questions = False
    pair.initiate()
    pair.drive(60)
    (failure,) = pair.a.of(IkeSaFailed)
    assert failure.detail == "the check of the peer's certificate took too long"
    pair.a.answer(pair.now)
    assert not pair.a.endpoint._services.questions


def test_a_late_answer_at_the_initiator() -> None:
    pair = Pair(a=a_peer(), b=b_peer())
    pair.a.answers_questions = False
    pair.initiate()
    pair.drive(5)
    pair.a.answer(pair.now)
    pair.flush(pair.a)
    pair.drive()
    pair.check_sads()
    assert pair.exchanges()[ExchangeType.IKE_AUTH] == 2


@pytest.mark.parametrize("side", ["a", "b"])
def test_closing_while_suspended(side: str) -> None:
    pair = Pair(a=a_peer(), b=b_peer())
    node = pair.a if side == "a" else pair.b
    node.answers_questions = False
    pair.initiate()
    pair.drive(1)
    node.endpoint.shutdown(pair.now)
    pair.flush(node)
    node.answer(pair.now)
    pair.flush(node)
    pair.drive()
    assert node.endpoint.is_idle
    assert not node.sad


# hostile payloads


@pytest.mark.requirement("R7296-198", "CRT-04")
def test_every_encoding_of_cert_is_ignored_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = A_CREDENTIAL.certificates[0].der
    for number in range(256):
        for body in (good, b"", bytes(50)):
            sent = [CertPayload(CertEncoding.of(number), body)]
            monkeypatch.setattr("ipsecme.ike.tasks.authenticate.shown", lambda *_, s=sent, **__: s)
            pair = Pair(a=a_peer(), b=b_peer())
            pair.initiate()
            pair.drive(0.1)
            right = number == CertEncoding.X509_SIGNATURE and body == good
            assert bool(pair.b.of(IkeSaEstablished)) == right


@pytest.mark.requirement("R7296-198")
@pytest.mark.parametrize("before", [False, True])
def test_other_encodings_beside_a_certificate_are_ignored(
    monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    own = A_CREDENTIAL.certificates[0].der
    taken = (CertEncoding.X509_SIGNATURE,)
    others = [CertPayload(CertEncoding.of(n), own) for n in range(13) if n not in taken]
    good = [CertPayload(CertEncoding.X509_SIGNATURE, own)]
    sent = [*others, *good] if before else [*good, *others]
    shown_by_b = [CertPayload(CertEncoding.X509_SIGNATURE, B_CREDENTIAL.certificates[0].der)]

    def shown(credential: Credential, *_: object, **__: object) -> list[CertPayload]:
        return sent if credential is A_CREDENTIAL else shown_by_b

    monkeypatch.setattr("ipsecme.ike.tasks.authenticate.shown", shown)
    established(Pair(a=a_peer(), b=b_peer()))


@pytest.mark.requirement("R7296-199", "PAR-06")
@pytest.mark.parametrize("octets", [*range(1, 42), 59, 60])
def test_lists_of_authorities_of_every_size(octets: int) -> None:
    payload = CertReqPayload(CertEncoding.X509_SIGNATURE, bytes(octets))
    found = authorities_of([payload])
    assert bool(found) == (octets % 20 == 0)
