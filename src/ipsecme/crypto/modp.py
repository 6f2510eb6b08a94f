"""MODP groups (RFC 3526; RFC 7296, appendix B): Diffie-Hellman over finite fields.

Peers that know no elliptic curve need them. They cost milliseconds where Curve25519 costs a tenth
of one. The library calls finite fields deprecated and will drop them in time: everything that
depends on it is in this module, and `IS_AVAILABLE` tells whether the installed one still does.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from cryptography.utils import CryptographyDeprecationWarning

from ipsecme.base import LocalMisuse, MalformedMessage, Secret
from ipsecme.wire.numbers import KeId

try:
    from cryptography.hazmat.primitives.asymmetric import dh
except ImportError:
    IS_AVAILABLE = False
else:
    IS_AVAILABLE = True

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BITS", "IS_AVAILABLE", "ModpExchange", "prime"]

BITS: dict[KeId, int] = {
    KeId.MODP_2048: 2048,
    KeId.MODP_3072: 3072,
    KeId.MODP_4096: 4096,
    KeId.MODP_6144: 6144,
    KeId.MODP_8192: 8192,
}
"""The groups and the sizes of their primes."""

_GENERATOR = 2

# The primes are 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) * pi] + k): 64 bits of ones at either end,
# and between them pi with the smallest k that makes a safe prime.
_K = {2048: 124476, 3072: 1690314, 4096: 240904, 6144: 929484, 8192: 4743158}
_PI_BITS = 8192
_PI = int(  # [2^(8192-130) * pi]
    "C90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF95"
    "19B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6"
    "F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55"
    "D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804"
    "F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2B"
    "CBF6955817183995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33A85521AB"
    "DF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8CDB0933D71E8C94E04A25"
    "619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200CBBE117577A615D6C"
    "770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D78871"
    "9A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8DBBBC2DB04DE8EF92E8EFC14"
    "1FBECAA6287C59474E6BC05D99B2964FA090C3A2233BA186515BE7ED1F612970CEE2D7AFB81BDD762170"
    "481CD0069127D5B05AA993B4EA988D8FDDC186FFB7DC90A6C08F4DF435C93402849236C3FAB4D27C7026"
    "C1D4DCB2602646DEC9751E763DBA37BDF8FF9406AD9E530EE5DB382F413001AEB06A53ED9027D8311797"
    "27B0865A8918DA3EDBEBCF9B14ED44CE6CBACED4BB1BDB7F1447E6CC254B332051512BD7AF426FB8F401"
    "378CD2BF5983CA01C64B92ECF032EA15D1721D03F482D7CE6E74FEF6D55E702F46980C82B5A84031900B"
    "1C9E59E7C97FBEC7E8F323A97A7E36CC88BE0F1D45B7FF585AC54BD407B22B4154AACC8F6D7EBF48E1D8"
    "14CC5ED20F8037E0A79715EEF29BE32806A1D58BB7C5DA76F550AA3D8A1FBFF0EB19CCB1A313D55CDA56"
    "C9EC2EF29632387FE8D76E3C0468043E8F663F4860EE12BF2D5B0B7474D6E694F91E6DBE115974A3926F"
    "12FEE5E438777CB6A932DF8CD8BEC4D073B931BA3BC832B68D9DD300741FA7BF8AFC47ED2576F6936BA4"
    "24663AAB639C5AE4F5683423B4742BF1C978238F16CBE39D652DE3FDB8BEFC848AD922222E04A4037C07"
    "13EB57A81A23F0C73473FC646CEA306B4BCBC8862F8385DDFA9D4B7FA2C087E879683303ED5BDD3A062B"
    "3CF5B3A278A66D2A13F83F44F82DDF310EE074AB6A364597E899A0255DC164F31CC50846851DF9AB4819"
    "5DED7EA1B1D510BD7EE74D73FAF36BC31ECFA268359046F4EB879F924009438B481C6CD7889A002ED5EE"
    "382BC9190DA6FC026E479558E4475677E9AA9E3050E2765694DFC81F56E880B96E7160C980DD98A573EA",
    16,
)


@cache
def prime(bits: int) -> int:
    """Return the prime of so many bits (RFC 3526, sections 3 to 7)."""
    middle = (_PI >> (_PI_BITS - bits)) + _K[bits]
    return (1 << bits) - (1 << (bits - 64)) - 1 + (middle << 64)


class ModpExchange:
    """Public values and secrets have the size of the prime, with leading zeros (section 2.14).

    Raises `LocalMisuse` when the installed library has no finite fields. The private exponents
    are as long as the library deems fit for the group (twice its strength), and fresh each time.
    """

    __slots__ = ("_private", "method", "public")

    def __init__(self, method: KeId) -> None:
        self.method = method
        self._private = _parameters(BITS[method]).generate_private_key()
        value = self._private.public_key().public_numbers().y
        self.public = value.to_bytes(BITS[method] // 8)

    def agree(self, peer_public: bytes) -> Secret:
        """Return the shared secret, unless the peer's value is of the wrong size or out of range.

        The range is all that must be checked in groups of safe primes (RFC 6989, section 2.1).
        """
        bits = BITS[self.method]
        octets = bits // 8
        if len(peer_public) != octets:
            raise MalformedMessage(
                f"{self.method.name} public value of {len(peer_public)} octets, not {octets}"
            )
        value = int.from_bytes(peer_public)
        if not 1 < value < prime(bits) - 1:
            raise MalformedMessage(f"the peer's {self.method.name} public value is out of range")
        with _deprecation_accepted():
            peer = dh.DHPublicNumbers(value, dh.DHParameterNumbers(prime(bits), _GENERATOR))
        return Secret(self._private.exchange(peer.public_key()).rjust(octets, b"\x00"))


@cache
def _parameters(bits: int) -> dh.DHParameters:
    if not IS_AVAILABLE:
        raise LocalMisuse("the installed cryptography library has no MODP groups any more")
    with _deprecation_accepted():
        return dh.DHParameterNumbers(prime(bits), _GENERATOR).parameters()


@contextmanager
def _deprecation_accepted() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield
