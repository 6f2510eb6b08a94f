"""Transforms and proposals with short names, for tests of choosing among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipsecme.policy.keywords import parse_proposals
from ipsecme.wire.ike import Attribute, Proposal as WireProposal, Transform
from ipsecme.wire.numbers import (
    AttributeType,
    EncrId,
    EsnId,
    IntegId,
    KeId,
    PrfId,
    ProtocolId,
    TransformType,
)

if TYPE_CHECKING:
    from ipsecme.policy.proposal import Proposal

T = TransformType


def bits(length: int) -> Attribute:
    return Attribute(AttributeType.KEY_LENGTH, length)


CBC_128 = Transform(T.ENCR, EncrId.ENCR_AES_CBC, (bits(128),))
CBC_256 = Transform(T.ENCR, EncrId.ENCR_AES_CBC, (bits(256),))
GCM_128 = Transform(T.ENCR, EncrId.ENCR_AES_GCM_16, (bits(128),))
GCM_256 = Transform(T.ENCR, EncrId.ENCR_AES_GCM_16, (bits(256),))
PRF_256 = Transform(T.PRF, PrfId.PRF_HMAC_SHA2_256)
PRF_512 = Transform(T.PRF, PrfId.PRF_HMAC_SHA2_512)
SHA_256 = Transform(T.INTEG, IntegId.AUTH_HMAC_SHA2_256_128)
SHA_512 = Transform(T.INTEG, IntegId.AUTH_HMAC_SHA2_512_256)
NO_INTEG = Transform(T.INTEG, IntegId.NONE)
X25519 = Transform(T.KE, KeId.CURVE25519)
ECP_256 = Transform(T.KE, KeId.ECP_256)
NO_KE = Transform(T.KE, KeId.NONE)
ESN = Transform(T.ESN, EsnId.ESN)
NO_ESN = Transform(T.ESN, EsnId.NO_ESN)

SPI = b"\xca\xfe\xba\xbe"


def ike(*transforms: Transform, number: int = 1, spi: bytes = b"") -> WireProposal:
    return WireProposal(number, ProtocolId.IKE, spi, transforms)


def esp(*transforms: Transform, number: int = 1, spi: bytes = SPI) -> WireProposal:
    return WireProposal(number, ProtocolId.ESP, spi, transforms)


def ours(*texts: str, protocol: ProtocolId = ProtocolId.IKE) -> tuple[Proposal, ...]:
    return parse_proposals(texts, protocol)


def ours_esp(*texts: str) -> tuple[Proposal, ...]:
    return ours(*texts, protocol=ProtocolId.ESP)
