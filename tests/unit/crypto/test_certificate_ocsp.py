"""OCSP: every condition of a response, and what follows from it under the three policies."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, strategies as st

from ipsecme.crypto.certificate_issue import (
    Authority,
    KeyType,
    issue,
    make_crl,
    make_ocsp_response,
)
from ipsecme.crypto.certificate_news import News
from ipsecme.crypto.certificate_ocsp import OcspResponse, OcspRules, OcspUnfit, encode_request
from ipsecme.crypto.certificate_path import PathRefused, trust
from ipsecme.crypto.certificate_revocation import Crl
from support.certificates import AT, authority, key, leaf, name, of

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = authority("Root", number=1)
OTHER = authority("Other", number=5)
(ISSUER,) = of(ROOT)
LEAF = leaf(ROOT, "gw.example")
DAY = dt.timedelta(days=1)
PURPOSE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])


def response(
    signer: Authority = ROOT,
    *,
    at: dt.datetime = AT,
    revoked: dt.datetime | None = None,
    about: x509.Certificate = LEAF.library,
    issuer: x509.Certificate = ROOT.certificate,
    lifetime: dt.timedelta = DAY,
) -> OcspResponse:
    return OcspResponse(
        make_ocsp_response(about, issuer, at, lifetime, signer=signer, revoked=revoked)
    )


def responder(
    by: Authority = ROOT,
    *,
    purpose: x509.ExtendedKeyUsage | None = PURPOSE,
    at: dt.datetime = AT,
    number: int = 9,
) -> Authority:
    """Return who got a certificate to answer for `by`."""
    extensions = [] if purpose is None else [(purpose, False)]
    lifetime = dt.timedelta(days=30)
    made = issue(name("OCSP"), key(number=number), [], at, lifetime, issuer=by,
                 extensions=extensions)  # fmt: skip
    return Authority(made, key(number=number))


def unusual(
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    end: dt.datetime | None = AT + DAY,
    begin: dt.datetime = AT,
    algorithm: hashes.HashAlgorithm | None = None,
    signer: Authority = ROOT,
) -> OcspResponse:
    builder = ocsp.OCSPResponseBuilder().responder_id(
        ocsp.OCSPResponderEncoding.NAME, signer.certificate
    )
    builder = builder.add_response(
        LEAF.library, ROOT.certificate, algorithm or hashes.SHA1(), status, begin, end, None, None
    )
    return OcspResponse(builder.sign(signer.key, hashes.SHA256()))


GOOD, REVOKED, UNKNOWN = "good", "revoked", "unknown"


class Case(NamedTuple):
    responses: Callable[[], list[OcspResponse]]
    standing: str
    words: str = ""
    rules: OcspRules = OcspRules()


CASES = {
    "by the issuer": Case(lambda: [response()], GOOD),
    "revoked": Case(lambda: [response(revoked=AT - DAY)], REVOKED, "revoked it on 2030-05-31"),
    "revoked, and old": Case(
        lambda: [response(revoked=AT - 9 * DAY, at=AT - 8 * DAY)], REVOKED, "revoked it"
    ),
    "good and revoked": Case(lambda: [response(revoked=AT - DAY), response()], REVOKED),
    "not known there": Case(
        lambda: [unusual(ocsp.OCSPCertStatus.UNKNOWN)], UNKNOWN, "does not know"
    ),
    "none": Case(list, UNKNOWN, "no CRL"),
    "about another": Case(
        lambda: [response(about=leaf(ROOT, "else.example").library)], UNKNOWN, "no OCSP response"
    ),
    "of another issuer": Case(
        lambda: [response(OTHER, issuer=OTHER.certificate)], UNKNOWN, "no OCSP response"
    ),
    "by a stranger": Case(lambda: [response(OTHER)], UNKNOWN, 'CN=Other", which lacks'),
    "by a stranger who sends no certificate": Case(
        lambda: [unusual(signer=OTHER)], UNKNOWN, "is not signed by"
    ),
    "old": Case(lambda: [response(at=AT - 3 * DAY)], UNKNOWN, "was good until 2030-05-30"),
    "of the future": Case(lambda: [response(at=AT + DAY)], UNKNOWN, "from the future"),
    "without end, fresh": Case(lambda: [unusual(end=None)], GOOD),
    "without end, old": Case(
        lambda: [unusual(end=None, begin=AT - dt.timedelta(hours=2))], UNKNOWN, "than 1 hours ago"
    ),
    "older than we want": Case(
        lambda: [response(at=AT - DAY / 2)],
        UNKNOWN,
        "more than 6 hours ago",
        OcspRules(max_age=DAY / 4),
    ),
    "as young as we want": Case(lambda: [response()], GOOD, rules=OcspRules(max_age=DAY / 4)),
    "with SHA-256 in its CertID": Case(lambda: [unusual(algorithm=hashes.SHA256())], GOOD),
    "by a delegate": Case(lambda: [response(responder())], GOOD),
    "by a delegate, revoked": Case(lambda: [response(responder(), revoked=AT - DAY)], REVOKED),
    "by one without the purpose": Case(
        lambda: [response(responder(purpose=None))], UNKNOWN, "lacks the extendedKeyUsage OCSPSig"
    ),
    "by the peer itself": Case(
        lambda: [response(Authority(LEAF.library, key()))], UNKNOWN, "lacks the extendedKeyUsage"
    ),
    "by a delegate of another": Case(
        lambda: [response(responder(OTHER))], UNKNOWN, "which .* did not issue"
    ),
    "by a delegate out of date": Case(
        lambda: [response(responder(at=AT - 99 * DAY))], UNKNOWN, "which is out of date"
    ),
    "by a trusted responder": Case(
        lambda: [response(OTHER)], GOOD, rules=OcspRules(tuple(of(OTHER)))
    ),
    "a bad one before a good one": Case(lambda: [response(OTHER), response()], GOOD),
}


def judged(
    policy: Literal["off", "soft", "strict"],
    responses: list[OcspResponse],
    rules: OcspRules = OcspRules(),  # noqa: B008 - it cannot change
    crls: tuple[Crl, ...] = (),
) -> str:
    """Return nothing for trust, else the reason."""
    news = News(crls, tuple(responses), rules)
    try:
        trust(LEAF, (), anchors=of(ROOT), pinned=(), news=news, policy=policy, at=AT)
    except PathRefused as error:
        return str(error)
    return ""


@pytest.mark.requirement("R4806-003", "R4806-004", "R4806-007")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_condition(case: Case) -> None:
    responses = case.responses()
    strict = judged("strict", responses, case.rules)
    assert bool(strict) == (case.standing != GOOD), strict
    assert bool(judged("soft", responses, case.rules)) == (case.standing == REVOKED)
    assert not judged("off", responses, case.rules)
    assert re.search(case.words, strict)


@pytest.mark.parametrize("kind", ["rsa3072", "ecdsa384", "ed25519", "ed448"])
def test_every_kind_of_key(kind: KeyType) -> None:
    root = authority("Root", kind=kind, number=1)
    one = leaf(root, "gw.example")
    made = response(root, about=one.library, issuer=root.certificate)
    news = News(ocsp=(made,))
    trust(one, (), anchors=of(root), pinned=(), news=news, policy="strict", at=AT)


def test_a_changed_octet_anywhere_is_never_good() -> None:
    der = response().der
    signed = len(response().library.tbs_response_bytes)
    start = der.index(response().library.tbs_response_bytes)
    for at in range(start, start + signed, 3):
        changed = der[:at] + bytes((der[at] ^ 1,)) + der[at + 1 :]
        try:
            found = OcspResponse.decode(changed)
        except OcspUnfit:
            continue
        assert judged("strict", [found])


def test_crls_and_ocsp_together() -> None:
    serial = LEAF.library.serial_number
    bad = Crl(make_crl(ROOT, [(serial, AT - DAY)], 1, AT, DAY))
    good = Crl(make_crl(ROOT, [], 1, AT, DAY))
    assert "is revoked" in judged("soft", [response()], crls=(bad,))
    assert "says OCSP" in judged("soft", [response(revoked=AT - DAY)], crls=(good,))
    assert not judged("strict", [unusual(ocsp.OCSPCertStatus.UNKNOWN)], crls=(good,))
    assert not judged("strict", [response()])


def test_refusals_of_a_responder_are_told() -> None:
    refusal = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    with pytest.raises(OcspUnfit, match="the OCSP responder answers: try later"):
        OcspResponse.decode(refusal.public_bytes(Encoding.DER))


def test_nonces() -> None:
    request = ocsp.load_der_ocsp_request(encode_request(LEAF, ISSUER, b"sixteen octets!!"))
    assert request.serial_number == LEAF.library.serial_number
    (extension,) = request.extensions
    assert extension.value == x509.OCSPNonce(b"sixteen octets!!")
    assert not list(ocsp.load_der_ocsp_request(encode_request(LEAF, ISSUER, b"")).extensions)
    without = response()
    without.require_nonce(b"mine")  # most responders send none
    made = make_ocsp_response(LEAF.library, ROOT.certificate, AT, DAY, signer=ROOT, nonce=b"mine")
    OcspResponse(made).require_nonce(b"mine")
    with pytest.raises(OcspUnfit, match="nonce of another request"):
        OcspResponse(made).require_nonce(b"other")


def test_what_is_too_large() -> None:
    with pytest.raises(OcspUnfit, match="too large"):
        OcspResponse.decode(bytes(16385))
    builder = ocsp.OCSPResponseBuilder().responder_id(
        ocsp.OCSPResponderEncoding.HASH, ROOT.certificate
    )
    builder = builder.add_response(
        LEAF.library, ROOT.certificate, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, AT, None, None,
        None,
    ).certificates([responder(number=n).certificate for n in range(5)])  # fmt: skip
    with pytest.raises(OcspUnfit, match="5 certificates"):
        OcspResponse(builder.sign(ROOT.key, hashes.SHA256()))


@given(st.binary(max_size=400))
def test_nonsense_is_refused(octets: bytes) -> None:
    with pytest.raises(OcspUnfit):
        OcspResponse.decode(octets)


def test_half_of_a_response_is_refused() -> None:
    der = response().der
    for end in range(len(der)):
        with pytest.raises(OcspUnfit):
            OcspResponse.decode(der[:end])
