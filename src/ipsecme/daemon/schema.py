"""The shape of the configuration file: its tables, their keys, and what each value may be.

Owns names, types, defaults and the checks that look at one value or one table. Reading the file,
resolving names and making `EndpointConfig` belongs to `configuration`; the words of complaints that
span the file belong to `complaints`.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from ipsecme.base import ConfigError
from ipsecme.daemon.addressing import DYNAMIC, families_differ, selectors_of, wrong_addresses
from ipsecme.ike.config import Identity
from ipsecme.policy.address_pool import AddressRange
from ipsecme.policy.keywords import parse_proposal
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.numbers import ProtocolId

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ChildTable", "ConnectionTable", "DaemonTable", "File", "RetransmissionTable"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_FAMILIES_DIFFER = "local_ts and remote_ts share no address family; use IPv4 or IPv6 in both"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Make a validator of a parser that raises `ConfigError`; the text itself is kept."""

    def check(text: str) -> str:
        try:
            parse(text)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return text

    return AfterValidator(check)


def _seconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('write a number of seconds or a text such as "90s", "15m" or "4h"')  # noqa: TRY004 - pydantic collects ValueError
    if not isinstance(value, str):
        return float(value)
    match = _DURATION.fullmatch(value.strip().lower())
    if match is None:
        raise ValueError(f'{value!r} is no duration; write "90s", "15m", "4h", "1d" or seconds')
    return float(match[1]) * _UNITS[match[2]]


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} cannot be a name; use up to 63 letters, digits, '-', '_' and '.', "
            "and begin with a letter or digit"
        )
    return text


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _listening(text: str) -> str:
    address, _, port = text.rpartition(":")
    wrong = f'{text!r} is not an address and a port; write "127.0.0.1:9469"'
    try:
        ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(wrong) from None
    if not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ValueError(wrong)
    return text


def _path(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value or "\0" in value:
        raise ValueError(f"{value!r} is not a file name")
    return Path(value)


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


Name = Annotated[str, AfterValidator(_name)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=366 * 86400)]
Selector = Annotated[str, _checked(lambda text: text == DYNAMIC or parse_selector(text))]
PoolRange = Annotated[str, _checked(AddressRange.parse)]
Address = Annotated[str, AfterValidator(_ip_address)]
IdentityText = Annotated[str, _checked(Identity.parse)]
IkeProposal = Annotated[str, _checked(lambda text: parse_proposal(text, ProtocolId.IKE))]
EspProposal = Annotated[str, _checked(lambda text: parse_proposal(text, ProtocolId.ESP))]
FilePath = Annotated[Path, BeforeValidator(_path)]
FilePaths = Annotated[list[FilePath], BeforeValidator(_several), Field(min_length=1, max_length=16)]
Urls = Annotated[list[str], BeforeValidator(_several), Field(min_length=1, max_length=16)]
Port = Annotated[int, Field(ge=1, le=65535)]
Window = Annotated[int, Field(ge=32, le=65536)]
Selectors = Annotated[list[Selector], Field(min_length=1, max_length=64)]
ModeText = Literal["tunnel", "transport", "prefer-transport"]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class ChildTable(_Table):
    """``[connections.NAME.children.CHILD]``: one Child SA. What is absent the connection says."""

    local_ts: Selectors
    remote_ts: Selectors
    esp_proposals: Annotated[list[EspProposal], Field(min_length=1)] | None = None
    child_rekey: Seconds | None = None
    replay_window: Window | None = None
    single_pair: bool | None = None
    mode: ModeText | None = None

    @model_validator(mode="after")
    def _one_family_at_least(self) -> ChildTable:
        if families_differ(self.local_ts, self.remote_ts):
            raise ValueError(_FAMILIES_DIFFER)
        return self


class RetransmissionTable(_Table):
    """``[connections.NAME.retransmission]``: when unanswered requests are sent again."""

    first_wait: Seconds = 0.5
    factor: Annotated[float, Field(ge=1, le=10, strict=False)] = 1.8
    longest_wait: Seconds = 30.0
    tries: Annotated[int, Field(ge=1, le=50)] = 10


