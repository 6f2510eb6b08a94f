"""Certificates: what is read, which ways lead to an authority, and all that is refused."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, strategies as st

from ipsecme.crypto.certificate import IPSEC_IKE, Certificate, CertificateUnfit
from ipsecme.crypto.certificate_issue import KEY_TYPES, Authority, KeyType
from ipsecme.crypto.certificate_names import DistinguishedName, NameMalformed
from ipsecme.crypto.certificate_path import PathRefused, TrustedPath, find_path, trust
from support.certificates import AT, YEAR, authority, key, leaf, of

ROOT = authority("Root", number=1)
MIDDLE = authority("Middle", ROOT, number=2)
LOW = authority("Low", MIDDLE, number=3)


def refused(certificate: Certificate, *others: Authority, at: dt.datetime = AT) -> str:
    with pytest.raises(PathRefused) as caught:
        find_path(certificate, of(*others), of(ROOT), at)
    return str(caught.value)


# ways that lead


@pytest.mark.parametrize("kind", KEY_TYPES)
def test_every_kind_of_key(kind: KeyType) -> None:
    root = authority("Root", kind=kind)
    certificate = leaf(root, "gw.example", kind=kind)
    assert find_path(certificate, [], of(root), AT) == (certificate, *of(root))


def test_intermediates_in_any_order_and_more_than_needed() -> None:
    certificate = leaf(LOW, "gw.example")
    stranger = authority("Stranger", number=9)
    for others in ((LOW, MIDDLE), (MIDDLE, LOW), (stranger, MIDDLE, LOW, LOW, ROOT)):
        found = find_path(certificate, of(*others), of(ROOT), AT)
        assert found == (certificate, *of(LOW, MIDDLE, ROOT))


def test_an_authority_below_the_root_may_be_the_anchor() -> None:
    certificate = leaf(LOW, "gw.example")
    assert find_path(certificate, [], of(LOW), AT) == (certificate, *of(LOW))


def test_a_second_way_is_found_when_the_first_does_not_lead() -> None:
    """Two authorities of one name: one renewed with another key, one cross-signed."""
    elder = authority("Middle", ROOT, number=7)
    certificate = leaf(MIDDLE, "gw.example")
    found = find_path(certificate, of(elder, MIDDLE), of(ROOT), AT)
    assert found == (certificate, *of(MIDDLE, ROOT))


def test_dates_are_those_of_the_given_time() -> None:
    certificate = leaf(ROOT, "gw.example", lifetime=dt.timedelta(days=10))
    assert find_path(certificate, [], of(ROOT), AT + dt.timedelta(days=10))
    late = refused(certificate, at=AT + dt.timedelta(days=10, seconds=1))
    assert "expired on 2030-06-11 12:00 UTC; renew it" in late
    assert "not valid before" in refused(certificate, at=AT - dt.timedelta(days=1))


# ways that do not


def test_an_expired_authority_does_not_help() -> None:
    old = authority("Old", ROOT, lifetime=dt.timedelta(days=1), number=4)
    later = AT + dt.timedelta(days=2)
    assert '"O=Example, CN=Old" expired' in refused(leaf(old, "gw.example"), old, at=later)


def test_an_unknown_issuer_is_named() -> None:
    other = authority("Other", number=5)
    text = refused(leaf(other, "gw.example"))
    assert "O=Example, CN=Other" in text
    assert "not an authority in ca" in text
    assert "Other" in refused(leaf(other, "gw.example"), other)  # a root that the peer sent


@pytest.mark.requirement("CRT-05")
def test_an_authority_of_the_same_name_with_another_key() -> None:
    false_root = authority("Root", number=6)
    for others in ((), (false_root,)):
        assert refused(leaf(false_root, "gw.example"), *others)


@pytest.mark.requirement("CRT-05")
def test_a_leaf_that_calls_itself_like_the_authority() -> None:
    assert refused(leaf(None, "gw.example", title="Root"))
    assert "vouches for itself" in refused(leaf(None, "gw.example", title="lonely"))


@pytest.mark.requirement("CRT-05")
def test_authorities_that_issue_each_other_end() -> None:
    one = authority("One", number=11)
    two = authority("Two", one, number=12)
    circle = authority("One", two, number=11)
    assert refused(leaf(one, "gw.example"), circle, two, one)


def test_many_authorities_of_one_name_end() -> None:
    crowd = [authority("Crowd", number=20 + i) for i in range(3)]
    others = [authority("Crowd", issuer, number=20) for issuer in crowd for _ in range(20)]
    assert refused(leaf(crowd[0], "gw.example"), *others)


def test_a_chain_that_is_too_long() -> None:
    chain = [ROOT]
    for index in range(8):
        chain.append(authority(f"Level {index}", chain[-1], number=40))
    assert "more than 8" in refused(leaf(chain[-1], "gw.example"), *chain)


def test_path_length() -> None:
    strict = authority("Strict", ROOT, path_length=0, number=13)
    below = authority("Below", strict, number=14)
    assert find_path(leaf(strict, "a.example"), of(strict), of(ROOT), AT)
    assert "allows 0 authorities" in refused(leaf(below, "a.example"), below, strict)


def test_who_is_no_authority_issues_nothing() -> None:
    ordinary = leaf(ROOT, "gw.example", title="Ordinary", number=15)
    false = Authority(ordinary.library, key(number=15))
    assert "not marked as an authority" in refused(leaf(false, "x.example"), false)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    odd = leaf(
        ROOT,
        title="Odd",
        number=16,
        extensions=[(x509.BasicConstraints(ca=True, path_length=None), True), (usage, True)],
    )
    assert "keyUsage" in refused(leaf(Authority(odd.library, key(number=16)), "x.example"),
                                 Authority(odd.library, key(number=16)))  # fmt: skip


def test_sha1_does_not_lead_anywhere() -> None:
    root = authority("Root", kind="rsa3072")
    sha256, sha1 = (bytes.fromhex(f"06092a864886f70d0101{n}0500") for n in ("0b", "05"))
    weak = leaf(root, "gw.example").der.replace(sha256, sha1)
    with pytest.raises(PathRefused, match="signed with sha1; renew it"):
        find_path(Certificate.decode(weak), [], of(root), AT)


USAGES = {
    "digital_signature": True,
    "content_commitment": True,
    "key_encipherment": False,
    "key_agreement": False,
}


@pytest.mark.requirement("CRT-06")
@pytest.mark.parametrize("allowed", USAGES)
def test_key_usage(allowed: str) -> None:
    bits = dict.fromkeys(
        [*USAGES, "data_encipherment", "key_cert_sign", "crl_sign", "encipher_only"], False
    )
    usage = x509.KeyUsage(**{**bits, allowed: True}, decipher_only=False)
    certificate = leaf(ROOT, "gw.example", extensions=[(usage, True)])
    if USAGES[allowed]:
        assert find_path(certificate, [], of(ROOT), AT)
    else:
        assert "keyUsage" in refused(certificate)


@pytest.mark.requirement("CRT-06")
@pytest.mark.parametrize(
    ("purposes", "good"),
    [
        ([IPSEC_IKE], True),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], True),
        ([ExtendedKeyUsageOID.SERVER_AUTH, IPSEC_IKE], True),
        ([ExtendedKeyUsageOID.SERVER_AUTH], False),
        ([ExtendedKeyUsageOID.CODE_SIGNING], False),
    ],
)
def test_extended_key_usage(purposes: list[x509.ObjectIdentifier], good: bool) -> None:
    certificate = leaf(ROOT, "gw.example", extensions=[(x509.ExtendedKeyUsage(purposes), True)])
    if good:
        assert find_path(certificate, [], of(ROOT), AT)
    else:
        assert "ipsecIKE" in refused(certificate)


def test_a_critical_extension_that_nobody_knows() -> None:
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    with pytest.raises(CertificateUnfit, match=r"1\.2\.3\.4"):
        leaf(ROOT, "gw.example", extensions=[(strange, True)])
    assert find_path(leaf(ROOT, extensions=[(strange, False)]), [], of(ROOT), AT)


# name constraints


def constrained(
    permitted: list[x509.GeneralName] | None = None,
    excluded: list[x509.GeneralName] | None = None,
) -> Authority:
    constraints = x509.NameConstraints(permitted, excluded)
    return authority("Bound", ROOT, extensions=[(constraints, True)], number=17)


EXCLUDED: list[tuple[x509.GeneralName, str, bool]] = [
    (x509.DNSName("example.org"), "EXAMPLE.org", False),
    (x509.DNSName("example.org"), "sub.Example.Org", False),
    (x509.DNSName("example.org"), "example.org.", False),
    (x509.DNSName("EXAMPLE.ORG"), "example.org", False),
    (x509.DNSName(".example.org"), "sub.example.org", False),
    (x509.DNSName("example.org"), "notexample.org", True),
    (x509.RFC822Name("example.org"), "carol@Example.Org", False),
    (x509.RFC822Name("carol@example.org"), "Carol@EXAMPLE.org", False),
    (x509.RFC822Name(".example.org"), "carol@sub.example.org", False),
    (x509.RFC822Name("example.org"), "carol@sub.example.org", True),
    (x509.IPAddress(ipaddress.ip_network("10.0.0.0/8")), "10.1.2.3", False),
    (x509.IPAddress(ipaddress.ip_network("10.0.0.0/8")), "192.0.2.1", True),
    (x509.IPAddress(ipaddress.ip_network("10.0.0.0/8")), "2001:db8::1", True),
    (x509.UniformResourceIdentifier("example.org"), "gw.example", False),
]


@pytest.mark.requirement("CRT-03")
@pytest.mark.parametrize(("tree", "san", "good"), EXCLUDED)
def test_excluded_names(tree: x509.GeneralName, san: str, good: bool) -> None:
    bound = constrained(excluded=[tree])
    certificate = leaf(bound, san)
    if good:
        assert find_path(certificate, of(bound), of(ROOT), AT)
    else:
        assert "may not certify" in refused(certificate, bound)


def test_permitted_names() -> None:
    bound = constrained(permitted=[x509.DNSName("example.org")])
    assert find_path(leaf(bound, "gw.example.org"), of(bound), of(ROOT), AT)
    assert "not among the permitted" in refused(leaf(bound, "gw.example.com"), bound)
    both = leaf(bound, "gw.example.org", "gw.example.com")
    assert "gw.example.com" in refused(both, bound)


@pytest.mark.requirement("CRT-03")
def test_constraints_on_distinguished_names_have_no_case() -> None:
    organization = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "EXAMPLE")])
    bound = constrained(excluded=[x509.DirectoryName(organization)])
    assert "excluded" in refused(leaf(bound, "gw.example"), bound)


def test_constraints_reach_all_that_is_below() -> None:
    bound = constrained(excluded=[x509.DNSName("example.org")])
    below = authority("Below", bound, number=18)
    assert "excluded" in refused(leaf(below, "gw.example.org"), below, bound)


# pinned certificates


def test_a_pinned_certificate_needs_no_authority() -> None:
    own = leaf(None, "gw.example")
    assert trust(own, [], anchors=[], pinned=[own], at=AT).leaf is own
    with pytest.raises(PathRefused, match="expired"):
        trust(own, [], anchors=[], pinned=[own], at=AT + 2 * YEAR)
    with pytest.raises(PathRefused, match="remote_cert"):
        trust(leaf(None, "gw.example"), [], anchors=[], pinned=[own], at=AT)


def test_nobody_else_makes_the_proof() -> None:
    with pytest.raises(TypeError):
        TrustedPath(object(), (leaf(ROOT),))


# hostile octets


@pytest.mark.requirement("CRT-04")
def test_damaged_certificates_are_refused_or_mistrusted() -> None:
    good = leaf(ROOT, "gw.example", "192.0.2.1", "carol@example.org").der
    for index in range(len(good)):
        for damage in (0x01, 0x80, 0xFF):
            bad = good[:index] + bytes((good[index] ^ damage,)) + good[index + 1 :]
            with pytest.raises((CertificateUnfit, PathRefused)):
                find_path(Certificate.decode(bad), [], of(ROOT), AT)
    for end in range(len(good)):
        with pytest.raises(CertificateUnfit):
            Certificate.decode(good[:end])


@pytest.mark.requirement("CRT-02")
def test_variants_of_the_outer_algorithm_are_refused() -> None:
    """The signature does not cover the outer algorithm; it must be the inner one."""
    good = leaf(ROOT, "gw.example").der
    inner = bytes.fromhex("06082a8648ce3d040302")
    at = good.rindex(inner)
    bad = good[: at + len(inner) - 1] + b"\x03" + good[at + len(inner) :]
    with pytest.raises((CertificateUnfit, PathRefused)):
        find_path(Certificate.decode(bad), [], of(ROOT), AT)


def test_a_certificate_that_is_too_large() -> None:
    with pytest.raises(CertificateUnfit, match="too large"):
        Certificate.decode(bytes(20_000))


# distinguished names


def test_both_orders_of_writing_give_the_same_name() -> None:
    names = [
        "C=CH, O=Example, CN=gw",
        "C = ch,O = EXAMPLE,CN =  GW",
        "CN=gw,O=Example,C=CH",
    ]
    assert len({DistinguishedName.parse(text) for text in names}) == 1
    assert str(DistinguishedName.parse(names[2])) == "C=CH, O=Example, CN=gw"
    assert DistinguishedName.parse("O=Example, CN=gw") != DistinguishedName.parse(names[0])
    assert DistinguishedName.parse("CN=a\\, b") != DistinguishedName.parse("CN=a")


def test_names_compare_across_kinds_of_strings() -> None:
    printable = bytes.fromhex("300d310b3009060355040313024757")
    utf8 = bytes.fromhex("300d310b300906035504030c026777")
    assert DistinguishedName(printable) == DistinguishedName(utf8)


@pytest.mark.parametrize("text", ["", "gw", "CN", "XX=1", "CN=a,,O=b"])
def test_texts_that_are_no_names(text: str) -> None:
    if not text:
        assert not DistinguishedName.parse(text)
        return
    with pytest.raises(NameMalformed):
        DistinguishedName.parse(text)


@pytest.mark.requirement("PAR-10")
@given(st.binary(max_size=80))
def test_octets_that_are_no_names(octets: bytes) -> None:
    for octets_ in (octets, b"\x30" + bytes((len(octets),)) + octets):
        try:
            DistinguishedName(octets_)
        except NameMalformed:
            continue


def test_the_reader_agrees_with_the_library() -> None:
    der = ROOT.certificate.subject.public_bytes()
    assert [str(a) for rdn in DistinguishedName(der).parts for a in rdn] == [
        "O=Example",
        "CN=Root",
    ]
    assert ROOT.certificate.public_bytes(Encoding.DER) == of(ROOT)[0].der
