"""Which identities a certificate proves (RFC 4945, section 3.1; RFC 7296, section 3.5)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ipsecme.crypto.certificate_names import (
    DistinguishedName,
    NameMalformed,
    host_name,
    mail_name,
)
from ipsecme.wire.numbers import IdType

if TYPE_CHECKING:
    from ipsecme.crypto.certificate import Certificate
    from ipsecme.ike.config import Identity

__all__ = ["mismatch"]


def mismatch(certificate: Certificate, identity: Identity) -> str | None:
    """Say why a certificate does not prove an identity, or return None when it does.

    Addresses, domain names and mail addresses are looked for in subjectAltName and nowhere else,
    a distinguished name in the subject. There are no wildcards.
    """
    if _is_in(certificate, identity):
        return None
    if identity.type == IdType.ID_DER_ASN1_DN:
        return f"its certificate is for {certificate.subject or 'a subject without name'}"
    if identity.type == IdType.ID_KEY_ID:
        return "a key id stands in no certificate; pin the peer's with remote_cert or remote_key"
    names = str(certificate.names) or "no names"
    return f"its certificate {certificate} has {names} in subjectAltName"


def _is_in(certificate: Certificate, identity: Identity) -> bool:
    names, data = certificate.names, identity.data
    match identity.type:
        case IdType.ID_IPV4_ADDR | IdType.ID_IPV6_ADDR:
            return ipaddress.ip_address(data) in names.addresses
        case IdType.ID_FQDN:
            return host_name(data.decode("ascii", "replace")) in names.hosts
        case IdType.ID_RFC822_ADDR:
            return mail_name(data.decode("ascii", "replace")) in names.mails
        case IdType.ID_DER_ASN1_DN:
            try:
                name = DistinguishedName(data)
            except NameMalformed:
                return False
            return bool(name) and name == certificate.subject
        case _:
            return False
