"""Protection of IKE messages: the inside of SK (RFC 7296, section 3.14; RFC 5282, 5930, 7634).

One `Protection` holds one direction's keys. `seal` and `open` get everything that integrity covers
in front of the body: the IKE header, other payloads, and SK's generic header.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NoReturn, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ipsecme.base import IpsecmeError, LocalMisuse
from ipsecme.crypto.algorithms import ENCRYPTION, INTEGRITY
from ipsecme.crypto.cipher import aead, key_stream
from ipsecme.crypto.integrity import authenticator
from ipsecme.wire.numbers import EncrId

if TYPE_CHECKING:
    from ipsecme.base import Rng, Secret
    from ipsecme.crypto.suite import IkeSuite

__all__ = ["IntegrityFailure", "Protection", "protection"]

_MAX_IV = (1 << 64) - 1
_COUNTED_IV = 8


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
    row = ENCRYPTION[suite.encr]
    if row.esp_only:
        raise LocalMisuse(f"{suite.encr.name} hides nothing, which IKE messages need")
    if row.is_aead:
        return _AeadProtection(suite, encryption_key)
    if suite.encr == EncrId.ENCR_AES_CTR:
        return _CtrMac(suite, encryption_key, integrity_key)
    return _CbcMac(suite, encryption_key, integrity_key, rng)


class _Unshared:
    """An object with keys and counters that must exist once only."""

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        raise LocalMisuse("a copy would use the same key and IV twice")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise LocalMisuse("a copy would use the same key and IV twice")

    def __reduce__(self) -> NoReturn:
        raise LocalMisuse("keys are not serialised")


class _CountedIv:
    """IVs of 8 octets that never come twice: they are counted up."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def take(self) -> bytes:
        if self._count == _MAX_IV:
            raise LocalMisuse("the IV counter is used up")
        self._count += 1
        return self._count.to_bytes(_COUNTED_IV)


class _AeadProtection(_Unshared):
    """An AEAD cipher: a counted IV, a Pad Length octet of zero, and the cipher's own ICV."""

    __slots__ = ("_cipher", "_icv", "_iv")

    def __init__(self, suite: IkeSuite, key: Secret) -> None:
        self._cipher = aead(suite.encr, key)
        self._icv = ENCRYPTION[suite.encr].icv
        self._iv = _CountedIv()

    def sealed_octets(self, plain_octets: int) -> int:
        return _COUNTED_IV + plain_octets + 1 + self._icv

    def seal(self, front: bytes, plain: bytes) -> bytes:
        iv = self._iv.take()
        return iv + self._cipher.encrypt(self._cipher.salt + iv, plain + b"\x00", front)

    def open(self, front: bytes, body: bytes) -> bytes:
        if len(body) < _COUNTED_IV + 1 + self._icv:
            raise IntegrityFailure("too short for IV, pad length and ICV")
        iv, sealed = body[:_COUNTED_IV], body[_COUNTED_IV:]
        try:
            padded = self._cipher.decrypt(self._cipher.salt + iv, sealed, front)
        except InvalidTag:
            raise IntegrityFailure("the ICV does not fit") from None
        return _unpad(padded)


class _EncryptThenMac(_Unshared):
    """What the ciphers with an integrity algorithm share: the ICV over all before it."""

    __slots__ = ("_icv", "_icv_of")

    def __init__(self, suite: IkeSuite, integrity_key: Secret) -> None:
        self._icv_of = authenticator(suite.integ, integrity_key)
        self._icv = INTEGRITY[suite.integ].icv

    def _verified(self, front: bytes, body: bytes, least: int, block: int) -> bytes:
        """Return IV and ciphertext, which are at least so long and whole blocks."""
        sealed, icv = body[: -self._icv], body[-self._icv :]
        if len(sealed) < least or len(sealed) % block:
            raise IntegrityFailure("not IV, whole blocks and ICV")
        if not hmac.compare_digest(self._icv_of(front + sealed), icv):
            raise IntegrityFailure("the ICV does not fit")
        return sealed


class _CbcMac(_EncryptThenMac):
    """AES-CBC: a random IV, and padding to the block."""

    __slots__ = ("_algorithm", "_rng")

    def __init__(
        self, suite: IkeSuite, encryption_key: Secret, integrity_key: Secret, rng: Rng
    ) -> None:
        super().__init__(suite, integrity_key)
        self._algorithm = algorithms.AES(encryption_key.reveal())
        self._rng = rng

    def sealed_octets(self, plain_octets: int) -> int:
        return 16 + (plain_octets // 16 + 1) * 16 + self._icv

    def seal(self, front: bytes, plain: bytes) -> bytes:
        pad = 15 - len(plain) % 16
        iv = self._rng.octets(16)
        encryptor = Cipher(self._algorithm, modes.CBC(iv)).encryptor()
        sealed = iv + encryptor.update(plain + bytes(pad) + bytes((pad,))) + encryptor.finalize()
        return sealed + self._icv_of(front + sealed)

    def open(self, front: bytes, body: bytes) -> bytes:
        sealed = self._verified(front, body, 32, 16)
        decryptor = Cipher(self._algorithm, modes.CBC(sealed[:16])).decryptor()
        return _unpad(decryptor.update(sealed[16:]) + decryptor.finalize())


class _CtrMac(_EncryptThenMac):
    """AES-CTR: a counted IV, and a Pad Length octet of zero (RFC 5930, section 2)."""

    __slots__ = ("_apply", "_iv")

    def __init__(self, suite: IkeSuite, encryption_key: Secret, integrity_key: Secret) -> None:
        super().__init__(suite, integrity_key)
        self._apply = key_stream(encryption_key)
        self._iv = _CountedIv()

    def sealed_octets(self, plain_octets: int) -> int:
        return _COUNTED_IV + plain_octets + 1 + self._icv

    def seal(self, front: bytes, plain: bytes) -> bytes:
        iv = self._iv.take()
        sealed = iv + self._apply(iv, plain + b"\x00")
        return sealed + self._icv_of(front + sealed)

    def open(self, front: bytes, body: bytes) -> bytes:
        sealed = self._verified(front, body, _COUNTED_IV + 1, 1)
        return _unpad(self._apply(sealed[:_COUNTED_IV], sealed[_COUNTED_IV:]))


def _unpad(padded: bytes) -> bytes:
    """Take off the padding, whatever it contains (section 3.14)."""
    end = len(padded) - 1 - padded[-1]
    if end < 0:
        raise IntegrityFailure("the padding is longer than the payloads")
    return padded[:end]
