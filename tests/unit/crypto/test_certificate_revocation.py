"""Revocation: every condition of a CRL against the three policies."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ipsecme.crypto.certificate_issue import Authority, make_crl
from ipsecme.crypto.certificate_news import News
from ipsecme.crypto.certificate_path import PathRefused, trust
from ipsecme.crypto.certificate_revocation import Crl, CrlUnfit
from support.certificates import AT, authority, key, leaf, of

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = authority("Root", number=1)
MIDDLE = authority("Middle", ROOT, number=2)
LEAF = leaf(MIDDLE, "gw.example")
SERIAL = LEAF.library.serial_number
WEEK = dt.timedelta(days=7)
DAY = dt.timedelta(days=1)


def crl(issuer: Authority, *serials: int, at: dt.datetime = AT) -> Crl:
    return Crl(make_crl(issuer, [(serial, AT - DAY) for serial in serials], 1, at, WEEK))


def with_extension(extension: x509.ExtensionType, *, critical: bool = True) -> Crl:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(MIDDLE.certificate.subject)
        .last_update(AT - DAY)
        .next_update(AT + DAY)
        .add_extension(extension, critical)
    )
    return Crl(builder.sign(MIDDLE.key, hashes.SHA256()))


def point(**settings: bool) -> x509.IssuingDistributionPoint:
    usual = {
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(
        full_name=None, relative_name=None, only_some_reasons=None, **{**usual, **settings}
    )


GOOD, REVOKED, UNKNOWN = "good", "revoked", "unknown"


class Case(NamedTuple):
    crls: Callable[[], list[Crl]]
    result: str
    words: str = ""


CASES = {
    "not on it": Case(lambda: [crl(MIDDLE, 4711)], GOOD),
    "on it": Case(lambda: [crl(MIDDLE, SERIAL)], REVOKED, "revoked it on 2030-05-31 12:00 UTC"),
    "on the second": Case(
        lambda: [crl(MIDDLE, at=AT - 2 * WEEK), crl(MIDDLE, SERIAL)], REVOKED, "revoked it on"
    ),
    "none": Case(list, UNKNOWN, "there is no CRL of"),
    "of another authority": Case(lambda: [crl(authority("Other", number=5))], UNKNOWN, "no CRL"),
    "stale": Case(lambda: [crl(MIDDLE, at=AT - 2 * WEEK)], UNKNOWN, "was good until 2030-05-25"),
    "stale but on it": Case(lambda: [crl(MIDDLE, SERIAL, at=AT - 2 * WEEK)], REVOKED, "revoked"),
    "from the future": Case(lambda: [crl(MIDDLE, at=AT + WEEK)], UNKNOWN, "from the future"),
    "wrongly signed": Case(
        lambda: [crl(Authority(MIDDLE.certificate, key(number=9)), SERIAL)],
        UNKNOWN,
        "not signed by its key",
    ),
    "for users": Case(lambda: [with_extension(point(only_contains_user_certs=True))], GOOD),
    "for authorities": Case(
        lambda: [with_extension(point(only_contains_ca_certs=True))], UNKNOWN, "is not about"
    ),
    "indirect": Case(lambda: [with_extension(point(indirect_crl=True))], UNKNOWN, "is not about"),
    "changes only": Case(
        lambda: [with_extension(x509.DeltaCRLIndicator(1))], UNKNOWN, "changes only"
    ),
    "strange": Case(
        lambda: [
            with_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
            )
        ],
        UNKNOWN,
        "critical extension",
    ),
}


@pytest.mark.requirement("CRT-06")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("policy", ["off", "soft", "strict"])
def test_conditions_against_policies(case: Case, policy: Literal["off", "soft", "strict"]) -> None:
    crls = [*case.crls(), crl(ROOT)]
    passes = policy == "off" or case.result == GOOD or (policy == "soft" and case.result == UNKNOWN)

    def run() -> object:
        return trust(
            LEAF,
            of(MIDDLE),
            anchors=of(ROOT),
            pinned=(),
            news=News(tuple(crls)),
            policy=policy,
            at=AT,
        )

    if passes:
        assert run() is not None
        return
    with pytest.raises(PathRefused, match=case.words):
        run()


def test_an_authority_between_may_be_revoked_or_unknown() -> None:
    revoked = crl(ROOT, MIDDLE.certificate.serial_number)
    for crls, policy in (([crl(MIDDLE), revoked], "soft"), ([crl(MIDDLE)], "strict")):
        with pytest.raises(PathRefused, match="CN=Middle"):
            trust(
                LEAF,
                of(MIDDLE),
                anchors=of(ROOT),
                pinned=(),
                news=News(tuple(crls)),
                policy=policy,  # type: ignore[arg-type]
                at=AT,
            )


def test_an_authority_that_may_not_sign_crls() -> None:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    basic = x509.BasicConstraints(ca=True, path_length=None)
    made = leaf(ROOT, title="Mute", number=8, extensions=[(basic, True), (usage, True)])
    mute = Authority(made.library, key(number=8))
    certificate = leaf(mute, "gw.example")
    with pytest.raises(PathRefused, match="may not sign CRLs"):
        trust(
            certificate,
            [made],
            anchors=of(ROOT),
            pinned=(),
            news=News((crl(mute), crl(ROOT))),
            policy="strict",
            at=AT,
        )


def test_forms_of_crls() -> None:
    made = make_crl(ROOT, [(7, AT)], 1, AT, WEEK)
    for encoding in (Encoding.PEM, Encoding.DER):
        assert Crl.decode(made.public_bytes(encoding)).issuer == of(ROOT)[0].subject
    der = made.public_bytes(Encoding.DER)
    for bad in (b"", b"\x30", der[:-1], b"-----BEGIN X509 CRL-----\n", bytes(99)):
        with pytest.raises(CrlUnfit):
            Crl.decode(bad)
