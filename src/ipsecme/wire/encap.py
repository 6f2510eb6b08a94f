"""What shares UDP port 4500 (RFC 3948, section 2): IKE behind a marker, ESP, and keepalives."""

from __future__ import annotations

__all__ = ["NAT_KEEPALIVE", "NON_ESP_MARKER", "is_ike", "is_keepalive"]

NON_ESP_MARKER = bytes(4)
"""Four zero octets stand where ESP would have its SPI, and an IKE message follows."""

NAT_KEEPALIVE = b"\xff"
"""A datagram of this one octet keeps a NAT mapping alive and is ignored by who receives it."""


def is_ike(payload: bytes) -> bool:
    """Tell whether a datagram of port 4500 carries an IKE message behind the marker."""
    return payload[:4] == NON_ESP_MARKER


def is_keepalive(payload: bytes) -> bool:
    """Tell whether a datagram is a NAT-keepalive."""
    return payload[:1] == NAT_KEEPALIVE and len(payload) == 1
