"""strongSwan as a peer, with ESP in userspace for tunnels, so that these need no kernel ESP.

Owns its configuration files and the verbs, given through `swanctl`. Several run at once: each has
its own folder, control socket and private /run. Its plugin kernel-libipsec always encapsulates
ESP in UDP, has no Extended Sequence Numbers and no transport mode; for that ESP is left to the
kernel, which has to have it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from ipsecme.base import LocalMisuse
from ipsecme.lab.errors import LabUnavailable
from ipsecme.lab.peer import ChildSaView, Credential, IkeSaView, Site, Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ipsecme.lab.process import Process

__all__ = ["SEARCH_PATH", "StrongSwan", "program", "render_tunnel"]

_CONNECTION: Final = "tunnel"
_OWN: Final = "0.pem"
SEARCH_PATH: Final = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/usr/local/bin:/bin"

# kernel-libipsec stands before kernel-netlink, or ESP would be left to the kernel.
_PLUGINS: Final = (
    "random nonce openssl pem x509 pubkey revocation constraints pkcs1 pkcs8 curve25519 hmac kdf "
    "drbg sha1 sha2 aes gcm ccm ctr chapoly cmac xcbc {esp} kernel-netlink "
    "socket-default vici updown"
)


# A tunnel that covers the peer's own address must leave the datagrams to it alone.
_PASSAGE: Final = """\
    kernel-libipsec {
      allow_peer_ts = yes
    }
    socket-default {
      fwmark = 0x42
    }
    kernel-netlink {
      fwmark = !0x42
    }"""


class StrongSwan:
    """A charon daemon at `site` with one tunnel to the site `remote`.

    With `certificates_at`, an URL that ends with a slash, it names its certificate by SHA-1 and URL
    and follows such names.
    """

    def __init__(
        self,
        site: Site,
        tunnel: Tunnel,
        *,
        remote: Site,
        credential: Credential | None = None,
        certificates_at: str | None = None,
    ) -> None:
        self.site = site
        self.folder = site.host.folder / "strongswan"
        self._credential = credential
        self._configuration = render_tunnel(tunnel, local=site, remote=remote)
        self._covers_peer = remote.address in remote.inner
        self._esp = "kernel-libipsec" if tunnel.mode == "tunnel" else ""
        self._follows_urls = certificates_at is not None
        if certificates_at is not None:
            self._configuration += _authority_at(certificates_at)
        self._control = self.folder / "vici.sock"
        self._settings = self.folder / "strongswan.conf"
        self._process: Process | None = None

    def start(self) -> None:
        """Start charon, wait until it answers, and load the tunnel."""
        self.folder.mkdir()
        log = self.folder / "charon.log"
        self._settings.write_text(
            _render_settings(
                self._control,
                log,
                esp=self._esp,
                follows_urls=self._follows_urls,
                covers_peer=self._covers_peer,
            )
        )
        (self.folder / "swanctl.conf").write_text(self._configuration)
        if self._credential is not None:
            _write_credential(self.folder, self._credential)
        self._process = self.site.host.start(
            "charon",
            [program("charon-systemd")],
            environment={"STRONGSWAN_CONF": str(self._settings)},
            private_run=True,
        )
        self._process.wait_ready(self._control.exists, "it listens for commands")
        self._swanctl("--load-all", "--file", str(self.folder / "swanctl.conf"))

    def stop(self) -> None:
        """Stop charon; it deletes its IKE SAs first."""
        if self._process:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """End charon without a word to its peers."""
        if self._process:
            self._process.kill()
            self._process = None

    @property
    def pid(self) -> int:
        """Process id of charon."""
        if self._process is None:
            raise LocalMisuse("charon does not run")
        return self._process.pid

    def initiate(self) -> None:
        """Initiate the Child SA, and the IKE SA if there is none."""
        self._swanctl("--initiate", "--child", _CONNECTION, "--timeout", "30")

    def rekey_child(self) -> None:
        """Have the Child SA rekeyed; returns before it is done."""
        self._swanctl("--rekey", "--child", _CONNECTION)

    def rekey_ike(self) -> None:
        """Have the IKE SA rekeyed; returns before it is done."""
        self._swanctl("--rekey", "--ike", _CONNECTION)

    def delete_child(self) -> None:
        """Delete the Child SA."""
        self._swanctl("--terminate", "--child", _CONNECTION, "--timeout", "20")

    def delete_ike(self) -> None:
        """Delete the IKE SA."""
        self._swanctl("--terminate", "--ike", _CONNECTION, "--timeout", "20")

    def sas(self) -> list[IkeSaView]:
        """Return what `swanctl --list-sas` reports."""
        return [_ike_sa(section) for section in _sections(self._swanctl("--list-sas", "--pretty"))]

    def log_text(self) -> str:
        """Return the log of the daemon."""
        return (self.folder / "charon.log").read_text(errors="replace")

    def _swanctl(self, *arguments: str) -> str:
        return self.site.host.run(
            [program("swanctl"), *arguments, "--uri", f"unix://{self._control}"],
            seconds=40.0,
            environment={
                "STRONGSWAN_CONF": str(self._settings),
                "SWANCTL_DIR": str(self.folder),
            },
        )


def program(name: str) -> str:
    """Return the path of a program of strongSwan; raises `LabUnavailable` when it is missing."""
    found = shutil.which(name, path=SEARCH_PATH)
    if not found:
        raise LabUnavailable(f"{name} is not installed: run tools/install_peers as root")
    return found


def render_tunnel(tunnel: Tunnel, *, local: Site, remote: Site) -> str:
    """Return the tunnel as the text of a swanctl.conf."""
    rekey_ike = _setting("rekey_time", tunnel.ike_rekey_seconds)
    rekey_child = _setting("rekey_time", tunnel.child_rekey_seconds)
    is_tunnel = tunnel.mode == "tunnel"
    auth = "psk" if tunnel.psk else f"pubkey\n      certs = {_OWN}"
    return f"""\
