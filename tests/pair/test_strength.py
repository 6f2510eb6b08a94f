"""How strong keys are, whatever is negotiated, and what is left of them (RFC 7296, section 5)."""

from __future__ import annotations

import gc
import secrets
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import ConfigError
from ipsecme.crypto.algorithms import ENCRYPTION, KEY_EXCHANGE, PRF
from ipsecme.crypto.ke import SystemKeyExchange
from ipsecme.crypto.modp import BITS, ModpExchange
from ipsecme.crypto.prf import prf
from ipsecme.ike.endpoint import Endpoint
from ipsecme.ike.events import ChildSaFailed
from ipsecme.policy.keywords import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    parse_proposals,
)
from ipsecme.wire.ike import KePayload, SaPayload
from ipsecme.wire.numbers import ExchangeType, KeId, PrfId, ProtocolId
from support.crafted import in_use
from support.pair import Pair, peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsecme.base import Secret
    from ipsecme.crypto.ke import KeyExchange

WITH_KE, WITHOUT_KE = "aes256gcm16-x25519", "aes256gcm16"


class Watched:
    """A key pair whose end can be seen."""

    def __init__(self, wrapped: KeyExchange) -> None:
        self._wrapped = wrapped
        self.method, self.public = wrapped.method, wrapped.public

    def agree(self, peer_public: bytes) -> Secret:
        return self._wrapped.agree(peer_public)


class WatchedKeyExchange(SystemKeyExchange):
    """Remembers the key pairs that it made, without keeping them."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made: list[weakref.ref[Watched]] = []

    def generate(self, method: KeId) -> KeyExchange:
        watched = Watched(super().generate(method))
        self.made.append(weakref.ref(watched))
        return watched


@pytest.mark.requirement("R7296-230")
def test_private_exponents_are_gone_when_the_exchange_is_over() -> None:
    pair = Pair(a=peer("a", esp=(WITH_KE,)), b=peer("b", esp=(WITH_KE,)))
    providers = [WatchedKeyExchange(), WatchedKeyExchange()]
    for node, provider in zip((pair.a, pair.b), providers, strict=True):
        node.endpoint = Endpoint(node.endpoint.config, node.rng, provider)
    pair.establish()
    for child in ("net", None):
        pair.rekey(pair.a, child)
        pair.drive(10)
    pair.check_sads()
    gc.collect()
    for provider in providers:
        assert len(provider.made) == 3
        assert [ref() for ref in provider.made] == [None] * 3


@pytest.mark.requirement("R7296-230")
def test_every_method_and_its_exponent_are_as_strong_as_aes_needs_or_nearly() -> None:
    """Ours have 112 bits or more of strength; those of less are not there at all (RFC 8247)."""
    weak = {KeId.of(number) for number in (1, 2, 5, 22, 23, 24, 25, 26)}
    assert not weak & {KeId.of(number) for number in KEY_EXCHANGE}
    for method in BITS:
        exponents = set()
        for _ in range(3):
            numbers = ModpExchange(method)._private.private_numbers()
            assert numbers.x.bit_length() > 200
            exponents.add(numbers.x)
        assert len(exponents) == 3


@pytest.mark.requirement("R7296-230")
def test_no_prf_has_less_than_128_bits() -> None:
    for number in PRF:
        assert len(prf(PrfId.of(number), bytes(64), b"")) >= 16


@pytest.mark.requirement("R7296-230")
def test_no_ike_sa_goes_without_encryption_or_integrity() -> None:
    for cipher in ENCRYPTION.values():
        assert cipher.esp_only or min(cipher.key_bits) >= 128
    assert all(ENCRYPTION[number].esp_only for number in (11, 21) if number in ENCRYPTION)  # NULL
    for word in ("null-sha256-x25519", "aes256-x25519", "aes256-prfsha256-x25519", "3des-sha256"):
        with pytest.raises(ConfigError):
            parse_proposals((word,), ProtocolId.IKE)
    for proposal in parse_proposals(DEFAULT_IKE_PROPOSALS, ProtocolId.IKE):
        is_aead = {ENCRYPTION[number].is_aead for number, _ in proposal.encr}
        assert is_aead == {not proposal.integ}


@pytest.mark.requirement("R7296-230", "CRY-09")
def test_without_randomness_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is the operating system's; that it fails is not passed over."""

    def fail(count: int) -> bytes:
        raise OSError(f"no {count} random octets")

    endpoint = Endpoint(Pair().a.endpoint.config)
    monkeypatch.setattr(secrets, "token_bytes", fail)
    with pytest.raises(OSError, match="random octets"):
        endpoint.initiate("test", None, 0.0)
    assert not endpoint.datagrams_to_send()
    assert endpoint.is_idle


# forward secrecy


def key_exchanges(pair: Pair) -> Iterator[tuple[bool, bool]]:
    """For every CREATE_CHILD_SA response: is it about the IKE SA, and does it have a KE."""
    for message in pair.messages:
        of_type = message.header.exchange == ExchangeType.CREATE_CHILD_SA
        if of_type and message.header.is_response and "SA" in message.types:
            protocol = message.only(SaPayload).proposals[0].protocol
            yield protocol == ProtocolId.IKE, "KE" in message.types


@pytest.mark.requirement("R7296-232")
def test_child_sas_have_key_exchanges_of_their_own_where_the_peer_has_them() -> None:
    for theirs, has_ke in ((DEFAULT_ESP_PROPOSALS, True), ((WITHOUT_KE,), False)):
        pair = Pair(a=peer("a", esp=DEFAULT_ESP_PROPOSALS), b=peer("b", esp=theirs))
        pair.establish()
        pair.rekey(pair.a, "net")
        pair.drive(10)
        pair.check_sads()
        assert list(key_exchanges(pair)) == [(False, has_ke)]


@pytest.mark.requirement("R7296-232")
@pytest.mark.parametrize("strict", ["a", "b"])
def test_a_policy_that_demands_them_takes_no_rekeying_without(strict: str) -> None:
    words = {"a": WITHOUT_KE, "b": WITHOUT_KE, strict: WITH_KE}
    pair = Pair(a=peer("a", esp=(words["a"],)), b=peer("b", esp=(words["b"],)))
    pair.establish()
    (old,) = pair.a.sad
    pair.rekey(pair.a, "net")
    pair.drive(10)
    assert pair.a.reasons(ChildSaFailed) == ["no_proposal_chosen"]
    assert list(pair.a.sad) == [old]
    assert not list(key_exchanges(pair))


@pytest.mark.requirement("R7296-232")
def test_the_key_under_all_child_sas_is_replaced_in_the_lifetime_of_the_ike_sa() -> None:
    quiet = {"liveness": 1e6}
    pair = Pair(a=replace(peer("a"), **quiet), b=replace(peer("b"), **quiet))  # type: ignore[arg-type]
    pair.establish()
    first = in_use(pair.a).keys.d
    pair.drive(14_500, steps=200_000)
    assert in_use(pair.a).keys.d != first
    seen = list(key_exchanges(pair))
    assert (True, True) in seen
    assert (True, False) not in seen
    public = [p.data for m in pair.messages for p in m.payloads if isinstance(p, KePayload)]
    assert len(public) == len(set(public))
    pair.check_sads()