class ConnectionTable(_Table):
    """``[connections.NAME]``: a peer, how both ends prove themselves, and the Child SAs."""

    remote: str = "any"
    remote_port: Port = 500
    local: str | None = None
    local_id: IdentityText | None = None
    remote_id: IdentityText | None = None
    psk: SecretStr | None = None
    psk_file: FilePath | None = None
    psk_env: str | None = None
    cert: FilePaths | None = None
    key: FilePaths | None = None
    password_file: FilePath | None = None
    ca: Annotated[list[FilePath], Field(min_length=1, max_length=64)] | None = None
    cert_url: Urls | None = None
    cert_bundle_url: Urls | None = None
    cert_fetch: Literal["off", "public", "any"] | None = None
    remote_cert: FilePath | None = None
    remote_key: FilePath | None = None
    local_auth: Literal["null"] | None = None
    remote_auth: Literal["null"] | None = None
    revocation: Literal["off", "soft", "strict"] | None = None
    crl: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None
    crl_fetch: Literal["off", "public", "any"] | None = None
    ocsp: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None
    ocsp_fetch: Literal["off", "public", "any"] | None = None
    ocsp_responder: FilePaths | None = None
    ocsp_max_age: Seconds | None = None
    ocsp_own: Annotated[list[str], Field(min_length=1, max_length=16)] | None = None
    local_ts: Selectors | None = None
    remote_ts: Selectors | None = None
    mode: ModeText = "tunnel"
    start: Literal["none", "start"] = "none"
    ike_proposals: Annotated[list[IkeProposal], Field(min_length=1)] | None = None
    esp_proposals: Annotated[list[EspProposal], Field(min_length=1)] | None = None
    encapsulation: Literal["auto", "always"] = "auto"
    liveness: Seconds = 30.0
    ike_rekey: Seconds = 14400.0
    child_rekey: Seconds = 3600.0
    reauthenticate: Seconds | None = None
    break_before_make: bool = False
    mobike: bool = True
    return_routability: bool = True
    max_children: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_ike_sas: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    childless: Literal["never", "allow", "prefer"] = "allow"
    single_pair: bool = False
    replicated: bool = False
    replay_window: Window = 1024
    request_addresses: (
        Annotated[list[Literal["ipv4", "ipv6"]], Field(min_length=1, max_length=2)] | None
    ) = None
    pool: Annotated[list[PoolRange], Field(min_length=1, max_length=64)] | None = None
    dns: Annotated[list[Address], Field(min_length=1, max_length=8)] | None = None
    addresses_per_peer: Annotated[int, Field(ge=1, le=16)] = 1
    retransmission: RetransmissionTable = RetransmissionTable()
    children: dict[Name, ChildTable] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> ConnectionTable:
        if (reason := self._wrong_proofs()) is not None:
            raise ValueError(reason)
        local, remote = selectors_of(self)
        if (local is None) != (remote is None):
            missing = "local_ts" if local is None else "remote_ts"
            raise ValueError(f"{missing} is missing; local_ts and remote_ts come together")
        if local is None and not self.children:
            raise ValueError("nothing to protect; add local_ts and remote_ts")
        if (reason := wrong_addresses(self)) is not None:
            raise ValueError(reason)
        for ours, theirs in [(local, remote), *self.children_selectors]:
            if ours is not None and theirs is not None and families_differ(ours, theirs, self):
                raise ValueError(_FAMILIES_DIFFER)
        if self.start == "start" and self.is_remote_any:
            raise ValueError('start = "start" needs the address of the peer in remote')
        return self

    def _given(self, *keys: str) -> list[str]:
        return [key for key in keys if getattr(self, key) is not None]

    def _wrong_proofs(self) -> str | None:
        """Say what is wrong with the settings by which both ends prove themselves."""
        secrets = self._given("psk", "psk_file", "psk_env")
        ours = self._given("cert", "key")
        theirs = self._given("ca", "remote_cert", "remote_key")
        if len(secrets) > 1:
            return f"{' and '.join(secrets)} are given; keep one"
        if self.local_auth and ours:
            return f'local_auth = "null" does without {" and ".join(ours)}; remove one or the other'
        if self.remote_auth and theirs:
            return f'remote_auth = "null" does without {theirs[0]}; remove one or the other'
        if (reason := self._wrong_revocation()) is not None:
            return reason
        we, they = bool(ours or self.local_auth), bool(theirs or self.remote_auth)
        if secrets and we and they:
            return f"{secrets[0]} serves no end, as both prove themselves otherwise; remove it"
        if secrets or (we and they):
            return None
        if we:
            return "nothing says how the peer proves itself; add ca, remote_cert, remote_key or psk"
        if they:
            return "nothing proves this end; add cert and key, or psk"
        return "no secret is given; add psk, psk_file or psk_env, or cert, key and ca"

    def _wrong_revocation(self) -> str | None:
        news = ("crl", "ocsp", "ocsp_responder", "ocsp_max_age")
        if (found := self._given(*news)) and not (self.ca or self.remote_cert):
            return f"{found[0]} is about certificates of the peer; add ca, too"
        for key in ("revocation", "crl_fetch", "ocsp_fetch", "cert_fetch"):
            if getattr(self, key) not in (None, "off") and not self.ca:
                return f"{key} is about certificates under an authority; add ca, too"
        for key in self._given("ocsp_own", "cert_url", "cert_bundle_url"):
            if not self.cert:
                return f"{key} is about our own certificate; add cert, too"
        if self.cert_url and self.cert_bundle_url:
            return "cert_url and cert_bundle_url are given; keep one"
        return None

    @property
    def children_selectors(self) -> list[tuple[list[str], list[str]]]:
        """What the children protect."""
        return [(child.local_ts, child.remote_ts) for child in self.children.values()]

    @property
    def is_remote_any(self) -> bool:
        """True when the peer may come from anywhere and is never called."""
        return self.remote.strip().lower() in ("any", "%any")


