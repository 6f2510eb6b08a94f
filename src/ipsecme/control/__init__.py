"""The control socket's language: what may be asked of a daemon, and what it answers."""

from __future__ import annotations

from ipsecme.control.codec import SchemaError, from_json, to_json
from ipsecme.control.messages import (
    API_VERSION,
    AdmissionStatus,
    ChildStatus,
    ConnectionStatus,
    DownReply,
    DownRequest,
    ErrorBody,
    ErrorReply,
    IkeStatus,
    LastError,
    RekeyCounts,
    RekeyReply,
    RekeyRequest,
    StatusReply,
    UpReply,
    UpRequest,
    VersionReply,
)
from ipsecme.control.paths import default_control_path
from ipsecme.control.routes import (
    DOWN,
    EVENTS,
    REKEY,
    STATUS,
    UP,
    VERSION,
    connection_path,
)

__all__ = [
    "API_VERSION",
    "DOWN",
    "EVENTS",
    "REKEY",
    "STATUS",
    "UP",
    "VERSION",
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
    "SchemaError",
    "StatusReply",
    "UpReply",
    "UpRequest",
    "VersionReply",
    "connection_path",
    "default_control_path",
    "from_json",
    "to_json",
]
