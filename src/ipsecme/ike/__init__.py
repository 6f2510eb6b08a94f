"""The IKEv2 engine (RFC 7296): no sockets, no clock, no randomness of its own.

`Endpoint` is all that a driver needs; the configuration says who the peers are, commands are what
the engine wants done, events what has happened.
"""

from __future__ import annotations

from ipsecme.ike.commands import Command, InstallSa, RemoveSa, RetireSa, UpdatePath
from ipsecme.ike.config import (
    AdmissionConfig,
    ChildConfig,
    EndpointConfig,
    Identity,
    Lifetimes,
    PeerConfig,
    Retransmission,
)
from ipsecme.ike.endpoint import Endpoint
from ipsecme.ike.events import Event
from ipsecme.ike.services import Datagram
from ipsecme.ike.status import ConnectionStatus

__all__ = [
    "AdmissionConfig",
    "ChildConfig",
    "Command",
    "ConnectionStatus",
    "Datagram",
    "Endpoint",
    "EndpointConfig",
    "Event",
    "Identity",
    "InstallSa",
    "Lifetimes",
    "PeerConfig",
    "RemoveSa",
    "RetireSa",
    "Retransmission",
    "UpdatePath",
]
