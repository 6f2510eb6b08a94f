"""Conversations of other implementations, captured with the secrets that their logs told.

A file of `tests/vectors/captures` lists IKE SAs, Child SAs and messages, each in the order in which
they came to be.
"""

from __future__ import annotations

from dataclasses import dataclass

from ipsecme.wire.ike import Message, NotifyPayload, Payload
from ipsecme.wire.numbers import NotifyType, PayloadType
from support.vectors import read_vectors

__all__ = ["CONVERSATIONS", "CapturedMessage", "Conversation", "charon_text"]

CONVERSATIONS = ("strongswan_cbc", "strongswan_gcm")

_WORDS = {
    PayloadType.NONCE: "No",
    PayloadType.DELETE: "D",
    NotifyType.NAT_DETECTION_SOURCE_IP: "NATD_S_IP",
    NotifyType.NAT_DETECTION_DESTINATION_IP: "NATD_D_IP",
    NotifyType.IKEV2_FRAGMENTATION_SUPPORTED: "FRAG_SUP",
    NotifyType.SIGNATURE_HASH_ALGORITHMS: "HASH_ALG",
    NotifyType.REDIRECT_SUPPORTED: "REDIR_SUP",
    NotifyType.CHILDLESS_IKEV2_SUPPORTED: "CHDLESS_SUP",
    NotifyType.MULTIPLE_AUTH_SUPPORTED: "MULT_AUTH",
    NotifyType.INITIAL_CONTACT: "INIT_CONTACT",
    NotifyType.MOBIKE_SUPPORTED: "MOBIKE_SUP",
    NotifyType.NO_ADDITIONAL_ADDRESSES: "NO_ADD_ADDR",
    NotifyType.EAP_ONLY_AUTHENTICATION: "EAP_ONLY",
    NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED: "MSG_ID_SYN_SUP",
}


@dataclass(frozen=True)
class CapturedMessage:
    """One message, the IKE SA that it belongs to (0 is the first), and what charon said of it."""

    octets: bytes
    ike: int
    charon: str


class Conversation:
    """The IKE SAs, Child SAs and messages of one file; secrets are octets by their names there."""

    def __init__(self, name: str) -> None:
        blocks = read_vectors(f"captures/{name}.txt")
        self.ike = [_octets(block) for block in blocks if block["kind"] == "ike"]
        self.children = [_octets(block) for block in blocks if block["kind"] == "child"]
        self.suites = [block["suite"] for block in blocks if block["kind"] == "ike"]
        self.child_suites = [block["suite"] for block in blocks if block["kind"] == "child"]
        self.messages = [
            CapturedMessage(bytes.fromhex(block["octets"]), int(block["ike"]) - 1, block["charon"])
            for block in blocks
            if block["kind"] == "message"
        ]


def _octets(block: dict[str, str]) -> dict[str, bytes]:
    return {
        name: bytes.fromhex(value) for name, value in block.items() if name not in {"kind", "suite"}
    }


def charon_text(message: Message, payloads: list[Payload]) -> str:
    """Return how charon logs a message with these payloads, wherever they stood."""
    kind = "response" if message.flags & 0x20 else "request"
    words = "".join(f"{_word(payload)} " for payload in payloads)
    return f"{message.exchange.name} {kind} {message.message_id} [ {words}]"


def _word(payload: Payload) -> str:
    if isinstance(payload, NotifyPayload):
        return f"N({_WORDS.get(payload.type, payload.type.name)})"
    return _WORDS.get(payload.payload_type, payload.payload_type.name)
