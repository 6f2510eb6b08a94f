"""Names in certificates: X.500 names in DER and in text, and how they compare.

Owns a reader for one fixed template, Name ::= SEQUENCE OF SET OF SEQUENCE { OID, string }, so that
a name on the wire can be compared with one in a certificate as RFC 5280, section 7.1, says: without
regard to case, to the kind of string, and to repeated spaces.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["Attribute", "DistinguishedName", "NameMalformed", "host_name", "mail_name"]

_SEQUENCE, _SET, _OID = 0x30, 0x31, 0x06
_TEXTS = {12: "utf-8", 19: "ascii", 20: "latin-1", 22: "ascii", 28: "utf-32-be", 30: "utf-16-be"}
_LARGEST = 4096
_SPECIFIC = re.compile(r"(?:CN|UID|E|emailAddress|serialNumber)\s*=", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(?:^|(?<=[,+]))[A-Za-z]+(?==)")
_MORE_ATTRIBUTES = {
    "E": NameOID.EMAIL_ADDRESS,
    "EMAILADDRESS": NameOID.EMAIL_ADDRESS,
    "SERIALNUMBER": NameOID.SERIAL_NUMBER,
}
_TITLES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}


class NameMalformed(ValueError):
    """The octets or the text are no name."""


class Attribute(NamedTuple):
    """One part of a name: dotted object identifier, and text, or hexadecimal if it is none."""

    oid: str
    value: str

    @property
    def canonical(self) -> tuple[str, str]:
        """What is compared."""
        return self.oid, " ".join(self.value.split()).casefold()

    def __str__(self) -> str:
        escaped = re.sub(r"([,+=\"\\<>;])", r"\\\1", self.value)
        text = escaped if escaped.isprintable() else repr(self.value)
        return f"{_TITLES.get(self.oid, self.oid)}={text}"


class DistinguishedName:
    """An X.500 name. `parts` are its RDNs in the order of the encoding, the general ones first."""

    __slots__ = ("canonical", "der", "parts")

    def __init__(self, der: bytes) -> None:
        self.der = der
        self.parts = _read_name(der)
        self.canonical = tuple(frozenset(a.canonical for a in rdn) for rdn in self.parts)

    @classmethod
    def parse(cls, text: str) -> DistinguishedName:
        """Read ``C=CH, O=Example, CN=gw``, or the other way round as RFC 4514 writes it.

        The order is that of RFC 4514 when the text begins with the most specific attribute.
        """
        tidy = re.sub(r"(?<!\\)\s*([,+=])\s*", r"\1", text.strip())
        tidy = _ATTRIBUTE.sub(_in_capitals, tidy)
        try:
            name = x509.Name.from_rfc4514_string(tidy, _MORE_ATTRIBUTES)
        except ValueError:
            raise NameMalformed(
                f"{text!r} is no distinguished name; write one like C=CH, O=Example, CN=gw"
            ) from None
        if not _SPECIFIC.match(tidy):
            name = x509.Name(list(reversed(name.rdns)))  # written in the order of the encoding
        return cls(name.public_bytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DistinguishedName) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __str__(self) -> str:
        return ", ".join("+".join(map(str, rdn)) for rdn in self.parts)

    def is_within(self, base: DistinguishedName) -> bool:
        """Tell whether this name lies in the subtree under `base`."""
        return self.canonical[: len(base.canonical)] == base.canonical

    def values(self, oid: str) -> list[str]:
        """Return the values of all attributes of a kind."""
        return [a.value for rdn in self.parts for a in rdn if a.oid == oid]


def host_name(text: str) -> str:
    """Return a domain name in the form in which it is compared."""
    return text.lower().removesuffix(".")


def mail_name(text: str) -> str:
    """Return a mail address in the form in which it is compared."""
    local, _, host = text.rpartition("@")
    return f"{local.lower()}@{host_name(host)}"


def _in_capitals(match: re.Match[str]) -> str:
    return match[0].upper()


def _read_name(der: bytes) -> tuple[tuple[Attribute, ...], ...]:
    if len(der) > _LARGEST:
        raise NameMalformed(f"a name of {len(der)} octets")
    sequence, rest = _element(der, _SEQUENCE)
    if rest:
        raise NameMalformed("octets after a name")
    rdns = []
    while sequence:
        rdn, sequence = _element(sequence, _SET)
        attributes = []
        while rdn:
            pair, rdn = _element(rdn, _SEQUENCE)
            attributes.append(_attribute(pair))
        if not attributes:
            raise NameMalformed("an empty part of a name")
        rdns.append(tuple(attributes))
    return tuple(rdns)


def _attribute(pair: bytes) -> Attribute:
    oid, rest = _element(pair, _OID)
    tag = rest[0] if rest else 0
    value, rest = _element(rest, tag)
    if rest:
        raise NameMalformed("octets after an attribute")
    encoding = _TEXTS.get(tag)
    if encoding is None:
        return Attribute(_dotted(oid), f"#{tag:02x}{value.hex()}")
    try:
        return Attribute(_dotted(oid), value.decode(encoding))
    except UnicodeDecodeError:
        raise NameMalformed("an attribute that is not in its own alphabet") from None


def _element(octets: bytes, tag: int) -> tuple[bytes, bytes]:
    """Split off the contents of the first element, which must have this tag, and the rest."""
    if len(octets) < 2 or octets[0] != tag:
        raise NameMalformed("an element of another kind than a name has")
    length, start = octets[1], 2
    if length & 0x80:
        size = length & 0x7F
        if size not in (1, 2) or len(octets) < 2 + size:
            raise NameMalformed("a length that no name has")
        start = 2 + size
        length = int.from_bytes(octets[2:start])
        if length < 0x80:
            raise NameMalformed("a length that is not DER")
    if start + length > len(octets):
        raise NameMalformed("an element that ends after its name")
    return octets[start : start + length], octets[start + length :]


def _dotted(octets: bytes) -> str:
    if not octets or octets[-1] & 0x80:
        raise NameMalformed("an object identifier without end")
    numbers, number = [], 0
    for octet in octets:
        number = number << 7 | octet & 0x7F
        if number >> 64:
            raise NameMalformed("an object identifier out of bounds")
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
