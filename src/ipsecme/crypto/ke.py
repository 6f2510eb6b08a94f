"""Key Exchange methods (RFC 7296, section 3.4; RFC 5903; RFC 8031; RFC 6989).

A key pair is made for one exchange and never again. The public values of peers are checked for size
before anything else, for being on the curve by the library, and the all-zero secret of a low-order
point is refused (RFC 6989, section 2; RFC 8031, section 3.1). The MODP groups are in `modp`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ipsecme.base import LocalMisuse, MalformedMessage, Secret
from ipsecme.crypto.algorithms import KEY_EXCHANGE
from ipsecme.crypto.modp import BITS, ModpExchange
from ipsecme.wire.numbers import KeId

__all__ = ["KeyExchange", "KeyExchangeProvider", "SystemKeyExchange"]

_UNCOMPRESSED = b"\x04"  # what the library reads; not on the wire (RFC 5903, section 7)


class KeyExchange(Protocol):
    """One key pair: the public value as it goes on the wire, and the agreement with a peer's."""

    @property
    def method(self) -> KeId:
        """The Key Exchange method."""
        ...

    @property
    def public(self) -> bytes:
        """Our public value."""
        ...

    def agree(self, peer_public: bytes) -> Secret:
        """Return the shared secret; raises `MalformedMessage` for a bad public value."""
        ...


class KeyExchangeProvider(Protocol):
    """Makes fresh key pairs. Tests script it; hardware may stand behind it."""

    def generate(self, method: KeId) -> KeyExchange:
        """Return a fresh key pair."""
        ...


class SystemKeyExchange:
    """Key pairs from the library and the operating system's randomness."""

    __slots__ = ()

    def generate(self, method: KeId) -> KeyExchange:
        """Return a fresh key pair of a method in `KEY_EXCHANGE`."""
        if method in KEY_EXCHANGE:
            if method == KeId.CURVE25519:
                return Curve25519Exchange()
            if method == KeId.CURVE448:
                return Curve448Exchange()
            if method in _CURVES:
                return EcpExchange(method)
            if method in BITS:
                return ModpExchange(method)
        raise LocalMisuse(f"{method.name} is not implemented")


class Curve25519Exchange:
    """RFC 8031: public values and secrets are 32 octets."""

    __slots__ = ("_private", "public")

    method = KeId.CURVE25519

    def __init__(self, private: X25519PrivateKey | None = None) -> None:
        self._private = private or X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, peer_public: bytes) -> Secret:
        """Return the shared secret, unless the peer's point has low order."""
        _check_size(self.method, peer_public)
        try:
            peer = X25519PublicKey.from_public_bytes(peer_public)
            return Secret(self._private.exchange(peer))
        except ValueError as error:
            raise MalformedMessage("the peer's Curve25519 public value has low order") from error


class Curve448Exchange:
    """RFC 8031: public values and secrets are 56 octets."""

    __slots__ = ("_private", "public")

    method = KeId.CURVE448

    def __init__(self, private: X448PrivateKey | None = None) -> None:
        self._private = private or X448PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, peer_public: bytes) -> Secret:
        """Return the shared secret, unless the peer's point has low order."""
        _check_size(self.method, peer_public)
        try:
            peer = X448PublicKey.from_public_bytes(peer_public)
            return Secret(self._private.exchange(peer))
        except ValueError as error:
            raise MalformedMessage("the peer's Curve448 public value has low order") from error


class _Curve(NamedTuple):
    curve: ec.EllipticCurve
    octets: int
    """Of one coordinate."""


_CURVES: dict[KeId, _Curve] = {
    KeId.ECP_256: _Curve(ec.SECP256R1(), 32),
    KeId.ECP_384: _Curve(ec.SECP384R1(), 48),
    KeId.ECP_521: _Curve(ec.SECP521R1(), 66),
}


class EcpExchange:
    """RFC 5903: a public value is x and y, each with leading zeros; the secret is x alone."""

    __slots__ = ("_curve", "_private", "method", "public")

    def __init__(self, method: KeId, private: ec.EllipticCurvePrivateKey | None = None) -> None:
        self.method = method
        self._curve, octets = _CURVES[method]
        self._private = private or ec.generate_private_key(self._curve)
        numbers = self._private.public_key().public_numbers()
        self.public = numbers.x.to_bytes(octets) + numbers.y.to_bytes(octets)

    def agree(self, peer_public: bytes) -> Secret:
        """Return the shared secret, unless the peer's point is not on the curve."""
        _check_size(self.method, peer_public)
        try:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(
                self._curve, _UNCOMPRESSED + peer_public
            )
        except ValueError as error:
            raise MalformedMessage(
                f"the peer's {self.method.name} public value is not on the curve"
            ) from error
        return Secret(self._private.exchange(ec.ECDH(), peer))


def _check_size(method: KeId, public: bytes) -> None:
    wanted = KEY_EXCHANGE[method]
    if len(public) != wanted:
        raise MalformedMessage(f"{method.name} public value of {len(public)} octets, not {wanted}")
