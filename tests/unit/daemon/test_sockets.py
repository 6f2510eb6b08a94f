"""The UDP sockets: batches, both families, answers from the address that was asked."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ipsecme.base import Path, SystemRefused, Transport
from ipsecme.daemon.sockets import IkeSockets

if TYPE_CHECKING:
    from collections.abc import Iterator


def free_port() -> int:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """`IkeSockets` on all addresses that answers every batch with the same octets."""

    def __init__(self, addresses: tuple[str, ...] = ("0.0.0.0", "::")) -> None:
        self.counters: Counter[str] = Counter()
        self.port = free_port()
        self.sockets = IkeSockets(addresses, self.port, 0, self.counters)
        self.batches: list[list[tuple[bytes, Path]]] = []
        self.arrived = asyncio.Event()

    def receive(self, batch: list[tuple[bytes, Path]]) -> None:
        self.batches.append(batch)
        for data, path in batch:
            assert self.sockets.send(data, path) is None
        self.arrived.set()

    def paths(self) -> list[Path]:
        return [path for batch in self.batches for _, path in batch]


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(10)
        yield made


@pytest.mark.requirement("R7296-150")
def test_answers_leave_from_the_address_that_was_asked(client: socket.socket) -> None:
    async def scenario() -> None:
        server = Server()
        loop = asyncio.get_running_loop()
        server.sockets.attach(loop, server.receive)
        client.sendto(b"question", ("127.0.0.77", server.port))
        await asyncio.wait_for(server.arrived.wait(), 10)
        data, sender = client.recvfrom(100)
        # Octet for octet: no marker on this port.
        assert (data, sender) == (b"question", ("127.0.0.77", server.port))
        (path,) = server.paths()
        assert path.local == Transport("127.0.0.77", server.port)
        assert path.remote == Transport(*client.getsockname())
        assert path.encapsulated is False
        server.sockets.detach(loop)
        server.sockets.close()

    asyncio.run(scenario())


def test_ipv6_paths_have_canonical_addresses() -> None:
    async def scenario() -> None:
        server = Server()
        loop = asyncio.get_running_loop()
        server.sockets.attach(loop, server.receive)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"question", ("::1", server.port))
            await asyncio.wait_for(server.arrived.wait(), 10)
            data, sender = client.recvfrom(100)
        assert (data, sender[:2]) == (b"question", ("::1", server.port))
        assert server.paths()[0].local == Transport("::1", server.port)
        server.sockets.detach(loop)
        server.sockets.close()

    asyncio.run(scenario())


def test_waiting_datagrams_arrive_in_bounded_batches(client: socket.socket) -> None:
    async def scenario() -> None:
        server = Server(("127.0.0.1",))
        for number in range(100):
            client.sendto(bytes((number,)), ("127.0.0.1", server.port))
        loop = asyncio.get_running_loop()
        server.sockets.attach(loop, server.receive)
        async with asyncio.timeout(10):
            while sum(map(len, server.batches)) < 100:
                server.arrived.clear()
                await server.arrived.wait()
        assert [len(batch) for batch in server.batches] == [64, 36]
        received = [data for batch in server.batches for data, _ in batch]
        assert received == [bytes((number,)) for number in range(100)]
        server.sockets.detach(loop)
        server.sockets.close()

    asyncio.run(scenario())


def test_what_the_network_refuses_is_counted_and_not_raised() -> None:
    counters: Counter[str] = Counter()
    sockets = IkeSockets(("127.0.0.1",), free_port(), 0, counters)
    # A loopback source cannot reach a documentation address.
    error = sockets.send(b"x", Path(Transport("127.0.0.1", 1), Transport("192.0.2.77", 500)))
    elsewhere = sockets.send(b"x", Path(Transport("192.0.2.1", 1), Transport("192.0.2.77", 500)))
    sockets.close()
    assert error is not None
    assert elsewhere is not None
    assert "does not listen on 192.0.2.1" in str(elsewhere)
    assert counters["udp_send_no_socket"] == 1
    assert sum(counters.values()) == 2


def test_a_taken_port_is_explained() -> None:
    counters: Counter[str] = Counter()
    port = free_port()
    first = IkeSockets(("127.0.0.1",), port, 0, counters)
    with pytest.raises(SystemRefused, match=rf"UDP 127\.0\.0\.1:{port} is taken.*set ike_port"):
        IkeSockets(("127.0.0.1",), port, 0, counters)
    first.close()


def test_a_foreign_address_is_explained() -> None:
    with pytest.raises(SystemRefused, match=r"does not have the address 192\.0\.2\.99; correct"):
        IkeSockets(("192.0.2.99",), free_port(), 0, Counter())
