"""Name constraints: which names an authority may certify (RFC 5280, section 4.2.1.10).

A kind of constraint that cannot be enforced is a reason to refuse, never one to pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from ipsecme.crypto.certificate_names import DistinguishedName, host_name, mail_name

if TYPE_CHECKING:
    import ipaddress
    from collections.abc import Callable, Sequence

    from ipsecme.crypto.certificate import Certificate

__all__ = ["violation"]

_EMAIL_ADDRESS = "1.2.840.113549.1.9.1"
_KINDS = (x509.DNSName, x509.RFC822Name, x509.IPAddress, x509.DirectoryName)


def violation(constraints: x509.NameConstraints, certificate: Certificate) -> str | None:
    """Return a name of `certificate` that the constraints forbid, in words, or None."""
    permitted = list(constraints.permitted_subtrees or ())
    excluded = list(constraints.excluded_subtrees or ())
    for tree in (*permitted, *excluded):
        if not isinstance(tree, _KINDS):
            return f"there are constraints on {type(tree).__name__}, which cannot be enforced here"
    names = certificate.names
    mails = names.mails or tuple(map(mail_name, certificate.subject.values(_EMAIL_ADDRESS)))
    directories = names.directories
    if certificate.subject:
        directories = (certificate.subject, *directories)
    checks: tuple[tuple[Sequence[object], type[x509.GeneralName], Callable[..., bool]], ...] = (
        (names.hosts, x509.DNSName, _host_within),
        (mails, x509.RFC822Name, _mail_within),
        (names.addresses, x509.IPAddress, _address_within),
        (directories, x509.DirectoryName, _directory_within),
    )
    for found, kind, within in checks:
        allowed = [tree.value for tree in permitted if isinstance(tree, kind)]
        forbidden = [tree.value for tree in excluded if isinstance(tree, kind)]
        for name in found:
            if any(within(name, base) for base in forbidden):
                return f"{name} is excluded"
            if allowed and not any(within(name, base) for base in allowed):
                return f"{name} is not among the permitted names"
    return None


def _host_within(name: str, base: str) -> bool:
    base = host_name(base).removeprefix(".")
    return not base or name == base or name.endswith(f".{base}")


def _mail_within(name: str, base: str) -> bool:
    if "@" in base:
        return name == mail_name(base)
    host = name.rpartition("@")[2]
    base = host_name(base)
    return host.endswith(base) if base.startswith(".") else host == base


def _address_within(
    name: ipaddress.IPv4Address | ipaddress.IPv6Address,
    base: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> bool:
    return name in base


def _directory_within(name: DistinguishedName, base: x509.Name) -> bool:
    return name.is_within(DistinguishedName(base.public_bytes()))
