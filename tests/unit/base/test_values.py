"""Secrets keep silent, addresses have one form, errors know their reach, randomness is the
system's.
"""

from __future__ import annotations

import copy
import pickle
import secrets

import pytest

from ipsecme.base import (
    ConfigError,
    Incompatible,
    IpsecmeError,
    LocalMisuse,
    MalformedMessage,
    Path,
    PeerError,
    PeerReported,
    ProtocolViolation,
    Scope,
    Secret,
    SystemRefused,
    SystemRng,
    Transport,
    Truncated,
    packed_address,
)

_OCTETS = b"\x01\x02correct horse"


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret(_OCTETS)
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}", f"{secret!s:>40}"):
        assert "correct" not in text
    assert secret.reveal() == _OCTETS
    assert len(secret) == len(_OCTETS)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_not_duplicated(duplicate: object) -> None:
    with pytest.raises(TypeError, match="not serialised"):
        duplicate(Secret(_OCTETS))  # type: ignore[operator]


def test_secrets_compare_by_their_octets_and_only_with_secrets() -> None:
    assert Secret(_OCTETS) == Secret(bytes(_OCTETS))
    assert Secret(_OCTETS) != Secret(_OCTETS[:-1])
    assert Secret(_OCTETS) != _OCTETS
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(_OCTETS))


def test_a_secret_can_be_forgotten() -> None:
    secret = Secret(_OCTETS)
    assert secret
    secret.forget()
    assert not secret
    assert secret.reveal() == b""


@pytest.mark.parametrize(
    ("transport", "text"),
    [
        (Transport("192.0.2.1", 500), "192.0.2.1:500"),
        (Transport("2001:db8::1", 4500), "[2001:db8::1]:4500"),
    ],
)
def test_transports_are_written_as_everywhere(transport: Transport, text: str) -> None:
    assert str(transport) == text
    assert str(Path(transport, Transport("192.0.2.2", 500))) == f"{text} to 192.0.2.2:500"


def test_addresses_become_the_octets_of_the_wire() -> None:
    assert packed_address("192.0.2.1") == b"\xc0\x00\x02\x01"
    assert packed_address("2001:db8::1") == bytes.fromhex("20010db8") + bytes(11) + b"\x01"
    with pytest.raises(ValueError, match=r"192\.0\.2\.256"):
        packed_address("192.0.2.256")


@pytest.mark.parametrize(
    ("error", "scope"),
    [
        (MalformedMessage, Scope.IKE_SA),
        (ProtocolViolation, Scope.IKE_SA),
        (Incompatible, Scope.EXCHANGE),
        (PeerReported, Scope.EXCHANGE),
    ],
)
def test_errors_of_the_peer_know_how_far_they_reach(error: type[PeerError], scope: Scope) -> None:
    """RFC 7296, section 2.21."""
    assert error.scope is scope
    assert issubclass(error, PeerError)


@pytest.mark.parametrize("error", [LocalMisuse, ConfigError, SystemRefused])
def test_errors_on_our_side_are_never_blamed_on_the_peer(error: type[IpsecmeError]) -> None:
    assert issubclass(error, IpsecmeError)
    assert not issubclass(error, PeerError)


def test_truncation_is_a_malformed_message() -> None:
    assert isinstance(Truncated(4, 2), MalformedMessage)
    assert str(Truncated(4, 2)) == "4 octets wanted where 2 are left"


def test_random_octets_come_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def octets(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    rng = SystemRng()
    assert len(rng.octets(33)) == 33
    assert rng.octets(32) != rng.octets(32)
    assert all(0 <= rng.fraction() < 1 for _ in range(100))
    monkeypatch.setattr(secrets, "token_bytes", octets)
    assert rng.octets(7) == bytes(7)
    assert asked == [7]


@pytest.mark.requirement("CRY-09")
def test_a_generator_that_fails_is_not_replaced_by_a_weaker_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(count: int) -> bytes:
        raise OSError(f"no entropy for {count} octets")

    monkeypatch.setattr(secrets, "token_bytes", fail)
    with pytest.raises(OSError, match="no entropy"):
        SystemRng().octets(8)
