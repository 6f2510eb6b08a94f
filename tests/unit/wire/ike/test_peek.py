"""Looking into a first request without reading all of it."""

from __future__ import annotations

from hypothesis import given, strategies as st

from ipsecme.base import MalformedMessage
from ipsecme.wire.ike import (
    FLAG_INITIATOR,
    HEADER_OCTETS,
    NO_SPI,
    Message,
    NoncePayload,
    NotifyPayload,
    VendorIdPayload,
    decode_chain,
    peek_first_request,
)
from ipsecme.wire.numbers import ExchangeType, NotifyType, PayloadType

NONCE = NoncePayload(bytes(range(32)))
COOKIE = NotifyPayload(NotifyType.COOKIE, b"biscuit")
OTHER = NotifyPayload(NotifyType.REDIRECT_SUPPORTED)
VENDOR = VendorIdPayload(b"somebody")


def octets(*payloads: NoncePayload | NotifyPayload | VendorIdPayload) -> bytes:
    """Return a first request with these payloads."""
    message = Message(
        b"12345678", NO_SPI, ExchangeType.IKE_SA_INIT, FLAG_INITIATOR, 0, list(payloads)
    )
    return message.encode()


def peek(datagram: bytes) -> tuple[bytes, bytes]:
    """Return cookie and nonce."""
    return peek_first_request(datagram, datagram[16])


def test_the_cookie_counts_in_front_only_and_the_nonce_anywhere() -> None:
    assert peek(octets(NONCE)) == (b"", NONCE.data)
    assert peek(octets(COOKIE, VENDOR, NONCE)) == (b"biscuit", NONCE.data)
    assert peek(octets(VENDOR, COOKIE, NONCE)) == (b"", NONCE.data)
    assert peek(octets(OTHER, NONCE)) == (b"", NONCE.data)
    assert peek(octets(COOKIE, VENDOR)) == (b"biscuit", b"")
    assert peek(octets()) == (b"", b"")


def test_every_prefix_is_looked_into_in_peace() -> None:
    whole = octets(COOKIE, VENDOR, NONCE)
    for size in range(len(whole)):
        assert len(peek_first_request(whole[:size], PayloadType.NOTIFY)) == 2


@given(st.binary(max_size=300), st.integers(0, 255))
def test_whatever_the_whole_reading_finds_is_found(chain: bytes, first: int) -> None:
    datagram = bytes(HEADER_OCTETS) + chain
    found = peek_first_request(datagram, first)
    try:
        payloads = decode_chain(PayloadType.of(first), datagram, HEADER_OCTETS)
    except MalformedMessage:
        return
    nonce = next((p.data for p in payloads if isinstance(p, NoncePayload)), b"")
    is_cookie = payloads and isinstance(payloads[0], NotifyPayload) and not payloads[0].spi
    if is_cookie and payloads[0] == NotifyPayload(NotifyType.COOKIE, found.cookie):
        assert found.nonce == nonce
    else:
        assert (found.cookie, found.nonce) == (b"", nonce)
