"""The IKE process: runs a gateway, told by the supervisor over a socketpair when to end.

Runs as ``python -P -m ipsecme.daemon.ike_process --config FILE --channel-fd N --report-fd N``. The
channel leads to the packet process. Over the other descriptor it reports ``READY``, or ``REFUSED``
and why; when that one closes, the supervisor is gone and it ends, too.

Needs CAP_NET_BIND_SERVICE for UDP 500 and CAP_NET_ADMIN for the firewall mark.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import socket
import sys
from pathlib import Path

from ipsecme.base import ConfigError, SystemRefused
from ipsecme.daemon.configuration import Configuration, load
from ipsecme.daemon.gateway import Gateway
from ipsecme.daemon.log import configure, log
from ipsecme.daemon.reports import READY, REFUSED
from ipsecme.dataplane.user.client import UserDataPlane

__all__ = ["main"]


def main(path: Path, channel: socket.socket, report: socket.socket) -> int:
    """Serve until told to end; return the exit status."""
    try:
        configuration = load(path)
        configure(configuration.daemon.log_level, configuration.daemon.log_format)
        for warning in configuration.warnings:
            log.warning("configuration_warning", msg=warning)
        asyncio.run(_serve(configuration, channel, report))
    except (ConfigError, SystemRefused) as error:
        _report(report, REFUSED + str(error).encode())
        return 1
    return 0


async def _serve(
    configuration: Configuration, channel: socket.socket, report: socket.socket
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def on_report_readable() -> None:
        loop.remove_reader(report)  # nothing is ever sent to us, so this is its end
        stop.set()

    loop.add_reader(report, on_report_readable)
    gateway = Gateway(configuration, UserDataPlane(channel))

    def ready() -> None:
        # What lives now lives as long as the daemon; collections need not look at it.
        gc.collect()
        gc.freeze()
        _report(report, READY)

    await gateway.run(stop, ready)


def _report(report: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):
        report.send(message)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ipsecme IKE process")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--report-fd", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(
        main(
            arguments.config,
            socket.socket(fileno=arguments.channel_fd),
            socket.socket(fileno=arguments.report_fd),
        )
    )
