"""MD4 and what MS-CHAPv2 computes, against the vectors of their RFCs."""

from __future__ import annotations

import pytest

from ipsecme.base import Secret
from ipsecme.crypto import mschapv2
from ipsecme.crypto.md4 import md4

PASSWORD = Secret(b"clientPass")
EXAMPLE = mschapv2.Challenges(  # RFC 2759, section 9.2
    server=bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628"),
    peer=bytes.fromhex("21402324255E262A28295F2B3A337C7E"),
    name=b"User",
)
NT_RESPONSE = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")


@pytest.mark.parametrize(  # RFC 1320, appendix A.5
    ("text", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        (
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "043f8582f241db351ce627e153e7f0e4",
        ),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_digests_what_rfc_1320_digests(text: bytes, digest: str) -> None:
    assert md4(text).hex() == digest


def test_the_example_of_rfc_2759_comes_out() -> None:
    assert EXAMPLE.digest().hex().upper() == "D02E4386BCE91226"
    assert mschapv2.response(EXAMPLE, PASSWORD) == NT_RESPONSE
    proof = mschapv2.authenticator(EXAMPLE, PASSWORD, NT_RESPONSE)
    assert proof.hex().upper() == "407A5589115FD0D6209F510FE9C04566932CDA56"


def test_the_keys_of_rfc_3079_come_out() -> None:
    master = mschapv2.master_key(PASSWORD, NT_RESPONSE)  # section 3.5.3
    assert master.hex().upper() == "FDECE3717A8C838CB388E527AE3CDD31"
    key = mschapv2.msk(PASSWORD, NT_RESPONSE).reveal()
    assert len(key) == 64
    assert key[32:] == bytes(32)
    # SendStartKey128, which is what the server sends with.
    assert key[16:32].hex().upper() == "8B7CDC149B993A1BA118CB153F56DCCB"


def test_a_domain_before_the_name_is_no_part_of_the_challenge() -> None:
    inside = EXAMPLE._replace(name=b"DOMAIN\\User")
    assert mschapv2.response(inside, PASSWORD) == NT_RESPONSE
