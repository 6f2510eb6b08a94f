"""Two queues for one port: the kernel sorts first requests without a cookie from the rest."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

import pytest

from ipsecme.daemon.strangers import divide
from ipsecme.wire.ike import FLAG_INITIATOR, FLAG_RESPONSE
from ipsecme.wire.numbers import ExchangeType, PayloadType

INIT, AUTH = ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH
ADDRESSES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def ike(exchange: ExchangeType, flags: int, first: PayloadType) -> bytes:
    """Return an IKE header."""
    return bytes(16) + bytes((first, 0x20, exchange, flags)) + bytes(8)


STRANGERS = [ike(INIT, FLAG_INITIATOR, PayloadType.SA), ike(INIT, 0, PayloadType.KE)]
REST = [
    ike(INIT, FLAG_INITIATOR, PayloadType.NOTIFY),
    ike(INIT, FLAG_RESPONSE, PayloadType.SA),
    ike(AUTH, FLAG_INITIATOR, PayloadType.SK),
    b"short",
    b"",
]


@pytest.mark.parametrize(("family", "address"), ADDRESSES)
def test_the_kernel_sorts_what_arrives(family: int, address: str) -> None:
    with ExitStack() as ending:
        one, other, sender = (
            ending.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(3)
        )
        one.bind((address, 0))
        assert divide(one, other)
        for sock in (one, other):
            sock.settimeout(5)
        for datagram in (*STRANGERS, *REST):
            sender.sendto(datagram, one.getsockname()[:2])
        assert [other.recv(100) for _ in STRANGERS] == STRANGERS
        assert [one.recv(100) for _ in REST] == REST
        for sock in (one, other):
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(100)


def test_a_second_daemon_notices_that_the_port_is_taken() -> None:
    with ExitStack() as ending:
        one, other, third = (
            ending.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
        )
        one.bind(("127.0.0.1", 0))
        assert divide(one, other)
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is looked at
            third.bind(one.getsockname())
        assert caught.value.errno == errno.EADDRINUSE


def test_where_it_does_not_work_there_is_one_queue() -> None:
    with ExitStack() as ending:
        one, other = (
            ending.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
        )
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))  # it cannot be bound twice
        assert not divide(one, other)
