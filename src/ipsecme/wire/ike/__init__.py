"""IKEv2 messages: header, payloads and their substructures (RFC 7296, section 3)."""

from __future__ import annotations

from ipsecme.wire.ike.config import ConfigAttribute, ConfigPayload
from ipsecme.wire.ike.delete import DeletePayload
from ipsecme.wire.ike.eap import EapPayload
from ipsecme.wire.ike.encrypted import EncryptedFragmentPayload, EncryptedPayload
from ipsecme.wire.ike.header import (
    FLAG_INITIATOR,
    FLAG_RESPONSE,
    HEADER_OCTETS,
    NO_SPI,
    VERSION,
    Header,
)
from ipsecme.wire.ike.identity import IdentityPayload
from ipsecme.wire.ike.message import MAX_PAYLOADS, Message, decode_chain, encode_chain
from ipsecme.wire.ike.notify import NotifyPayload
from ipsecme.wire.ike.payload import Payload, UnknownPayload
from ipsecme.wire.ike.peek import peek_first_request
from ipsecme.wire.ike.sa import Attribute, Proposal, SaPayload, Transform
from ipsecme.wire.ike.simple import (
    AuthPayload,
    CertPayload,
    CertReqPayload,
    KePayload,
    NoncePayload,
    VendorIdPayload,
)
from ipsecme.wire.ike.ts import OPAQUE_PORTS, TrafficSelector, TsPayload, UnknownSelector

__all__ = [
    "FLAG_INITIATOR",
    "FLAG_RESPONSE",
    "HEADER_OCTETS",
    "MAX_PAYLOADS",
    "NO_SPI",
    "OPAQUE_PORTS",
    "VERSION",
    "Attribute",
    "AuthPayload",
    "CertPayload",
    "CertReqPayload",
    "ConfigAttribute",
    "ConfigPayload",
    "DeletePayload",
    "EapPayload",
    "EncryptedFragmentPayload",
    "EncryptedPayload",
    "Header",
    "IdentityPayload",
    "KePayload",
    "Message",
    "NoncePayload",
    "NotifyPayload",
    "Payload",
    "Proposal",
    "SaPayload",
    "TrafficSelector",
    "Transform",
    "TsPayload",
    "UnknownPayload",
    "UnknownSelector",
    "VendorIdPayload",
    "decode_chain",
    "encode_chain",
    "peek_first_request",
]
