"""Signatures of AUTH: published vectors, every scheme there and back, and whatever is refused."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x25519

from ipsecme.crypto.signature import (
    ACCEPTED_HASHES,
    SCHEMES,
    NoCommonScheme,
    SignatureRefused,
    VerifiedSignature,
    sign,
    verify,
)
from ipsecme.crypto.signature_keys import KeyKind, KeyUnfit, PublicKey, SigningKey
from ipsecme.wire.numbers import AuthMethod, HashId

if TYPE_CHECKING:
    from collections.abc import Callable

OCTETS = b"what one end signs"
SIGNATURE = AuthMethod.DIGITAL_SIGNATURE
RSA = rsa.generate_private_key(65537, 2048)
CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
KEYS = {
    "rsa": SigningKey(RSA),
    **{name: SigningKey(ec.generate_private_key(curve)) for name, curve in CURVES.items()},
    "ed25519": SigningKey(ed25519.Ed25519PrivateKey.generate()),
    "ed448": SigningKey(ed448.Ed448PrivateKey.generate()),
}
PSS_SHA256 = (  # RFC 7427 A.4.3, and the same in strict DER
    (
        "304606092a864886f70d01010a3039a00f300d06096086480165030402010500a11c301a06092a864886f70d01"
        "0108300d06096086480165030402010500a203020120a303020101"
    ),
    (
        "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d01"
        "0108300d06096086480165030402010500a203020120"
    ),
)
# RFC 4754, section 8: public key and signature of "abc".
ECDSA_VECTORS = {
    "P-256": (
        "2442a5cc0ecd015fa3ca31dc8e2bbc70bf42d60cbca20085e0822cb04235e970",
        "6fc98bd7e50211a4a27102fa3549df79ebcb4bf246b80945cddfe7d509bbfd7d",
        "cb28e0999b9c7715fd0a80d8e47a77079716cbbf917dd72e97566ea1c066957c",
        "86fa3bb4e26cad5bf90b7f81899256ce7594bb1ea0c89212748bff3b3d5b0315",
    ),
    "P-384": (
        (
            "96281bf8dd5e0525ca049c048d345d3082968d10fedf5c5aca0c64e6465a97ea5ce10c9dfec21797"
            "415710721f437922"
        ),
        (
            "447688ba94708eb6e2e4d59f6ab6d7edff9301d249fe49c33096655f5d502fad3d383b91c5e7edaa"
            "2b714cc99d5743ca"
        ),
        (
            "fb017b914e29149432d8bac29a514640b46f53ddab2c69948084e2930f1c8f7e08e07c9c63f2d21a"
            "07dcb56a6af56eb3"
        ),
        (
            "b263a1305e057f984d38726a1b46874109f417bca112674c528262a40a629af1cbb9f516ce0fa7d2"
            "ff630863a00e8b9f"
        ),
    ),
    "P-521": (
        (
            "0151518f1af0f563517edd5485190df95a4bf57b5cba4cf2a9a3f6474725a35f7afe0a6ddeb8bedb"
            "cd6a197e592d40188901cecd650699c9b5e456aea5add19052a8"
        ),
        (
            "006f3b142ea1bfff7e2837ad44c9e4ff6d2d34c73184bbad90026dd5e6e85317d9df45cad7803c6c"
            "20035b2f3ff63aff4e1ba64d1c077577da3f4286c58f0aeae643"
        ),
        (
            "0154fd3836af92d0dca57dd5341d3053988534fde8318fc6aaaab68e2e6f4339b19f2f281a7e0b22"
            "c269d93cf8794a9278880ed7dbb8d9362caeacee544320552251"
        ),
        (
            "017705a7030290d1ceb605a9a1bb03ff9cdd521e87a696ec926c8c10c8362df4975367101f67d1cf"
            "9bccbf2f3d239534fa509e70aac851ae01aac68d62f866472660"
        ),
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_rfc4754_vectors(name: str) -> None:
    x, y, r, s = (int(text, 16) for text in ECDSA_VECTORS[name])
    curve = CURVES[name]
    key = PublicKey(ec.EllipticCurvePublicNumbers(x, y, curve).public_key())
    size = (curve.key_size + 7) // 8
    method = {32: 9, 48: 10, 66: 11}[size]
    data = r.to_bytes(size) + s.to_bytes(size)

    assert verify(key, AuthMethod.of(method), data, b"abc").key is key
    with pytest.raises(SignatureRefused):
        verify(key, AuthMethod.of(method), data, b"abd")


@pytest.mark.requirement("AUT-04")
def test_pss_identifiers_are_those_of_the_rfc() -> None:
    pss = next(s for s in SCHEMES if s.title == "RSA-PSS SHA-256")
    assert {der.hex() for der in pss.identifiers} == set(PSS_SHA256)


@pytest.mark.requirement("AUT-05")
def test_identifiers_say_their_length() -> None:
    for scheme in SCHEMES:
        for der in scheme.identifiers:
            assert der[0] == 0x30
            assert der[1] == len(der) - 2


@pytest.mark.parametrize("name", KEYS)
def test_what_is_signed_is_verified(name: str) -> None:
    key = KEYS[name]
    method, data = sign(key, OCTETS, ACCEPTED_HASHES)
    assert method == SIGNATURE
    assert verify(key.public, method, data, OCTETS).key == key.public
    if key.public.kind in (KeyKind.RSA, KeyKind.ECDSA):
        method, data = sign(key, OCTETS, ())
        assert method != SIGNATURE
        assert verify(key.public, method, data, OCTETS).key == key.public


@pytest.mark.requirement("AUT-01")
@pytest.mark.parametrize("name", KEYS)
def test_no_damaged_signature_passes(name: str) -> None:
    key = KEYS[name]
    method, data = sign(key, OCTETS, ACCEPTED_HASHES)
    start = 1 + data[0]
    size = len(data) - start
    bad = [data[:end] for end in range(len(data))]
    bad += [data + b"\0", data[:start] + bytes(size), data[:start] + b"\xff" * size]
    bad += [data[:i] + bytes((data[i] ^ 1,)) + data[i + 1 :] for i in range(len(data))]
    bad += [data[start:], b"\xff" + data[1:], b"\0" + data[1:]]
    for damaged in bad:
        with pytest.raises(SignatureRefused):
            verify(key.public, method, damaged, OCTETS)
    with pytest.raises(SignatureRefused):
        verify(key.public, method, data, OCTETS + b"!")


def test_a_signature_by_another_key_does_not_pass() -> None:
    for name, key in KEYS.items():
        for other, wrong in KEYS.items():
            if name != other:
                method, data = sign(key, OCTETS, ACCEPTED_HASHES)
                with pytest.raises(SignatureRefused):
                    verify(wrong.public, method, data, OCTETS)


@pytest.mark.requirement("AUT-05")
def test_other_methods_are_no_signatures() -> None:
    _, data = sign(KEYS["rsa"], OCTETS, ACCEPTED_HASHES)
    for number in set(range(256)) - {1, 9, 10, 11, 14}:
        with pytest.raises(SignatureRefused, match="no signature"):
            verify(KEYS["rsa"].public, AuthMethod.of(number), data, OCTETS)


@pytest.mark.requirement("AUT-10")
def test_sha1_is_refused_in_every_form() -> None:
    key = KEYS["rsa"].public
    signature = RSA.sign(OCTETS, padding.PKCS1v15(), hashes.SHA1())
    pss = RSA.sign(OCTETS, padding.PSS(padding.MGF1(hashes.SHA1()), 20), hashes.SHA1())
    with pytest.raises(SignatureRefused):
        verify(key, AuthMethod.RSA_DIGITAL_SIGNATURE, signature, OCTETS)
    for identifier, value in (
        ("300d06092a864886f70d0101050500", signature),
        ("300d06092a864886f70d01010a3000", pss),
    ):
        der = bytes.fromhex(identifier)
        with pytest.raises(SignatureRefused, match="not accepted"):
            verify(key, SIGNATURE, bytes((len(der),)) + der + value, OCTETS)


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s.kind is KeyKind.RSA], ids=str)
def test_every_rsa_scheme_is_verified(scheme: object) -> None:
    wanted = next(s for s in SCHEMES if s is scheme)
    algorithm = {
        HashId.SHA2_256: hashes.SHA256(),
        HashId.SHA2_384: hashes.SHA384(),
        HashId.SHA2_512: hashes.SHA512(),
    }[wanted.hash]
    mode = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    value = RSA.sign(OCTETS, mode if wanted.pss else padding.PKCS1v15(), algorithm)
    for der in wanted.identifiers:
        data = bytes((len(der),)) + der + value
        assert verify(KEYS["rsa"].public, SIGNATURE, data, OCTETS).scheme == wanted.title


@pytest.mark.requirement("AUT-01")
def test_forged_pkcs1_blocks_for_a_small_exponent_do_not_pass() -> None:
    """Bleichenbacher's forgery: with e = 3 a cube root makes lenient parsers accept garbage."""
    small = rsa.generate_private_key(3, 2048)  # type: ignore[arg-type, unused-ignore]
    key = PublicKey(small.public_key())
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    digest = hashes.Hash(hashes.SHA256())
    digest.update(OCTETS)
    block = b"\0\1\xff\xff\xff\xff\xff\xff\xff\xff\0" + prefix + digest.finalize()
    target = int.from_bytes(block + bytes(256 - len(block)))
    root = _cube_root(target) + 1
    assert (root**3).to_bytes(256).startswith(block), "the forgery is not well made"
    data = root.to_bytes(256)
    with pytest.raises(SignatureRefused):
        verify(key, AuthMethod.RSA_DIGITAL_SIGNATURE, data, OCTETS)