connections {{
  {_CONNECTION} {{
    version = 2
    local_addrs = {local.address}
    remote_addrs = {remote.reachable_as or "%any"}
    proposals = {tunnel.ike}
    {rekey_ike}
    {_addresses(local)}
    local {{
      auth = {auth}
      id = {local.identity}
    }}
    remote {{
      auth = {"psk" if tunnel.psk else "pubkey"}
      id = {remote.identity}
    }}
    children {{
      {_CONNECTION} {{
        mode = {"tunnel" if is_tunnel else "transport"}
        local_ts = {",".join(local.networks) if is_tunnel and not local.asks_for else "dynamic"}
        remote_ts = {",".join(remote.networks) if is_tunnel and not local.lends else "dynamic"}
        esp_proposals = {tunnel.esp}
        {rekey_child}
      }}
    }}
  }}
}}
{_pools(local)}
{_secrets(tunnel, local, remote)}
"""


def _addresses(local: Site) -> str:
    any_of = {"ipv4": "0.0.0.0", "ipv6": "::"}  # noqa: S104 - it asks for any
    if local.asks_for:
        return f"vips = {','.join(any_of[family] for family in local.asks_for)}"
    if local.lends:
        return f"pools = {','.join(f'pool{number}' for number in range(len(local.lends)))}"
    return ""


def _pools(local: Site) -> str:
    """Return a pool for each range, with the name servers of its family."""
    pools = []
    for number, addresses in enumerate(local.lends):
        servers = [one for one in local.name_servers if (":" in one) == (":" in addresses)]
        dns = f"dns = {','.join(servers)}" if servers else ""
        pools.append(f"  pool{number} {{\n    addrs = {addresses}\n    {dns}\n  }}")
    return "\n".join(["pools {", *pools, "}"]) if pools else ""


def _secrets(tunnel: Tunnel, local: Site, remote: Site) -> str:
    if tunnel.psk is None:
        return ""
    return f"""\
