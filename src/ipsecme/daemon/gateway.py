"""Gateway: engine, data plane, sockets, control and logs of one daemon, in one event loop.

Wiring only: what is made here, in which order it starts, and that everything ends in the reverse
order, whatever happens on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ipsecme.base import LocalMisuse, SystemRefused
from ipsecme.daemon.addresses import AddressWatch, source_towards
from ipsecme.daemon.control import ControlServer
from ipsecme.daemon.driver import Driver
from ipsecme.daemon.history import History
from ipsecme.daemon.keepup import KeepUp
from ipsecme.daemon.keylog import KeyLog
from ipsecme.daemon.log import EventLog, log
from ipsecme.daemon.metrics import MetricsServer
from ipsecme.daemon.nameservers import NameServers, name_server_file
from ipsecme.daemon.operations import Operator
from ipsecme.daemon.sockets import IkeSockets
from ipsecme.daemon.status import StatusView
from ipsecme.ike.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipsecme.daemon.configuration import Configuration
    from ipsecme.dataplane import DataPlane
    from ipsecme.dataplane.user.settings import UserSettings

__all__ = ["Gateway"]

_FAREWELL_SECONDS = 4.0


class Gateway:
    """One daemon. The data plane is started and closed here."""

    def __init__(self, configuration: Configuration, data_plane: DataPlane) -> None:
        self._configuration = configuration
        self._data_plane = data_plane
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.endpoint = Endpoint(configuration.endpoint)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve until `stop` is set, then delete all SAs. `ready` is called when all listens.

        Raises `SystemRefused` when the system does not allow it, from the start or any more.
        """
        async with contextlib.AsyncExitStack() as ending:
            driver, keep_up = await self._start(ending)
            ready()
            stopping = asyncio.create_task(stop.wait())
            ending.callback(stopping.cancel)
            await asyncio.wait((stopping, self._lost), return_when=asyncio.FIRST_COMPLETED)
            keep_up.stop()
            if self._lost.done():
                raise SystemRefused(self._lost.result())
            await _say_goodbye(driver)

    async def _start(self, ending: contextlib.AsyncExitStack) -> tuple[Driver, KeepUp]:
        """Make and start everything; what was started is registered with `ending`."""
        settings, endpoint = self._configuration.daemon, self.endpoint
        key_log = _open_key_log(settings.keylog) if settings.keylog else None
        sockets = IkeSockets(
            settings.user.listen, endpoint.config.ike_port, settings.user.mark, endpoint.counters
        )
        ending.callback(sockets.close)
        driver = Driver(
            endpoint,
            self._data_plane,
            sockets.send,
            on_lost=self._note_loss,
            key_log=key_log,
        )
        keep_up = KeepUp(self._configuration.start, lambda name: _initiate(driver, name))
        history = History(tuple(peer.name for peer in endpoint.config.peers))
        operator = Operator(driver, keep_up)
        view = StatusView(endpoint, history, keep_up, driver.started_at)
        control = ControlServer(self._data_plane, operator, view)
        name_servers = NameServers(name_server_file(settings.control))
        ending.callback(name_servers.close)
        for reader in (EventLog(), history, keep_up, operator, control.publish, name_servers):
            driver.add_reader(reader)
        ending.push_async_callback(self._data_plane.close)
        await self._data_plane.start(driver)
        ending.push_async_callback(driver.stop)
        await control.start(settings.control)
        ending.push_async_callback(control.stop)
        if settings.metrics is not None:
            metrics = MetricsServer(self._data_plane, view)
            ending.push_async_callback(metrics.stop)
            await metrics.start(settings.metrics)
        loop = asyncio.get_running_loop()
        sockets.attach(loop, driver.receive)
        ending.callback(sockets.detach, loop)
        await driver.start()
        watch = _watch_addresses(driver, settings.user)
        watch.start(loop)
        ending.callback(watch.stop, loop)
        keep_up.start()
        return driver, keep_up

    def _note_loss(self, text: str) -> None:
        if not self._lost.done():
            self._lost.set_result(text)


async def _say_goodbye(driver: Driver) -> None:
    if not await driver.shut_down(_FAREWELL_SECONDS):
        log.warning("shutdown_unconfirmed", msg="some peers did not confirm the end of their SAs")


def _watch_addresses(driver: Driver, settings: UserSettings) -> AddressWatch:
    """Have the engine hear of addresses and routes; our own routes into the tunnel do not count."""

    def route(remote: str) -> str | None:
        return source_towards(remote, settings.mark)

    return AddressWatch(settings, lambda addresses: driver.note_addresses(addresses, route))


def _open_key_log(folder: Path) -> KeyLog:
    key_log = KeyLog(folder)
    log.warning(
        "key_log_open",
        msg=f"KEYS ARE WRITTEN TO {folder}: whoever reads them reads all traffic; remove keylog "
        "from [daemon] when the analysis is done",
        folder=str(folder),
    )
    return key_log


def _initiate(driver: Driver, name: str) -> None:
    """Bring a connection up by ourselves; its failures come as events."""
    try:
        driver.operate(lambda now: driver.endpoint.initiate(name, None, now))
    except LocalMisuse as error:
        log.error("connection_not_started", msg=str(error), connection=name)
