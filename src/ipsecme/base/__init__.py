"""What everything stands on: cursors, open enumerations, errors, secrets, addresses, timers."""

from __future__ import annotations

from ipsecme.base.address import Path, Transport, packed_address
from ipsecme.base.enums import OpenIntEnum
from ipsecme.base.errors import (
    ConfigError,
    Incompatible,
    IpsecmeError,
    LocalMisuse,
    MalformedMessage,
    PeerError,
    PeerReported,
    ProtocolViolation,
    Scope,
    SystemRefused,
    Truncated,
)
from ipsecme.base.reader import Reader
from ipsecme.base.rng import Rng, SystemRng
from ipsecme.base.secret import Secret
from ipsecme.base.timers import TimerTable
from ipsecme.base.writer import Writer

__all__ = [
    "ConfigError",
    "Incompatible",
    "IpsecmeError",
    "LocalMisuse",
    "MalformedMessage",
    "OpenIntEnum",
    "Path",
    "PeerError",
    "PeerReported",
    "ProtocolViolation",
    "Reader",
    "Rng",
    "Scope",
    "Secret",
    "SystemRefused",
    "SystemRng",
    "TimerTable",
    "Transport",
    "Truncated",
    "Writer",
    "packed_address",
]
