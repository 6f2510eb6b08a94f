"""The packet process: makes device, sockets and routes, moves packets, and takes all away again.

Runs as ``python -m ipsecme.dataplane.user.process --channel-fd N --settings JSON`` with the channel
inherited. It lives as long as the other end of the channel is open, and leaves signals to the
supervisor.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
import socket
import sys

from ipsecme.base import IpsecmeError, SystemRng
from ipsecme.dataplane.user import channel as ch
from ipsecme.dataplane.user.control import Control
from ipsecme.dataplane.user.loop import PacketLoop
from ipsecme.dataplane.user.netlink import ADDRESS_GROUPS, Netlink
from ipsecme.dataplane.user.routes import Routes
from ipsecme.dataplane.user.settings import UserSettings
from ipsecme.dataplane.user.sockets import OuterSockets
from ipsecme.dataplane.user.tun import Tun
from ipsecme.esp import Processor

__all__ = ["main"]

_HEADROOM = 64  # the kernel never hands over more than the MTU; a changed MTU is no reason to fail


def main(channel_fd: int, settings: UserSettings) -> int:
    """Serve the channel until its other end closes; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=channel_fd) as channel, contextlib.ExitStack() as ending:
        channel.setblocking(False)
        try:
            loop = _prepare(channel, settings, ending)
        except (IpsecmeError, OSError) as error:
            # OSError: nobody expects it here, but whoever waits for news must hear it.
            with contextlib.suppress(OSError):
                channel.send(ch.encode(ch.Refused(str(error))))
            return 1
        with contextlib.suppress(OSError):  # the other end may be gone already: the loop sees it
            channel.send(ch.encode(ch.Ready()))
        gc.collect()
        gc.freeze()
        loop.run()
    return 0


def _prepare(
    channel: socket.socket, settings: UserSettings, ending: contextlib.ExitStack
) -> PacketLoop:
    """Make everything and register its end, last made first ended."""
    netlink = Netlink()
    ending.callback(netlink.close)
    news = Netlink(ADDRESS_GROUPS)
    ending.callback(news.close)
    sockets = OuterSockets(settings)
    ending.callback(sockets.close)
    tun = Tun(settings, netlink)
    ending.callback(tun.close)
    routes = Routes(netlink, tun.index, settings)
    ending.callback(routes.close)
    routes.start()

    processor = Processor(SystemRng())
    loop = PacketLoop(processor, tun.descriptor, settings.mtu + _HEADROOM, sockets)
    ending.callback(loop.close)
    loop.serve(Control(channel, processor, routes, sockets, loop), channel.fileno())

    def on_news() -> None:
        news.drain()
        routes.forget_addresses()

    loop.watch(news.socket.fileno(), on_news)
    return loop


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ipsecme packet process")
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--settings", required=True, help="as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(main(arguments.channel_fd, UserSettings.from_json(arguments.settings)))
