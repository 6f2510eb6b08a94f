"""Every key of two strongSwan daemons, from the secrets that they had in common.

Their log gives SKEYSEED, SK_*, the octets that AUTH covers and the keys of Child SAs; the capture
gives the messages that were sealed with them (RFC 7296, sections 2.13 to 2.18).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import pytest

from ipsecme.base import Secret
from ipsecme.crypto import keymat
from ipsecme.crypto.protection import IntegrityFailure, Protection, protection
from ipsecme.policy.keywords import parse_proposal
from ipsecme.policy.proposal import choose, offer
from ipsecme.wire.ike import (
    HEADER_OCTETS,
    EncryptedPayload,
    Header,
    IdentityPayload,
    Message,
    NoncePayload,
    Payload,
    SaPayload,
    decode_chain,
    encode_chain,
)
from ipsecme.wire.numbers import ProtocolId
from support.captures import CONVERSATIONS, CapturedMessage, Conversation, charon_text
from support.pair import SeededRng

if TYPE_CHECKING:
    from ipsecme.crypto.suite import EspSuite, IkeSuite

P = TypeVar("P", bound=Payload)

_GENERIC_OCTETS = 4


@dataclass
class Opened:
    """A captured message, its payloads, and what the chain inside SK was octet by octet."""

    captured: CapturedMessage
    message: Message
    first: int
    chain: bytes
    payloads: list[Payload]

    def find(self, kind: type[P]) -> P:
        return next(payload for payload in self.payloads if isinstance(payload, kind))


def ike_suite(text: str) -> IkeSuite:
    proposal = parse_proposal(text.replace("cbc", ""), ProtocolId.IKE)
    return choose(offer([proposal], b""), [proposal], 0).ike_suite()


def esp_suite(text: str) -> EspSuite:
    proposal = parse_proposal(text.replace("cbc", ""), ProtocolId.ESP)
    return choose(offer([proposal], bytes(4)), [proposal], 4).esp_suite()


def protections(conversation: Conversation, ike: int) -> dict[bool, Protection]:
    """Return the protection of the messages of the original initiator (True) and responder."""
    keys, suite = conversation.ike[ike], ike_suite(conversation.suites[ike])
    return {
        side == "i": protection(
            suite,
            Secret(keys[f"e{side}"]),
            Secret(keys.get(f"a{side}", b"")),
            SeededRng(0),
        )
        for side in "ir"
    }


def open_all(conversation: Conversation) -> list[Opened]:
    opened = []
    for captured in conversation.messages:
        message = Message.decode(captured.octets)
        header = Header.decode(captured.octets)
        payloads, first, chain = message.payloads, header.next_payload, b""
        if isinstance(payloads[0], EncryptedPayload):
            first = payloads[0].first_inside
            keys = protections(conversation, captured.ike)[header.from_original_initiator]
            front = captured.octets[: HEADER_OCTETS + _GENERIC_OCTETS]
            chain = keys.open(front, payloads[0].octets)
            payloads = decode_chain(first, chain)
        opened.append(Opened(captured, message, first, chain, payloads))
    return opened


@pytest.fixture(params=CONVERSATIONS)
def conversation(request: pytest.FixtureRequest) -> Conversation:
    return Conversation(request.param)


def test_sealed_messages_hold_what_their_sender_says(conversation: Conversation) -> None:
    for opened in open_all(conversation):
        assert charon_text(opened.message, opened.payloads) == opened.captured.charon


def test_messages_are_written_as_they_were_read(conversation: Conversation) -> None:
    assert len(conversation.messages) == 14
    for captured in conversation.messages:
        assert Message.decode(captured.octets).encode() == captured.octets


def test_what_is_inside_is_written_as_it_was_read(conversation: Conversation) -> None:
    for opened in open_all(conversation)[2:]:
        assert encode_chain(opened.payloads) == (opened.first, opened.chain)


def test_what_is_sealed_again_is_as_long_and_opens_alike(conversation: Conversation) -> None:
    for opened in open_all(conversation)[2:]:
        captured, header = opened.captured, Header.decode(opened.captured.octets)
        keys = protections(conversation, captured.ike)[header.from_original_initiator]
        front = captured.octets[: HEADER_OCTETS + _GENERIC_OCTETS]
        sealed = keys.seal(front, opened.chain)
        assert len(front + sealed) == len(captured.octets)
        assert len(sealed) == keys.sealed_octets(len(opened.chain))
        assert keys.open(front, sealed) == opened.chain


def test_damage_anywhere_is_noticed(conversation: Conversation) -> None:
    captured = conversation.messages[3]
    header = Header.decode(captured.octets)
    keys = protections(conversation, captured.ike)[header.from_original_initiator]
    octets, front = captured.octets, HEADER_OCTETS + _GENERIC_OCTETS
    for at in range(len(octets)):
        damaged = octets[:at] + bytes((octets[at] ^ 0x10,)) + octets[at + 1 :]
        with pytest.raises(IntegrityFailure):
            keys.open(damaged[:front], damaged[front:])
    for end in range(front, len(octets)):
        with pytest.raises(IntegrityFailure):
            keys.open(octets[:front], octets[front:end])


def test_keys_of_one_direction_do_not_open_the_other(conversation: Conversation) -> None:
    captured = conversation.messages[2]
    front = HEADER_OCTETS + _GENERIC_OCTETS
    keys = protections(conversation, 0)[False]
    with pytest.raises(IntegrityFailure):
        keys.open(captured.octets[:front], captured.octets[front:])


def assert_keys(conversation: Conversation, ike: int, keys: keymat.IkeKeys) -> None:
    logged = conversation.ike[ike]
    for name in ("d", "ai", "ar", "ei", "er", "pi", "pr"):
        assert getattr(keys, name).reveal() == logged.get(name, b""), name


def test_the_keys_of_the_first_ike_sa(conversation: Conversation) -> None:
    request, response = open_all(conversation)[:2]
    logged, suite = conversation.ike[0], ike_suite(conversation.suites[0])
    nonce_i, nonce_r = request.find(NoncePayload).data, response.find(NoncePayload).data
    seed = keymat.skeyseed(suite.prf, nonce_i, nonce_r, Secret(logged["shared"]))
    assert seed == logged["skeyseed"]
    message = response.message
    keys = keymat.ike_keys(suite, seed, nonce_i + nonce_r, message.spi_i, message.spi_r)
    assert_keys(conversation, 0, keys)


def test_the_keys_of_the_rekeyed_ike_sa(conversation: Conversation) -> None:
    request, response = open_all(conversation)[8:10]
    logged, suite = conversation.ike[1], ike_suite(conversation.suites[1])
    nonces = request.find(NoncePayload).data + response.find(NoncePayload).data
    old_d = Secret(conversation.ike[0]["d"])
    seed = keymat.rekey_skeyseed(suite.prf, old_d, Secret(logged["shared"]), nonces)
    assert seed == logged["skeyseed"]
    spis = [o.find(SaPayload).proposals[0].spi for o in (request, response)]
    assert_keys(conversation, 1, keymat.ike_keys(suite, seed, nonces, *spis))


def test_auth_of_both_ends(conversation: Conversation) -> None:
    init = open_all(conversation)[:4]
    logged, suite = conversation.ike[0], ike_suite(conversation.suites[0])
    shared_key = keymat.SharedKey(Secret(logged["psk"]))
    for side, other in ((0, 1), (1, 0)):
        name = "ir"[side]
        identity = next(
            payload
            for payload in init[2 + side].payloads
            if isinstance(payload, IdentityPayload) and payload.role.name == f"ID{name}"
        )
        octets = keymat.signed_octets(
            suite.prf,
            init[side].captured.octets,
            init[other].find(NoncePayload).data,
            Secret(logged[f"p{name}"]),
            identity.body(),
        )
        assert octets == logged[f"octets {name}"]
        assert shared_key.auth(suite.prf, octets) == logged[f"auth {name}"]


@pytest.mark.parametrize("child", [0, 1], ids=["in IKE_AUTH", "rekeyed"])
def test_the_keys_of_child_sas(conversation: Conversation, child: int) -> None:
    opened = open_all(conversation)
    request, response = opened[:2] if child == 0 else opened[4:6]
    nonces = request.find(NoncePayload).data + response.find(NoncePayload).data
    logged, number = conversation.children[child], ike_suite(conversation.suites[0]).prf
    shared = Secret(logged["shared"]) if "shared" in logged else None
    suite = esp_suite(conversation.child_suites[child])
    keys = keymat.child_keys(suite, number, Secret(conversation.ike[0]["d"]), nonces, shared)
    for name in ("ei", "ai", "er", "ar"):
        assert getattr(keys, name).reveal() == logged.get(name, b""), name
