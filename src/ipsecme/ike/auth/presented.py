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
from ipsecme.ike.auth.located import LOCATED, location_payload, resolved
from ipsecme.ike.auth.trust import Trust
from ipsecme.ike.failures import AuthenticationFailed
from ipsecme.wire.ike import CertPayload, CertReqPayload, NotifyPayload
from ipsecme.wire.numbers import CertEncoding, NotifyType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ipsecme.ike.auth.trust import Credential
    from ipsecme.ike.config import Identity, PeerConfig
    from ipsecme.ike.context import ExchangeContext
    from ipsecme.wire.ike import Payload

__all__ = [
    "Presented",
    "authorities_of",
    "encodings_of",
    "looks_up",
    "presented",
    "requests",
    "shown",
]

_KEY_HASH_OCTETS = 20
_MOST_CERTIFICATES = 16
_MOST_AUTHORITIES = 64
_X509, _RAW = CertEncoding.X509_SIGNATURE, CertEncoding.RAW_PUBLIC_KEY
_OCSP = CertEncoding.OCSP_CONTENT
_CERTIFICATES = frozenset({_X509, *LOCATED})


@dataclass(slots=True, frozen=True)
class Presented:
    """What a signature is to be verified with: the key in `leaf`, or one of the pinned `keys`."""

    keys: tuple[PublicKey, ...]
    leaf: Certificate | None = None
    others: tuple[Certificate, ...] = ()
    ocsp: tuple[bytes, ...] = ()


def shown(
    credential: Credential, ocsp: bytes | None = None, *, lookup: bool = False
) -> list[CertPayload]:
    """Return our certificates, our own first, or our raw public key; then an OCSP response.

    A peer that can do a `lookup` gets the URL where there is one.
    """
    if not credential.certificates:
        return [CertPayload(_RAW, credential.key.public.spki)]
    found = [CertPayload(_X509, certificate.der) for certificate in credential.certificates]
    if lookup and (location := credential.location) is not None:
        found[: None if location.is_bundle else 1] = [location_payload(location)]
    if ocsp is not None:
        found.append(CertPayload(_OCSP, ocsp))
    return found


def requests(trusts: Iterable[Trust]) -> list[Payload]:
    """Return what to ask for, so that a peer with several certificates can choose."""
    trusts = tuple(trusts)
    hashes = dict.fromkeys(a.key.key_hash for trust in trusts for a in trust.authorities)
    found: list[Payload] = []
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
    if any(trust.lookup != "off" for trust in trusts):
        found.append(NotifyPayload(NotifyType.HTTP_CERT_LOOKUP_SUPPORTED))
    return found


def presented(ctx: ExchangeContext, peer: PeerConfig, who: Identity) -> Presented:
    """Read the peer's CERT payloads; raises `AuthenticationFailed` when they cannot serve.

    A peer need not send what is pinned. A raw key counts only when it is among the pinned ones.
    """
    trust = peer.trust or Trust()
    sent = [p for p in ctx.inside if isinstance(p, CertPayload)]
    if len(sent) > _MOST_CERTIFICATES:
        raise AuthenticationFailed(f"{who} sent {len(sent)} CERT payloads")
    certificates = resolved(ctx, peer, who, sent)[:_MOST_CERTIFICATES]
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
    if any(p.encoding in LOCATED for p in sent):
        raise AuthenticationFailed(
            f"{who} sent a URL in place of its certificate; set cert_fetch to follow it, or let "
            "the peer send the certificate itself"
        )
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
        if isinstance(payload, CertReqPayload) and payload.encoding in _CERTIFICATES:
            octets = payload.authorities
            if len(octets) % _KEY_HASH_OCTETS == 0:
                starts = range(0, len(octets), _KEY_HASH_OCTETS)
                found.update(octets[at : at + _KEY_HASH_OCTETS] for at in starts)
    return frozenset(found)


def looks_up(payloads: Iterable[Payload]) -> bool:
    """Tell whether the sender follows URLs of certificates (RFC 7296, section 3.7)."""
    kind = NotifyType.HTTP_CERT_LOOKUP_SUPPORTED
    return any(isinstance(p, NotifyPayload) and p.type == kind for p in payloads)


def encodings_of(payloads: Iterable[Payload]) -> frozenset[CertEncoding]:
    """Return the kinds of certificates that CERTREQ payloads ask for."""
    return frozenset(p.encoding for p in payloads if isinstance(p, CertReqPayload))
