"""From a peer's certificate to an authority that we trust (RFC 5280, section 6; RFC 4945).

Authorities come from the configuration alone; what a peer sends only fills the way between. The
search has limits of depth and of signatures checked. That a certificate is trusted is an object,
`TrustedPath`, which only `trust` makes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from ipsecme.base import PeerError
from ipsecme.crypto.certificate_constraints import violation
from ipsecme.crypto.certificate_news import News
from ipsecme.crypto.certificate_revocation import Standing

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from ipsecme.crypto.certificate import Certificate

__all__ = [
    "MAX_CERTIFICATES",
    "PathRefused",
    "TrustedPath",
    "authorities_above",
    "find_path",
    "trust",
]

MAX_CERTIFICATES = 8
"""Longest path, the authority included."""

_MAX_SIGNATURES = 32
_GOOD_HASHES = frozenset({"sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"})
_SEAL = object()


class PathRefused(PeerError):
    """No way leads from the certificate to an authority; the message says what to change."""


class TrustedPath:
    """That the key of `leaf` is to be trusted. Only `trust` makes one."""

    __slots__ = ("certificates",)

    def __init__(self, seal: object, certificates: tuple[Certificate, ...]) -> None:
        if seal is not _SEAL:
            raise TypeError("only trust() knows that a certificate is to be trusted")
        self.certificates = certificates

    @property
    def leaf(self) -> Certificate:
        """The certificate of the peer."""
        return self.certificates[0]


def trust(
    leaf: Certificate,
    others: Sequence[Certificate],
    *,
    anchors: Sequence[Certificate],
    pinned: Sequence[Certificate],
    news: News | None = None,
    policy: Literal["off", "soft", "strict"] = "off",
    at: dt.datetime,
) -> TrustedPath:
    """Return the proof that `leaf` is trusted at a time; raises `PathRefused`.

    A pinned certificate needs no authority, so nobody can revoke it. Of the others each one on the
    way must not be known to be revoked, or with ``strict`` be known not to be.
    """
    if leaf in pinned:
        _check_date(leaf, at)
        if (reason := leaf.unfit_for_ike()) is not None:
            raise PathRefused(f"the certificate {leaf} does not serve for IKE: {reason}")
        return TrustedPath(_SEAL, (leaf,))
    if not anchors:
        raise PathRefused(f"the certificate {leaf} is not the one in remote_cert")
    path = find_path(leaf, others, anchors, at)
    if policy != "off":
        _check_revocation(path, news or News(), at, strict=policy == "strict")
    return TrustedPath(_SEAL, path)


def _check_revocation(
    path: tuple[Certificate, ...], news: News, at: dt.datetime, *, strict: bool
) -> None:
    """Judge all but the authority of the configuration, which vouches for itself."""
    for certificate, issuer in itertools.pairwise(path):
        finding = news.about(certificate, issuer, at)
        if finding.standing is Standing.REVOKED:
            raise PathRefused(f"{certificate} is revoked: {finding.detail}")
        if finding.standing is Standing.UNKNOWN and strict:
            raise PathRefused(
                f"whether {certificate} is revoked is not known, and revocation is strict: "
                f"{finding.detail}"
            )


def find_path(
    leaf: Certificate,
    others: Sequence[Certificate],
    anchors: Sequence[Certificate],
    at: dt.datetime,
) -> tuple[Certificate, ...]:
    """Return the certificates from `leaf` to one of the anchors; raises `PathRefused`."""
    if (reason := leaf.unfit_for_ike()) is not None:
        raise PathRefused(f"the certificate {leaf} does not serve for IKE: {reason}")
    return _Search(others, anchors, at).run(leaf)


def authorities_above(
    certificate: Certificate, known: Sequence[Certificate]
) -> tuple[Certificate, ...]:
    """Return those of the known authorities that the certificate leads to, the nearest first.

    They are only looked for by name and signature: this is about our own certificate, and whether
    the authorities may do that is for the peer to judge.
    """
    found: list[Certificate] = []
    waiting = [certificate]
    while waiting and len(found) < _MAX_SIGNATURES:
        issued = waiting.pop(0)
        for issuer in known:
            if issuer.subject == issued.issuer and issuer not in found and issuer != certificate:
                try:
                    _check_signature(issuer, issued)
                except PathRefused:
                    continue
                found.append(issuer)
                waiting.append(issuer)
    return tuple(found)


class _Search:
    """Depth first, anchors before what the peer sent; remembers why the best try failed."""

    def __init__(
        self,
        others: Sequence[Certificate],
        anchors: Sequence[Certificate],
        at: dt.datetime,
    ) -> None:
        self._others = tuple(dict.fromkeys(c for c in others if c not in anchors))
        self._anchors = anchors
        self._at = at
        self._signatures = 0
        self._refusal: tuple[int, PathRefused] | None = None

    def run(self, leaf: Certificate) -> tuple[Certificate, ...]:
        found = self._extend((leaf,))
        if found is not None:
            return found
        if self._refusal is not None:
            raise self._refusal[1]
        raise PathRefused(f"no way leads from {leaf} to an authority in ca")

    def _extend(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
        """Return a whole path that begins with `path`, or None after noting why not."""
        last = path[-1]
        if len(path) >= MAX_CERTIFICATES:
            self._note(path, f"the chain has more than {MAX_CERTIFICATES} certificates")
            return None
        known = (*self._anchors, *self._others)
        issuers = [c for c in known if c.subject == last.issuer and c not in path]
        if not issuers:
            self._note(path, _missing(last))
        for issuer in issuers:
            whole = (*path, issuer)
            try:
                self._check(whole)
            except PathRefused as error:
                self._note(whole, str(error))
                continue
            if issuer in self._anchors:
                return whole
            found = self._extend(whole)
            if found is not None:
                return found
        return None

    def _note(self, path: tuple[Certificate, ...], text: str) -> None:
        if self._refusal is None or len(path) > self._refusal[0]:
            self._refusal = (len(path), PathRefused(text))

    def _check(self, path: tuple[Certificate, ...]) -> None:
        """Check the last step of a path: `path[-1]` issued `path[-2]` and was allowed to."""
        issuer, issued = path[-1], path[-2]
        self._signatures += 1
        if self._signatures > _MAX_SIGNATURES:
            raise PathRefused(f"no way to an authority was found in {_MAX_SIGNATURES} steps")
        if not issuer.is_authority:
            raise PathRefused(
                f"{issuer} issued {issued}, but is not marked as an authority "
                "(basicConstraints, keyUsage)"
            )
        _check_signature(issuer, issued)
        for certificate in (issued, issuer):
            _check_date(certificate, self._at)
        between = sum(not c.is_self_issued for c in path[1:-1])
        if issuer.path_length is not None and between > issuer.path_length:
            raise PathRefused(f"{issuer} allows {issuer.path_length} authorities below it")
        if issuer.constraints is not None:
            for index, certificate in enumerate(path[:-1]):
                if index and certificate.is_self_issued:
                    continue
                if (reason := violation(issuer.constraints, certificate)) is not None:
                    raise PathRefused(f"{issuer} may not certify {certificate}: {reason}")


def _missing(last: Certificate) -> str:
    if last.is_self_issued:
        return f"{last} vouches for itself; if it is to be trusted add it to ca (or remote_cert)"
    return (
        f"{last} was issued by {last.issuer}, which is not an authority in ca and did not come "
        "with the peer's certificates"
    )


def _check_signature(issuer: Certificate, issued: Certificate) -> None:
    try:
        digest = issued.library.signature_hash_algorithm
        if digest is not None and digest.name not in _GOOD_HASHES:
            raise PathRefused(f"{issued} is signed with {digest.name}; renew it with SHA-2")
        issued.library.verify_directly_issued_by(issuer.library)
    except InvalidSignature:
        raise PathRefused(
            f"{issued} names {issuer} as its issuer, whose key did not sign it"
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PathRefused(f"{issued} does not follow from {issuer}: {error}") from None


def _check_date(certificate: Certificate, at: dt.datetime) -> None:
    if at < certificate.not_before:
        raise PathRefused(
            f"{certificate} is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC; "
            "is the clock right?"
        )
    if at > certificate.not_after:
        raise PathRefused(
            f"{certificate} expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC; renew it"
        )
