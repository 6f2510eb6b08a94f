"""HMAC-SHA-2 as PRF and as integrity algorithm against the published vectors (RFC 4231, 4868)."""

from __future__ import annotations

import pytest

from ipsecme.base import Secret
from ipsecme.crypto.integrity import authenticator
from ipsecme.crypto.prf import prf
from ipsecme.wire.numbers import IntegId, PrfId
from support.vectors import read_vectors

VECTORS = read_vectors("hmac.txt")
PRFS = {
    "256": PrfId.PRF_HMAC_SHA2_256,
    "384": PrfId.PRF_HMAC_SHA2_384,
    "512": PrfId.PRF_HMAC_SHA2_512,
}
INTEGRITY = {
    "256": IntegId.AUTH_HMAC_SHA2_256_128,
    "384": IntegId.AUTH_HMAC_SHA2_384_192,
    "512": IntegId.AUTH_HMAC_SHA2_512_256,
}


def test_the_vector_file_is_complete() -> None:
    assert len(VECTORS) == 7 + 3 * 4


@pytest.mark.parametrize(
    ("vector", "bits"),
    [(vector, bits) for vector in VECTORS for bits in PRFS if f"sha{bits}" in vector],
)
def test_prf(vector: dict[str, str], bits: str) -> None:
    key, message = (bytes.fromhex(vector[name]) for name in ("key", "message"))
    wanted = bytes.fromhex(vector[f"sha{bits}"])
    is_printed_short = vector["name"] == "RFC 4231, case 5"
    answer = prf(PRFS[bits], key, message)
    assert answer[: 16 if is_printed_short else None] == wanted


@pytest.mark.parametrize(
    ("vector", "bits"),
    [(vector, bits) for vector in VECTORS for bits in INTEGRITY if f"icv{bits}" in vector],
)
def test_integrity(vector: dict[str, str], bits: str) -> None:
    key, message = (bytes.fromhex(vector[name]) for name in ("key", "message"))
    icv = authenticator(INTEGRITY[bits], Secret(key))(message)
    assert icv == bytes.fromhex(vector[f"icv{bits}"])
