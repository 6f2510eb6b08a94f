"""CERT and CERTREQ: what an end shows of itself and asks of the other (RFC 7296, 3.6 and 3.7).

Owns which CERT payloads count: X.509 certificates, the first of which is the peer's own, raw public
keys (RFC 7670), and OCSP responses (RFC 4806). All other encodings are ignored. What a peer sends
is never an authority.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipsecme.crypto.certificate import Certificate, CertificateUnfit
from ipsecme.crypto.signature_keys import KeyUnfit, PublicKey
from ipsecme.ike.failures import AuthenticationFailed
from ipsecme.wire.ike import CertPayload, CertReqPayload
from ipsecme.wire.numbers import CertEncoding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipsecme.ike.auth.trust import Credential, Trust
    from ipsecme.ike.config import Identity
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.wire.ike import Payload

__all__ = ["Presented", "authorities_of", "encodings_of", "presented", "requests", "shown"]

_KEY_HASH_OCTETS = 20
_MOST_CERTIFICATES = 16
_MOST_AUTHORITIES = 64
_X509, _RAW = CertEncoding.X509_SIGNATURE, CertEncoding.RAW_PUBLIC_KEY
_OCSP = CertEncoding.OCSP_CONTENT


@dataclass(slots=True, frozen=True)
class Presented:
    """What a signature is to be verified with: the key in `leaf`, or one of the pinned `keys`."""

    keys: tuple[PublicKey, ...]
    leaf: Certificate | None = None
    others: tuple[Certificate, ...] = ()
    ocsp: tuple[bytes, ...] = ()


def shown(credential: Credential, ocsp: bytes | None = None) -> list[CertPayload]:
    """Return our certificates, our own first, or our raw public key; then an OCSP response."""
    if not credential.certificates:
        return [CertPayload(_RAW, credential.key.public.spki)]
    found = [CertPayload(_X509, certificate.der) for certificate in credential.certificates]
    if ocsp is not None:
        found.append(CertPayload(_OCSP, ocsp))
    return found


def requests(trusts: Iterable[Trust]) -> list[CertReqPayload]:
    """Return what to ask for, so that a peer with several certificates can choose."""
    trusts = tuple(trusts)
    hashes = dict.fromkeys(a.key.key_hash for trust in trusts for a in trust.authorities)
    found = []
    if hashes:
        octets = b"".join(list(hashes)[:_MOST_AUTHORITIES])
        found.append(CertReqPayload(_X509, octets))
    if any(trust.keys for trust in trusts):
        found.append(CertReqPayload(_RAW, b""))
    watchful = [t for t in trusts if t.authorities and t.revocation.policy != "off"]
    if watchful:
        responders = (c for trust in watchful for c in trust.revocation.responders)
        hashes = dict.fromkeys(c.key.key_hash for c in responders)
        found.append(CertReqPayload(_OCSP, b"".join(list(hashes)[:_MOST_AUTHORITIES])))
    return found


def presented(ctx: ExchangeContext, trust: Trust, who: Identity) -> Presented:
    """Read the peer's CERT payloads; raises `AuthenticationFailed` when they cannot serve.

    A peer need not send what is pinned. A raw key counts only when it is among the pinned ones.
    """
    sent = [p for p in ctx.inside if isinstance(p, CertPayload)]
    if len(sent) > _MOST_CERTIFICATES:
        raise AuthenticationFailed(f"{who} sent {len(sent)} CERT payloads")
    certificates = [p.data for p in sent if p.encoding == _X509]
    raw = [p.data for p in sent if p.encoding == _RAW]
    if certificates and (trust.authorities or trust.certificates):
        ocsp = [p.data for p in sent if p.encoding == _OCSP]
        return _with_certificate(certificates, ocsp, who)
    if raw and trust.keys:
        return _with_key(raw[0], trust, who)
    if trust.keys:
        return Presented(trust.keys)
    if len(trust.certificates) == 1:
        pinned = trust.certificates[0]
        return Presented((pinned.key,), pinned)
    raise AuthenticationFailed(
        f"{who} sent no certificate; let it send the one that an authority in ca issued"
    )


def _with_certificate(sent: list[bytes], ocsp: list[bytes], who: Identity) -> Presented:
    try:
        leaf = Certificate.decode(sent[0])
    except CertificateUnfit as error:
        raise AuthenticationFailed(f"the certificate of {who} is not usable: {error}") from None
    return Presented((leaf.key,), leaf, tuple(_readable(sent[1:])), tuple(ocsp))


def _readable(sent: list[bytes]) -> Iterator[Certificate]:
    """Yield what can be read; the way to an authority may do without the rest."""
    for der in sent:
        try:
            yield Certificate.decode(der)
        except CertificateUnfit:
            continue


def _with_key(spki: bytes, trust: Trust, who: Identity) -> Presented:
    try:
        key = PublicKey.decode(spki)
    except KeyUnfit as error:
        raise AuthenticationFailed(f"the raw key of {who} is not usable: {error}") from None
    if key not in trust.keys:
        raise AuthenticationFailed(
            f"key: {who} sent the raw key {key.fingerprint}, which is not the one in remote_key"
        )
    return Presented((key,))


def authorities_of(payloads: Iterable[Payload]) -> frozenset[bytes]:
    """Return the authorities that CERTREQ payloads name; a list of odd length names none."""
    found: set[bytes] = set()
    for payload in payloads:
        if isinstance(payload, CertReqPayload) and payload.encoding == _X509:
            octets = payload.authorities
            if len(octets) % _KEY_HASH_OCTETS == 0:
                starts = range(0, len(octets), _KEY_HASH_OCTETS)
                found.update(octets[at : at + _KEY_HASH_OCTETS] for at in starts)
    return frozenset(found)


def encodings_of(payloads: Iterable[Payload]) -> frozenset[CertEncoding]:
    """Return the kinds of certificates that CERTREQ payloads ask for."""
    return frozenset(p.encoding for p in payloads if isinstance(p, CertReqPayload))
