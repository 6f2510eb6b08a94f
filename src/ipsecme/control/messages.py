"""Requests and replies of the control socket, version 1.

All durations and ages are seconds, all sizes octets, SPIs are hexadecimal text without prefix.
Counters of a Child SA count inner packets that passed every check.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "API_VERSION",
    "AdmissionStatus",
    "ChildStatus",
    "ConnectionStatus",
    "DownReply",
    "DownRequest",
    "ErrorBody",
    "ErrorReply",
    "IkeStatus",
    "LastError",
    "RekeyCounts",
    "RekeyReply",
    "RekeyRequest",
    "StatusReply",
    "UpReply",
    "UpRequest",
    "VersionReply",
]

API_VERSION = 1


@dataclass(slots=True, frozen=True)
class VersionReply:
    """Who answers."""

    version: str
    api: int = API_VERSION


@dataclass(slots=True, frozen=True)
class LastError:
    """The last failure of a connection: a stable word, the words for people, what to try."""

    reason: str
    detail: str
    hint: str
    seconds_ago: float


@dataclass(slots=True, frozen=True)
class RekeyCounts:
    """How often SAs were replaced since the daemon started."""

    ike: int = 0
    child: int = 0


@dataclass(slots=True, frozen=True)
class ChildStatus:
    """A Child SA."""

    name: str
    state: str
    inbound_spi: str
    outbound_spi: str
    suite: str
    mode: str
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    encapsulated: bool
    age: float
    rekey_in: float
    expires_in: float
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0
    last_packet_in: float | None = None
    drops: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class IkeStatus:
    """An IKE SA; `established` is how long ago the peer was authenticated.

    Internal addresses that the peer has from us are `leased`; those that it gave to us are
    `assigned`, and `dns`, `networks` and `peer_version` are what it told us with them.
    """

    state: str
    spi_i: str
    spi_r: str
    initiator: bool
    local: str
    remote: str
    local_id: str
    remote_id: str
    nat: str
    suite: str
    established: float | None
    rekey_in: float | None
    expires_in: float | None
    last_message_in: float | None
    children: tuple[ChildStatus, ...] = ()
    leased: tuple[str, ...] = ()
    assigned: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    peer_version: str = ""


@dataclass(slots=True, frozen=True)
class ConnectionStatus:
    """A configured connection: ``down``, ``connecting``, ``up`` or ``closing``.

    `last_packet_in` is the age of the last sign of life, ESP or IKE, None when there was none.
    `wanted` tells that the daemon keeps it up by itself.
    """

    name: str
    state: str
    wanted: bool = False
    last_packet_in: float | None = None
    rekeys: RekeyCounts = field(default_factory=RekeyCounts)
    last_error: LastError | None = None
    ike_sas: tuple[IkeStatus, ...] = ()


@dataclass(slots=True, frozen=True)
class AdmissionStatus:
    """How full the place is, beside its limits; `half_open_most` is the highest so far."""

    half_open: int
    half_open_most: int
    half_open_limit: int
    cookie_threshold: int
    ike_sas: int
    ike_sa_limit: int


@dataclass(slots=True, frozen=True)
class StatusReply:
    """The daemon, its connections, and its counters by name (datagrams, drops by reason)."""

    version: str
    pid: int
    uptime: float
    admission: AdmissionStatus
    connections: tuple[ConnectionStatus, ...]
    ike_counters: dict[str, int] = field(default_factory=dict)
    packet_counters: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class UpRequest:
    """Bring a connection up, or one of its Child SAs; wait at most `timeout` for the outcome."""

    child: str | None = None
    timeout: float = 30.0


@dataclass(slots=True, frozen=True)
class UpReply:
    """What came of it: ``up``, ``failed`` (with reason, detail, hint) or ``pending``."""

    result: str
    reason: str = ""
    detail: str = ""
    hint: str = ""
    connection: ConnectionStatus | None = None


@dataclass(slots=True, frozen=True)
class DownRequest:
    """Delete a connection's SAs, or those of one Child SA; wait at most `timeout`."""

    child: str | None = None
    timeout: float = 10.0


@dataclass(slots=True, frozen=True)
class DownReply:
    """How many SAs were asked to go, and whether they are gone."""

    closing: int
    done: bool


@dataclass(slots=True, frozen=True)
class RekeyRequest:
    """Rekey the Child SAs, one of them, or with `ike` the IKE SA; wait at most `timeout`."""

    child: str | None = None
    ike: bool = False
    timeout: float = 10.0


@dataclass(slots=True, frozen=True)
class RekeyReply:
    """How many SAs were asked to be replaced, and whether they all were in time."""

    started: int
    done: bool


@dataclass(slots=True, frozen=True)
class ErrorBody:
    """Why a request failed: a stable code, a sentence, and what to do about it."""

    code: str
    message: str
    hint: str = ""


@dataclass(slots=True, frozen=True)
class ErrorReply:
    """The body of every answer whose HTTP status is not 200."""

    error: ErrorBody
