"""All that is known about revoked certificates, CRLs and OCSP together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ipsecme.crypto.certificate_ocsp import OcspResponse, OcspRules, judge_by_ocsp
from ipsecme.crypto.certificate_revocation import Crl, Finding, Standing, judge

if TYPE_CHECKING:
    import datetime as dt

    from ipsecme.crypto.certificate import Certificate

__all__ = ["News"]


@dataclass(slots=True, frozen=True)
class News:
    """CRLs and OCSP responses at hand, of whomever; they are judged when they are asked."""

    crls: tuple[Crl, ...] = ()
    ocsp: tuple[OcspResponse, ...] = ()
    rules: OcspRules = field(default_factory=OcspRules)

    def about(self, certificate: Certificate, issuer: Certificate, at: dt.datetime) -> Finding:
        """Judge a certificate that `issuer` issued. One voice for revoked outweighs all others."""
        findings = []
        if self.ocsp:
            findings.append(judge_by_ocsp(certificate, issuer, self.ocsp, self.rules, at))
        if self.crls or not findings:
            findings.append(judge(certificate, issuer, self.crls, at))
        for standing in (Standing.REVOKED, Standing.GOOD):
            for finding in findings:
                if finding.standing is standing:
                    return finding
        return Finding(Standing.UNKNOWN, "; ".join(finding.detail for finding in findings))