class DaemonTable(_Table):
    """``[daemon]``: how the daemon itself runs."""

    control: FilePath | None = None
    listen: Annotated[list[str], Field(min_length=1)] | None = None
    ike_port: Port = 500
    nat_port: Port = 4500
    tun: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,15}$")] = "ipsec0"
    mtu: Annotated[int, Field(ge=1280, le=65000)] = 1400
    mark: Annotated[int, Field(ge=1, le=0xFFFFFFFF)] = 4500
    table: Annotated[int, Field(ge=256, le=0x7FFFFFFF)] = 4500
    rule_priority: Annotated[int, Field(ge=1, le=32000)] = 4500
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    keylog: FilePath | None = None
    keepalive: Seconds = 20.0
    fragment_octets: Annotated[int, Field(ge=256, le=65_000)] = 1228
    window: Annotated[int, Field(ge=1, le=64)] = 1
    cookie_threshold: Annotated[int, Field(ge=0)] = 100
    cookie_threshold_per_prefix: Annotated[int, Field(ge=0)] = 20
    half_open_limit: Annotated[int, Field(ge=1)] = 5000
    half_open_per_prefix: Annotated[int, Field(ge=1)] = 200
    half_open_timeout: Seconds = 30.0
    tell_version: bool = False
    ike_sa_limit: Annotated[int, Field(ge=1)] = 50_000
    metrics: Annotated[str, AfterValidator(_listening)] | None = None

    @model_validator(mode="after")
    def _ports_differ(self) -> DaemonTable:
        if self.ike_port == self.nat_port:
            raise ValueError("ike_port and nat_port are the same; IKE and NAT traversal need two")
        return self


class File(_Table):
    """The whole file."""

    daemon: DaemonTable = DaemonTable()
    connections: dict[Name, ConnectionTable] = Field(default_factory=dict)
