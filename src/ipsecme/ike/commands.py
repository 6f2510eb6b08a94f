"""What the engine wants done by others, as values. The driver carries them out in order.

A driver must have carried out every command that `next_command` gave before it sends the datagrams
that `datagrams_to_send` returns afterwards: a responder must be able to receive on a Child SA
before its answer leaves (RFC 7296, section 2.8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from ipsecme.base import Path
    from ipsecme.crypto.certificate import Certificate
    from ipsecme.crypto.certificate_bundle import Location
    from ipsecme.crypto.signature_keys import SigningKey
    from ipsecme.ike.auth.trust import Trust
    from ipsecme.policy.parameters import SaPair
    from ipsecme.wire.numbers import HashId

__all__ = [
    "CheckChain",
    "Command",
    "FetchCertificates",
    "InstallSa",
    "RemoveSa",
    "RetireSa",
    "Sign",
    "UpdatePath",
]


class InstallSa(NamedTuple):
    """Install both halves. If that fails, call `Endpoint.handle_install_failed`."""

    pair: SaPair


class RetireSa(NamedTuple):
    """Send no more on the outbound half; a successor takes over. Inbound packets stay welcome."""

    spi: int


class RemoveSa(NamedTuple):
    """Forget both halves of the pair with this inbound SPI."""

    spi: int


class UpdatePath(NamedTuple):
    """Send the outbound packets of the pair with this inbound SPI along another path."""

    spi: int
    path: Path


class CheckChain(NamedTuple):
    """Find out whether a certificate is trusted now; call `Endpoint.answer` with the number.

    The answer is a `TrustedPath` for `leaf`, or a `PathRefused` that says why not. `others` and
    the responses in `ocsp`, which nobody has read yet, came from the peer, too. The engine has no
    wall clock and fetches nothing, so it asks.
    """

    number: int
    connection: str
    trust: Trust
    leaf: Certificate
    others: tuple[Certificate, ...]
    ocsp: tuple[bytes, ...] = ()


class FetchCertificates(NamedTuple):
    """Get what lies at these locations; call `Endpoint.answer` with the number.

    The answer is a tuple of the contents, in this order, or a `LocationUnfit` that says why not.
    The peer, at the address `remote`, is not authenticated. `reach` says whether only public
    addresses may be contacted for it.
    """

    number: int
    connection: str
    remote: str
    reach: Literal["public", "any"]
    locations: tuple[Location, ...]


class Sign(NamedTuple):
    """Sign `octets`, which takes long; call `Endpoint.answer` with the number.

    The answer is what `crypto.signature.sign` makes of these, a `Signature`.
    """

    number: int
    key: SigningKey
    octets: bytes
    peer_hashes: frozenset[HashId]


Command = CheckChain | FetchCertificates | Sign | InstallSa | RetireSa | RemoveSa | UpdatePath
