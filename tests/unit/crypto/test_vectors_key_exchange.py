"""Known answers for the Key Exchange methods, and what they refuse from a peer."""

from __future__ import annotations

import warnings

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ipsecme.base import LocalMisuse, MalformedMessage
from ipsecme.crypto import ke, modp
from ipsecme.crypto.algorithms import KEY_EXCHANGE
from ipsecme.wire.numbers import KeId
from support.vectors import read_vectors

_EXCHANGES = read_vectors("key_exchange.txt")
_PRIMES = read_vectors("modp.txt")
_METHODS = [KeId.of(number) for number in KEY_EXCHANGE]
_MODP = sorted(modp.BITS)
_CURVES = {"ECP_256": ec.SECP256R1(), "ECP_384": ec.SECP384R1(), "ECP_521": ec.SECP521R1()}


def _with_private_key(name: str, octets: bytes) -> ke.KeyExchange:
    if name == "CURVE25519":
        return ke.Curve25519Exchange(X25519PrivateKey.from_private_bytes(octets))
    if name == "CURVE448":
        return ke.Curve448Exchange(X448PrivateKey.from_private_bytes(octets))
    private = ec.derive_private_key(int.from_bytes(octets), _CURVES[name])
    return ke.EcpExchange(KeId[name], private)


def test_the_vector_files_are_complete() -> None:
    assert len(_EXCHANGES) == 5
    assert len(_PRIMES) == len(modp.BITS) == 5


@pytest.mark.parametrize("vector", _EXCHANGES, ids=lambda v: v["method"])
def test_published_exchanges(vector: dict[str, str]) -> None:
    ours = {side: bytes.fromhex(vector[side]) for side in "ir"}
    for one, other in ("ir", "ri"):
        exchange = _with_private_key(vector["method"], ours[one])
        assert exchange.public.hex() == vector[f"public {one}"]
        shared = exchange.agree(bytes.fromhex(vector[f"public {other}"]))
        assert shared.reveal().hex() == vector["shared"]


@pytest.mark.parametrize("vector", _PRIMES, ids=lambda v: v["name"])
def test_modp_primes_are_those_of_the_rfc(vector: dict[str, str]) -> None:
    prime = int(vector["prime"], 16)
    assert modp.prime(prime.bit_length()) == prime


@pytest.mark.requirement("R7296-189")
@pytest.mark.parametrize("method", _METHODS, ids=lambda m: m.name)
def test_both_ends_agree_on_values_of_the_stated_size(method: KeId) -> None:
    provider = ke.SystemKeyExchange()
    one, other = provider.generate(method), provider.generate(method)
    assert one.method == method
    assert len(one.public) == KEY_EXCHANGE[method]
    assert one.public != other.public
    secret = one.agree(other.public)
    assert secret == other.agree(one.public)
    is_point = method in {KeId.ECP_256, KeId.ECP_384, KeId.ECP_521}
    assert len(secret) == KEY_EXCHANGE[method] // (2 if is_point else 1)


@pytest.mark.requirement("R7296-189", "CRY-02")
@pytest.mark.parametrize("method", _METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("change", [-1, 1, None], ids=["shorter", "longer", "empty"])
def test_public_values_of_another_size_are_refused(method: KeId, change: int | None) -> None:
    size = 0 if change is None else KEY_EXCHANGE[method] + change
    exchange = ke.SystemKeyExchange().generate(method)
    with pytest.raises(MalformedMessage, match=f"{method.name} public value of {size} octets"):
        exchange.agree(b"\x02" * size)


@pytest.mark.requirement("CRY-01")
@pytest.mark.parametrize("method", _MODP, ids=lambda m: m.name)
def test_modp_values_outside_the_group_are_refused(method: KeId) -> None:
    """RFC 6989, section 2.1: 1 < y < p - 1."""
    prime = modp.prime(modp.BITS[method])
    size = KEY_EXCHANGE[method]
    exchange = ke.SystemKeyExchange().generate(method)
    for value in (0, 1, prime - 1, prime, prime + 1, (1 << 8 * size) - 1):
        with pytest.raises(MalformedMessage, match="out of range"):
            exchange.agree(value.to_bytes(size))
    assert len(exchange.agree((2).to_bytes(size))) == size
    assert len(exchange.agree((prime - 2).to_bytes(size))) == size


def test_modp_secrets_keep_their_leading_zeros() -> None:
    """RFC 7296, section 2.14: the secret is as long as the prime, whatever its value."""
    exchange = modp.ModpExchange(KeId.MODP_2048)
    exponent = exchange._private.private_numbers().x
    prime = modp.prime(2048)
    # 4 is a square, so it is in the subgroup of prime order, where the exponent has an inverse.
    order, wanted = (prime - 1) // 2, 4
    public = pow(wanted, pow(exponent, -1, order), prime)
    assert exchange.agree(public.to_bytes(256)).reveal() == wanted.to_bytes(256)


def test_modp_agrees_with_plain_arithmetic() -> None:
    for method in (KeId.MODP_2048, KeId.MODP_3072):
        exchange = modp.ModpExchange(method)
        exponent = exchange._private.private_numbers().x
        prime = modp.prime(modp.BITS[method])
        peer = pow(2, 0x1234567, prime)
        size = KEY_EXCHANGE[method]
        assert int.from_bytes(exchange.public) == pow(2, exponent, prime)
        assert int.from_bytes(exchange.agree(peer.to_bytes(size)).reveal()) == pow(
            peer, exponent, prime
        )


def test_modp_warns_nobody_and_leaves_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    one = modp.ModpExchange(KeId.MODP_2048)
    one.agree(modp.ModpExchange(KeId.MODP_2048).public)
    assert warnings.filters == before


def test_without_finite_fields_in_the_library_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modp, "IS_AVAILABLE", False)
    modp._parameters.cache_clear()
    with pytest.raises(LocalMisuse, match="no MODP groups any more"):
        modp.ModpExchange(KeId.MODP_2048)


@pytest.mark.requirement("CRY-09")
@pytest.mark.parametrize("method", [KeId.ECP_256, KeId.ECP_384, KeId.ECP_521], ids=lambda m: m.name)
def test_points_that_are_not_on_the_curve_are_refused(method: KeId) -> None:
    provider = ke.SystemKeyExchange()
    exchange, other = provider.generate(method), provider.generate(method)
    moved = other.public[:-1] + bytes((other.public[-1] ^ 1,))
    for public in (moved, bytes(len(moved)), b"\xff" * len(moved)):
        with pytest.raises(MalformedMessage, match="not on the curve"):
            exchange.agree(public)


@pytest.mark.requirement("CRY-01")
@pytest.mark.parametrize("method", [KeId.CURVE25519, KeId.CURVE448], ids=lambda m: m.name)
@pytest.mark.parametrize("value", [0, 1])
def test_points_of_low_order_are_refused(method: KeId, value: int) -> None:
    """RFC 8031, section 3.1: the secret would be all zeros."""
    exchange = ke.SystemKeyExchange().generate(method)
    with pytest.raises(MalformedMessage, match="low order"):
        exchange.agree(value.to_bytes(KEY_EXCHANGE[method], "little"))


@pytest.mark.requirement("CRY-03")
@pytest.mark.parametrize("method", [KeId.MODP_1024, KeId.NONE, KeId.of(4242)])
def test_other_methods_are_not_computed_with(method: KeId) -> None:
    with pytest.raises(LocalMisuse, match="is not implemented"):
        ke.SystemKeyExchange().generate(method)
