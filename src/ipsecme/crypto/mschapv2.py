"""What MS-CHAPv2 computes (RFC 2759, section 8) and the keys it leaves (RFC 3079, section 3).

MD4, DES and SHA-1 are weak, and a recorded response can be searched for the password: use it only
inside a tunnel whose server has proved its identity, as EAP in IKE does.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from ipsecme.base import Secret
from ipsecme.crypto.md4 import md4

__all__ = ["CHALLENGE_OCTETS", "RESPONSE_OCTETS", "Challenges", "authenticator", "msk", "response"]

CHALLENGE_OCTETS = 16
RESPONSE_OCTETS = 24
_MAGIC_1 = b"Magic server to client signing constant"
_MAGIC_2 = b"Pad to make it do more than one iteration"
_KEY_MAGIC_1 = b"This is the MPPE Master Key"
_KEY_MAGIC_2 = (
    b"On the client side, this is the send key; on the server side, it is the receive key."
)
_KEY_MAGIC_3 = (
    b"On the client side, this is the receive key; on the server side, it is the send key."
)
_SHS_PAD_1 = bytes(40)
_SHS_PAD_2 = b"\xf2" * 40
_START_KEY_OCTETS = 16
_MSK_OCTETS = 64


class Challenges(NamedTuple):
    """Both challenges of 16 octets, and the user's name as it was sent."""

    server: bytes
    peer: bytes
    name: bytes

    def digest(self) -> bytes:
        """Return ChallengeHash: 8 octets; a domain before the name is not part of it."""
        name = self.name.rpartition(b"\\")[2]
        return _sha1(self.peer + self.server + name)[:8]


def response(challenges: Challenges, password: Secret) -> bytes:
    """Return NT-Response of 24 octets; `password` is text in UTF-8."""
    keys = _password_hash(password) + bytes(5)
    block = challenges.digest()
    return b"".join(_des(keys[at : at + 7], block) for at in (0, 7, 14))


def authenticator(challenges: Challenges, password: Secret, nt_response: bytes) -> bytes:
    """Return AuthenticatorResponse, by which the server shows that it knows the password.

    It is the digest of 20 octets that goes as ``S=`` and hexadecimal digits.
    """
    digest = _sha1(md4(_password_hash(password)) + nt_response + _MAGIC_1)
    return _sha1(digest + challenges.digest() + _MAGIC_2)


def msk(password: Secret, nt_response: bytes) -> Secret:
    """Return the MSK of EAP-MSCHAPv2: what the server receives with, sends with, and zeros."""
    master = master_key(password, nt_response)
    keys = start_key(master, _KEY_MAGIC_2) + start_key(master, _KEY_MAGIC_3)
    return Secret(keys.ljust(_MSK_OCTETS, b"\0"))


def master_key(password: Secret, nt_response: bytes) -> bytes:
    """Return MasterKey of 16 octets (RFC 3079, section 3.4)."""
    return _sha1(md4(_password_hash(password)) + nt_response + _KEY_MAGIC_1)[:16]


def start_key(master: bytes, magic: bytes) -> bytes:
    """Return what GetAsymmetricStartKey makes of the master key: 16 octets."""
    return _sha1(master + _SHS_PAD_1 + magic + _SHS_PAD_2)[:_START_KEY_OCTETS]


def _password_hash(password: Secret) -> bytes:
    return md4(password.reveal().decode().encode("utf-16-le"))


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _des(key: bytes, block: bytes) -> bytes:
    """Encrypt 8 octets with 7 octets of key: DES is TripleDES with one key three times."""
    bits = int.from_bytes(key)
    spread = bytes((bits >> 49 - 7 * index & 0x7F) << 1 for index in range(8))
    encryptor = Cipher(TripleDES(spread * 3), modes.ECB()).encryptor()  # noqa: S305 - RFC 2759
    return encryptor.update(block) + encryptor.finalize()
