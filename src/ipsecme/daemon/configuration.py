"""From the configuration file to what the engine and the daemon are told.

Owns reading one TOML file and everything that follows from all of it: addresses, identities,
secrets, Child SAs. All that is wrong is reported at once. The shape of the file is in `schema`,
the words of complaints in `complaints`. Loading needs no privileges beyond reading the files.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

import ipsecme
from ipsecme.base import ConfigError
from ipsecme.control import default_control_path
from ipsecme.daemon import peers
from ipsecme.daemon.complaints import Complaint, ConfigurationRejected, complaints_of
from ipsecme.daemon.lines import LineFinder
from ipsecme.daemon.resolve import Resolver, SystemResolver
from ipsecme.daemon.schema import DaemonTable, File
from ipsecme.dataplane.user.settings import UserSettings
from ipsecme.ike.config import AdmissionConfig, EndpointConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipsecme.ike.config import PeerConfig

__all__ = ["DEFAULT_PATH", "Configuration", "DaemonSettings", "load"]

DEFAULT_PATH = Path("/etc/ipsecme/ipsecme.toml")
_LARGEST_FILE = 4 << 20


@dataclass(slots=True, frozen=True)
class DaemonSettings:
    """How the daemon runs: where its control socket is, its log, and its packet process."""

    control: Path
    user: UserSettings
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["auto", "text", "json"]
    keylog: Path | None
    metrics: str | None = None


@dataclass(slots=True, frozen=True)
class Configuration:
    """A file that can be used. `start` are the connections to bring up and keep up."""

    path: Path
    endpoint: EndpointConfig
    daemon: DaemonSettings
    start: tuple[str, ...]
    warnings: tuple[str, ...]


def load(
    path: Path = DEFAULT_PATH,
    *,
    resolver: Resolver | None = None,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """Read a file; raises `ConfigurationRejected` with everything that is wrong with it."""
    environment = os.environ if environment is None else environment
    text, is_open = _read(path)
    lines = LineFinder(text)
    file = _parse(text, path, lines)
    complaints: list[Complaint] = []
    warnings: list[str] = []
    made: list[PeerConfig] = []
    if is_open and any(table.psk for table in file.connections.values()):
        warnings.append(f"{path} holds a secret and everybody may read it; chmod 600 {path}")
    maker = peers.PeerMaker(path.parent, resolver or SystemResolver(), environment, warnings)
    for name, table in file.connections.items():
        try:
            made.append(maker.peer(name, table))
        except peers.KeyRejected as error:
            key = ("connections", name, error.key)
            complaints.append(Complaint(str(path), lines.line(key), ".".join(key), str(error)))
    settings = _settings(file.daemon, path, lines, complaints, environment)
    if complaints:
        raise ConfigurationRejected(sorted(complaints, key=lambda found: found.line or 0))
    if not made:
        warnings.append(f"{path} has no connections; add [connections.NAME]")
    return Configuration(
        path,
        _endpoint(file.daemon, tuple(made)),
        settings,
        tuple(name for name, table in file.connections.items() if table.start == "start"),
        tuple(warnings),
    )


def _read(path: Path) -> tuple[str, bool]:
    """Return the text of the file, and whether everybody may read it."""
    try:
        with path.open("rb") as file:
            is_open = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise ConfigError(f"{path} is larger than {_LARGEST_FILE >> 20} MiB")
        return content.decode(), is_open
    except OSError as error:
        hint = "; write one or name another with --config" if not path.exists() else ""
        complaint = Complaint(str(path), None, "", f"{error.strerror}{hint}")
    except UnicodeDecodeError as error:
        complaint = Complaint(str(path), None, "", f"octet {error.start} is not UTF-8")
    raise ConfigurationRejected([complaint])


def _parse(text: str, path: Path, lines: LineFinder) -> File:
    try:
        return File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationRejected([_syntax(error, path)]) from None
    except ValidationError as error:
        raise ConfigurationRejected(complaints_of(error, str(path), lines)) from None


def _syntax(error: tomllib.TOMLDecodeError, path: Path) -> Complaint:
    """Split tomllib's text, such as ``Expected '=' (at line 3, column 5)``."""
    message, _, place = str(error).rpartition(" (at line ")
    number = place.partition(",")[0]
    if message and number.isdecimal():
        column = place.partition("column ")[2].rstrip(")")
        return Complaint(str(path), int(number), "", f"{message} in column {column}")
    return Complaint(str(path), None, "", str(error))


def _settings(
    table: DaemonTable,
    path: Path,
    lines: LineFinder,
    complaints: list[Complaint],
    environment: Mapping[str, str],
) -> DaemonSettings:
    listen = []
    for text in table.listen or ("0.0.0.0", "::"):  # noqa: S104 - a gateway answers on all
        try:
            listen.append(str(ipaddress.ip_address(text)))
        except ValueError:
            line = lines.line(("daemon", "listen"))
            message = f"{text!r} is not an IP address"
            complaints.append(Complaint(str(path), line, "daemon.listen", message))
    return DaemonSettings(
        control=table.control or Path(default_control_path(environment, os.geteuid())),
        user=UserSettings(
            tun_name=table.tun,
            mtu=table.mtu,
            listen=tuple(listen),
            nat_port=table.nat_port,
            mark=table.mark,
            table=table.table,
            rule_priority=table.rule_priority,
        ),
        log_level=table.log_level,
        log_format=_log_format(table, environment),
        keylog=path.parent / table.keylog if table.keylog else None,
        metrics=table.metrics,
    )


def _log_format(
    table: DaemonTable, environment: Mapping[str, str]
) -> Literal["auto", "text", "json"]:
    """Return the format of the log; the variable IPSECME_LOG_FORMAT overrules the file."""
    match environment.get("IPSECME_LOG_FORMAT"):
        case "json":
            return "json"
        case "text":
            return "text"
    return table.log_format


def _endpoint(table: DaemonTable, made: tuple[PeerConfig, ...]) -> EndpointConfig:
    admission = dataclasses.replace(
        AdmissionConfig(),
        cookie_threshold=table.cookie_threshold,
        cookie_threshold_per_prefix=table.cookie_threshold_per_prefix,
        half_open_limit=table.half_open_limit,
        half_open_per_prefix=table.half_open_per_prefix,
        half_open_seconds=table.half_open_timeout,
        ike_sa_limit=table.ike_sa_limit,
    )
    return EndpointConfig(
        peers=made,
        admission=admission,
        ike_port=table.ike_port,
        nat_port=table.nat_port,
        keepalive=table.keepalive,
        fragment_octets=table.fragment_octets,
        window=table.window,
        export_keys=table.keylog is not None,
        version=f"ipsecme {ipsecme.__version__}" if table.tell_version else "",
    )