def _cube_root(number: int) -> int:
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle - 1)
    return low


@pytest.mark.requirement("AUT-03")
def test_rsa_signatures_at_the_edges_of_the_modulus() -> None:
    modulus = RSA.public_key().public_numbers().n
    for value in (0, 1, modulus - 1, modulus):
        with pytest.raises(SignatureRefused):
            verify(
                KEYS["rsa"].public,
                AuthMethod.RSA_DIGITAL_SIGNATURE,
                value.to_bytes(256),
                OCTETS,
            )


def test_the_announced_hashes_decide() -> None:
    _, data = sign(KEYS["rsa"], OCTETS, [HashId.SHA2_512])
    assert verify(KEYS["rsa"].public, SIGNATURE, data, OCTETS).scheme == "RSA-PSS SHA-512"
    _, data = sign(KEYS["P-384"], OCTETS, [HashId.SHA2_256, HashId.SHA2_384])
    assert verify(KEYS["P-384"].public, SIGNATURE, data, OCTETS).scheme == "ECDSA SHA-384"
    _, data = sign(KEYS["P-384"], OCTETS, [HashId.SHA2_256])
    assert verify(KEYS["P-384"].public, SIGNATURE, data, OCTETS).scheme == "ECDSA SHA-256"
    with pytest.raises(NoCommonScheme, match="SHA1"):
        sign(KEYS["rsa"], OCTETS, [HashId.SHA1])
    with pytest.raises(NoCommonScheme, match="Ed25519"):
        sign(KEYS["ed25519"], OCTETS, [HashId.SHA2_256])
    with pytest.raises(NoCommonScheme, match="RFC 7427"):
        sign(KEYS["ed448"], OCTETS, ())


