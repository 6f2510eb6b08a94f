"""Protection of IKE messages: the inside of SK (RFC 7296, section 3.14; RFC 5282).

One `Protection` holds one direction's keys. `seal` and `open` get everything that integrity covers
in front of the body: the IKE header, other payloads, and SK's generic header.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NoReturn, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC

from ipsecme.base import IpsecmeError, LocalMisuse
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY
from ipsecme.crypto.prf import HASHES

if TYPE_CHECKING:
    from ipsecme.base import Rng, Secret
    from ipsecme.crypto.suite import IkeSuite

__all__ = ["IntegrityFailure", "Protection", "protection"]

_MAX_IV = (1 << 64) - 1


class IntegrityFailure(IpsecmeError):
    """The ICV does not fit: somebody else wrote these octets, or they were damaged."""


class Protection(Protocol):
    """One direction's keys of an IKE SA."""

    def sealed_octets(self, plain_octets: int) -> int:
        """Return the size of the body that `seal` makes of that many octets."""
        ...

    def seal(self, front: bytes, plain: bytes) -> bytes:
        """Return IV, ciphertext of `plain` with its padding, and ICV."""
        ...

    def open(self, front: bytes, body: bytes) -> bytes:
        """Return the payloads; raises `IntegrityFailure` before anything is interpreted."""
        ...


def protection(
    suite: IkeSuite, encryption_key: Secret, integrity_key: Secret, rng: Rng
) -> Protection:
    """Return the protection for one direction."""
    if ENCRYPTION[suite.encr].is_aead:
        return _Gcm(encryption_key)
    return _CbcHmac(suite, encryption_key, integrity_key, rng)


class _Unshared:
    """An object with keys and counters that must exist once only."""

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        raise LocalMisuse("a copy would use the same key and IV twice")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise LocalMisuse("a copy would use the same key and IV twice")

    def __reduce__(self) -> NoReturn:
        raise LocalMisuse("keys are not serialised")


class _Gcm(_Unshared):
    """AES-GCM: 8 octets of IV counted up, a Pad Length octet of zero, 16 octets of ICV."""

    __slots__ = ("_cipher", "_counter", "_salt")

    def __init__(self, key: Secret) -> None:
        octets = key.reveal()
        self._cipher = AESGCM(octets[:-4])
        self._salt = octets[-4:]
        self._counter = 0

    def sealed_octets(self, plain_octets: int) -> int:
        return 8 + plain_octets + 1 + 16

    def seal(self, front: bytes, plain: bytes) -> bytes:
        if self._counter == _MAX_IV:
            raise LocalMisuse("the IV counter is used up")
        self._counter += 1
        iv = self._counter.to_bytes(8)
        return iv + self._cipher.encrypt(self._salt + iv, plain + b"\x00", front)

    def open(self, front: bytes, body: bytes) -> bytes:
        if len(body) < 8 + 1 + 16:
            raise IntegrityFailure("too short for IV, pad length and ICV")
        try:
            padded = self._cipher.decrypt(self._salt + body[:8], body[8:], front)
        except InvalidTag:
            raise IntegrityFailure("the ICV does not fit") from None
        return _unpad(padded)


class _CbcHmac(_Unshared):
    """AES-CBC with HMAC: a random IV, padding to the block, and the ICV over all before it."""

    __slots__ = ("_algorithm", "_icv", "_mac", "_rng")

    def __init__(
        self, suite: IkeSuite, encryption_key: Secret, integrity_key: Secret, rng: Rng
    ) -> None:
        row = INTEGRITY[suite.integ]
        self._algorithm = algorithms.AES(encryption_key.reveal())
        self._mac = HMAC(integrity_key.reveal(), HASHES[row.hash_name])
        self._icv = row.icv
        self._rng = rng

    def sealed_octets(self, plain_octets: int) -> int:
        return 16 + (plain_octets // 16 + 1) * 16 + self._icv

    def seal(self, front: bytes, plain: bytes) -> bytes:
        pad = 15 - len(plain) % 16
        iv = self._rng.octets(16)
        encryptor = Cipher(self._algorithm, modes.CBC(iv)).encryptor()
        sealed = iv + encryptor.update(plain + bytes(pad) + bytes((pad,))) + encryptor.finalize()
        return sealed + self._tag(front + sealed)

    def open(self, front: bytes, body: bytes) -> bytes:
        sealed, tag = body[: -self._icv], body[-self._icv :]
        if len(sealed) < 32 or len(sealed) % 16:
            raise IntegrityFailure("not IV, whole blocks and ICV")
        if not hmac.compare_digest(self._tag(front + sealed), tag):
            raise IntegrityFailure("the ICV does not fit")
        decryptor = Cipher(self._algorithm, modes.CBC(sealed[:16])).decryptor()
        return _unpad(decryptor.update(sealed[16:]) + decryptor.finalize())

    def _tag(self, octets: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(octets)
        return mac.finalize()[: self._icv]


def _unpad(padded: bytes) -> bytes:
    """Take off the padding, whatever it contains (section 3.14)."""
    end = len(padded) - 1 - padded[-1]
    if end < 0:
        raise IntegrityFailure("the padding is longer than the payloads")
    return padded[:end]
