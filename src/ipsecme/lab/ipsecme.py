"""Our own daemon as a peer, run as its users run it.

Owns its configuration file, `ipsecme run` and the verbs of the command line; what the daemon
reports is read from its control socket. Each daemon has its own folder; its keys are logged
there, so that captures of the lab can be read.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from ipsecme.api import ControlError, ask
from ipsecme.base import LocalMisuse
from ipsecme.lab.errors import StepFailed
from ipsecme.lab.peer import ChildSaView, Credential, IkeSaView, Site, Tunnel
from ipsecme.lab.wait import patience

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipsecme import control
    from ipsecme.lab.process import Process

__all__ = ["Ipsecme", "render_tunnel"]

_CONNECTION: Final = "tunnel"
_STEP_SECONDS: Final = 30.0

_PROGRAM: Final = (sys.executable, "-m", "ipsecme.cli")


class Ipsecme:
    """An ipsecme daemon at `site` with one tunnel to the site `remote`.

    It proves itself with `credential` or with what it has `also`, as the peer wishes.
    """

    def __init__(
        self,
        site: Site,
        tunnel: Tunnel,
        *,
        remote: Site,
        credential: Credential | None = None,
        also: Credential | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.site = site
        self.folder = site.host.folder / "ipsecme"
        self.control = self.folder / "control.sock"
        self._files = _files(credential, also)
        self._connection = render_tunnel(
            tunnel, local=site, remote=remote, files=self._files, also=settings
        )
        self._process: Process | None = None

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        for texts in self._files.values():
            for name, text in texts.items():
                path = self.folder / name
                path.touch(mode=0o600)
                path.write_text(text)
        configuration = self.folder / "ipsecme.toml"
        configuration.touch(mode=0o600)
        configuration.write_text(
            _render_table(
                "daemon", {"control": str(self.control), "keylog": "keys", "log_level": "debug"}
            )
            + self._connection
        )
        self._process = self.site.host.start(
            "ipsecme",
            [*_PROGRAM, "run", "--config", str(configuration)],
        )
        self._process.wait_ready(self._answers, "it answers at its control socket")

    def stop(self) -> None:
        """Stop the daemon; it deletes its IKE SAs first."""
        if self._process:
            self._process.stop(grace_seconds=20.0)
            self._process = None

    def kill(self) -> None:
        """End the daemon without a word to its peers."""
        if self._process:
            self._process.kill()
            self._process = None

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        if self._process is None:
            raise LocalMisuse("ipsecme does not run")
        return self._process.pid

    def initiate(self) -> None:
        """Bring the connection up."""
        self._command("up")

    def rekey_child(self) -> None:
        """Rekey the Child SA."""
        self._command("rekey")

    def rekey_ike(self) -> None:
        """Rekey the IKE SA."""
        self._command("rekey", "--ike")

    def delete_child(self) -> None:
        """Delete the Child SA."""
        self._command("down", "--child", _CONNECTION)

    def delete_ike(self) -> None:
        """Delete the IKE SA."""
        self._command("down")

    def sas(self) -> list[IkeSaView]:
        """Return what the daemon reports of the connection."""
        (connection,) = self.status().connections
        return [_ike_sa(sa) for sa in connection.ike_sas]

    def status(self) -> control.StatusReply:
        """Return everything that the daemon reports."""
        try:
            return ask(self.control, lambda client: client.status())
        except ControlError as error:
            raise self._failure(f"status of {self.site.host.name}: {error}") from error

    def log_text(self) -> str:
        """Return the log of the daemon."""
        return self._process.log_text() if self._process else ""

    def _command(self, verb: str, *options: str) -> None:
        seconds = patience(_STEP_SECONDS)
        arguments = [verb, _CONNECTION, *options, "--timeout", str(seconds)]
        try:
            self.site.host.run(
                [*_PROGRAM, *arguments, "--control", str(self.control)], seconds=2 * seconds
            )
        except StepFailed as error:
            raise self._failure(str(error)) from error

    def _answers(self) -> bool:
        if not self.control.exists():
            return False
        try:
            ask(self.control, lambda client: client.version())
        except ControlError:
            return False
        return True

    def _failure(self, what: str) -> StepFailed:
        tail = self._process.log_tail() if self._process else ""
        return StepFailed(f"{what}\n{tail}")


_Files = dict[str, dict[str, str]]
"""Names and texts of the files for each setting that names some."""


def _files(credential: Credential | None, also: Credential | None = None) -> _Files:
    if credential is None:
        return {}
    found = {
        "cert": {"cert.pem": "".join(credential.certificates)},
        "key": {"key.pem": credential.key},
        "ca": {"ca.pem": credential.authority},
    }
    if credential.crl is not None:
        found["crl"] = {"ca.crl": credential.crl}
    if also is not None:
        found["cert"]["also-cert.pem"] = "".join(also.certificates)
        found["key"]["also-key.pem"] = also.key
        found["ca"]["also-ca.pem"] = also.authority
    return found


def render_tunnel(
    tunnel: Tunnel,
    *,
    local: Site,
    remote: Site,
    files: _Files | None = None,
    also: Mapping[str, object] | None = None,
) -> str:
    """Return the tunnel as a `[connections.…]` table of the configuration file.

    `also` has settings that only this daemon knows.
    """
    is_tunnel = tunnel.mode == "tunnel"
    settings: dict[str, object] = {
        "local": local.address,
        "remote": remote.reachable_as or "any",
        "local_id": local.identity,
        "remote_id": remote.identity,
        "psk": tunnel.psk,
        "mode": None if is_tunnel else tunnel.mode,
        "local_ts": local.networks if is_tunnel and not local.asks_for else None,
        "remote_ts": remote.networks if is_tunnel and not local.lends else None,
        "request_addresses": local.asks_for or None,
        "pool": local.lends or None,
        "dns": local.name_servers or None,
        "ike_proposals": [tunnel.ike],
        "esp_proposals": [tunnel.esp],
        "ike_rekey": tunnel.ike_rekey_seconds,
        "child_rekey": tunnel.child_rekey_seconds,
    }
    for key, texts in (files or {}).items():
        settings[key] = list(texts)
    return _render_table(f"connections.{_CONNECTION}", {**settings, **(also or {})})


def _render_table(name: str, settings: dict[str, object]) -> str:
    # JSON's text, numbers and lists are TOML's too.
    lines = (f"{key} = {json.dumps(value)}" for key, value in settings.items() if value is not None)
    return "\n".join([f"[{name}]", *lines, "", ""])


def _ike_sa(sa: control.IkeStatus) -> IkeSaView:
    return IkeSaView(
        established=sa.state == "established",
        spi_initiator=int(sa.spi_i, 16),
        spi_responder=int(sa.spi_r, 16),
        children=tuple(map(_child_sa, sa.children)),
    )


def _child_sa(child: control.ChildStatus) -> ChildSaView:
    return ChildSaView(
        installed=child.state == "installed",
        spi_in=int(child.inbound_spi, 16),
        spi_out=int(child.outbound_spi, 16),
        octets_in=child.bytes_in,
        octets_out=child.bytes_out,
        packets_in=child.packets_in,
        packets_out=child.packets_out,
    )