@pytest.mark.requirement("AUT-02")
def test_nobody_else_makes_the_proof() -> None:
    with pytest.raises(TypeError):
        VerifiedSignature(object(), KEYS["rsa"].public, "RSA")


def _rsa_1024() -> object:
    return rsa.generate_private_key(65537, 1024).public_key()


WEAK: dict[str, Callable[[], object]] = {
    "1024": _rsa_1024,
    "out of range|exponent": lambda: rsa.RSAPublicNumbers(
        3, RSA.public_key().public_numbers().n - 1
    ).public_key(),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()).public_key(),
    "none of": lambda: x25519.X25519PrivateKey.generate().public_key(),
}


@pytest.mark.requirement("AUT-03")
@pytest.mark.parametrize("words", WEAK)
def test_unfit_keys_are_refused(words: str) -> None:
    with pytest.raises((KeyUnfit, ValueError), match=words):
        PublicKey(cast("rsa.RSAPublicKey", WEAK[words]()))


@pytest.mark.parametrize("octets", [b"", b"\x30", bytes(100), b"\x30\x80" + bytes(50), bytes(5000)])
def test_octets_that_are_no_key(octets: bytes) -> None:
    with pytest.raises(KeyUnfit):
        PublicKey.decode(octets)


def test_private_keys_stay_where_they_are() -> None:
    key = KEYS["P-256"]
    assert repr(key) == "SigningKey(ECDSA P-256)"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)


def test_public_keys_are_equal_by_their_octets() -> None:
    key = KEYS["ed25519"].public
    assert PublicKey.decode(key.spki) == key
    assert hash(PublicKey.decode(key.spki)) == hash(key)
    assert key != KEYS["ed448"].public
    assert len(key.key_hash) == 20