secrets {{
  ike-{_CONNECTION} {{
    id-1 = {local.identity}
    id-2 = {remote.identity}
    secret = "{tunnel.psk}"
  }}
}}"""


def _write_credential(folder: Path, credential: Credential) -> None:
    """Put PEM files where swanctl looks for them. It sends along what is an authority to it."""
    own, *between = credential.certificates
    authorities = [credential.authority, *between]
    files = {"x509": [own], "x509ca": authorities, "private": [credential.key]}
    if credential.crl is not None:
        files["x509crl"] = [credential.crl]
    for name, texts in files.items():
        (folder / name).mkdir()
        for number, text in enumerate(texts):
            (folder / name / f"{number}.pem").write_text(text)


def _setting(name: str, seconds: int | None) -> str:
    return "" if seconds is None else f"{name} = {seconds}s"


def _authority_at(url: str) -> str:
    """Say under which URL certificates of the authority lie, each named by its SHA-1."""
    return f"""
authorities {{
  ca {{
    cacert = 0.pem
    cert_uri_base = {url}
  }}
}}
"""


def _render_settings(
    control: Path, log: Path, *, esp: str, follows_urls: bool, covers_peer: bool
) -> str:
    return f"""\
charon-systemd {{
  load = {_PLUGINS.format(esp=esp)}{" curl" if follows_urls else ""}
  hash_and_url = {"yes" if follows_urls else "no"}
  plugins {{
    vici {{
      socket = unix://{control}
    }}
    {_PASSAGE if covers_peer else ""}
  }}
  filelog {{
    file {{
      path = {log}
      time_format = %T
      flush_line = yes
      default = 1
      ike = 2
      enc = 1
      knl = 2
      esp = 1
    }}
  }}
}}
swanctl {{
  load = random openssl pem pkcs1 pkcs8 x509 pubkey
}}
"""


_Section = dict[str, "str | _Section"]


def _sections(pretty: str) -> Iterator[_Section]:
    """Yield the IKE SAs in what `swanctl --list-sas --pretty` prints.

    It prints `key = value`, `key {` ... `}` for sections and `key = [` ... `]` for lists, one a
    line.
    """
    stack: list[_Section] = [{}]
    for line in map(str.strip, pretty.splitlines()):
        key, equals, value = line.partition(" = ")
        if line.endswith("{"):
            inner: _Section = {}
            stack[-1][line.removesuffix("{").strip()] = inner
            stack.append(inner)
        elif line == "}":
            stack.pop()
            if len(stack) == 1:  # the end of one list-sa event
                yield from _inner(stack[0].popitem()[1])
        elif equals and value != "[":
            stack[-1][key] = value


def _inner(section: str | _Section) -> Iterator[_Section]:
    if isinstance(section, dict):
        yield from (value for value in section.values() if isinstance(value, dict))


def _ike_sa(section: _Section) -> IkeSaView:
    return IkeSaView(
        established=section.get("state") == "ESTABLISHED",
        spi_initiator=_number(section, "initiator-spi", 16),
        spi_responder=_number(section, "responder-spi", 16),
        children=tuple(map(_child_sa, _inner(section.get("child-sas", {})))),
    )


def _child_sa(section: _Section) -> ChildSaView:
    return ChildSaView(
        installed=section.get("state") == "INSTALLED",
        spi_in=_number(section, "spi-in", 16),
        spi_out=_number(section, "spi-out", 16),
        octets_in=_number(section, "bytes-in"),
        octets_out=_number(section, "bytes-out"),
        packets_in=_number(section, "packets-in"),
        packets_out=_number(section, "packets-out"),
    )


def _number(section: _Section, key: str, base: int = 10) -> int:
    value = section.get(key, "0")
    return int(value, base) if isinstance(value, str) and value else 0
