"""``ipsecme run``: the daemon, from its configuration file to its end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ipsecme.base import IpsecmeError
from ipsecme.daemon.configuration import DEFAULT_PATH, load
from ipsecme.daemon.log import configure, log
from ipsecme.daemon.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "run"]


def run(path: Path = DEFAULT_PATH) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT.

    Raises `ConfigurationRejected` for a file that cannot be used and `SystemRefused` when the
    system does not allow what is needed, or when one of the processes ends by itself.
    """
    configuration = load(path)
    settings = configuration.daemon
    configure(settings.log_level, settings.log_format)

    def ready() -> None:
        log.info(
            "daemon_ready",
            msg=f"{len(configuration.endpoint.peers)} connections from {path}",
            control=str(settings.control),
        )

    Supervisor(path, settings.user, ready).run()
    log.info("daemon_stopped", msg="all SAs are deleted, device and routes are gone")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run with an optional path of the configuration; say in one line each what is wrong."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        run(Path(given[0]) if given else DEFAULT_PATH)
    except IpsecmeError as error:
        sys.stderr.write("".join(f"ipsecme: {line}\n" for line in str(error).splitlines()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
