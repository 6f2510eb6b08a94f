"""Keys and AUTH against a reference that is written out here (RFC 7296, sections 2.13 to 2.18)."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ipsecme.base import Secret
from ipsecme.ike.events import IkeKeysDerived
from ipsecme.wire.ike import (
    AuthPayload,
    Header,
    IdentityPayload,
    KePayload,
    NoncePayload,
    SaPayload,
)
from ipsecme.wire.numbers import ExchangeType, KeId, PayloadType
from support.pair import Node, Pair, Sent, peer

if TYPE_CHECKING:
    from ipsecme.policy.parameters import SaPair

PSK = b"a secret of twenty octets"
PFS = "aes256gcm16-x25519"


class OpenExchange:
    """A key exchange without a secret: both ends, and this file, know what it agrees on."""

    method = KeId.CURVE25519

    def __init__(self, public: bytes) -> None:
        self.public = public

    def agree(self, peer_public: bytes) -> Secret:
        return Secret(shared_secret(self.public, peer_public))


def shared_secret(one: bytes, other: bytes) -> bytes:
    """Return 32 octets that start with zeros, which must not be dropped."""
    return bytes(4) + hashlib.sha256(b"".join(sorted((one, other)))).digest()[4:]


class OpenProvider:
    """Makes numbered public values."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._count = 0

    def generate(self, method: KeId) -> OpenExchange:
        assert method == KeId.CURVE25519
        self._count += 1
        return OpenExchange((self._name + b"%d" % self._count).ljust(32, b"."))


def open_pair(ike: str, esp: str = "aes256gcm16") -> Pair:
    """Return a pair whose key exchanges can be recomputed."""
    pair = Pair(
        a=peer("a", ike=(ike,), esp=(esp,), psk=PSK),
        b=peer("b", ike=(ike,), esp=(esp,), psk=PSK),
        export_keys=True,
    )
    for node in (pair.a, pair.b):
        node.endpoint._services.key_exchange = OpenProvider(node.name.encode())
    return pair


def prf(digest: str, key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, digest).digest()


def prf_plus(digest: str, key: bytes, seed: bytes, octets: int) -> bytes:
    """T1 = prf(K, S | 1), T2 = prf(K, T1 | S | 2), ..."""
    stream = block = b""
    for number in range(1, 256):
        block = prf(digest, key, block + seed + bytes([number]))
        stream += block
        if len(stream) >= octets:
            return stream[:octets]
    raise AssertionError("more than 255 blocks")


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    parts = []
    for size in sizes:
        parts.append(stream[:size])
        stream = stream[size:]
    assert not stream
    return parts


def of(pair: Pair, exchange: ExchangeType) -> tuple[Sent, Sent]:
    """Return the last request and response of an exchange."""
    found = [m for m in pair.messages if m.header.exchange == exchange]
    return found[-2], found[-1]


def exchanged(request: Sent, response: Sent) -> tuple[bytes, bytes]:
    """Return Ni | Nr and g^ir of an exchange."""
    nonces = request.only(NoncePayload).data + response.only(NoncePayload).data
    return nonces, shared_secret(request.only(KePayload).data, response.only(KePayload).data)


def ike_keys(digest: str, seed: bytes, nonces: bytes, spis: bytes, sizes: list[int]) -> list[bytes]:
    return cut(prf_plus(digest, seed, nonces + spis, sum(sizes)), sizes)


SUITES = {  # suite: PRF, sizes of SK_d, SK_ai, SK_ar, SK_ei, SK_er, SK_pi, SK_pr
    "aes256gcm16-prfsha256-x25519": ("sha256", [32, 0, 0, 36, 36, 32, 32]),
    "aes128gcm16-prfsha512-x25519": ("sha512", [64, 0, 0, 20, 20, 64, 64]),
    "aes192-sha384-x25519": ("sha384", [48, 48, 48, 24, 24, 48, 48]),
}


def newest(node: Node) -> IkeKeysDerived:
    return node.of(IkeKeysDerived)[-1]


@pytest.mark.requirement("R7296-104", "R7296-106", "R7296-107", "R7296-108")
@pytest.mark.parametrize("ike", SUITES)
def test_the_keys_of_an_ike_sa(ike: str) -> None:
    digest, sizes = SUITES[ike]
    pair = open_pair(ike)
    pair.establish()
    request, response = of(pair, ExchangeType.IKE_SA_INIT)
    nonces, shared = exchanged(request, response)
    spis = response.header.spi_i + response.header.spi_r
    seed = prf(digest, nonces, shared)
    _, ai, ar, ei, er, _, _ = ike_keys(digest, seed, nonces, spis, sizes)
    for node in (pair.a, pair.b):
        keys = newest(node)
        assert keys.sk_ai.reveal() == ai
        assert keys.sk_ar.reveal() == ar
        assert keys.sk_ei.reveal() == ei
        assert keys.sk_er.reveal() == er


def opened_with(key: bytes, datagram: bytes) -> bytes | None:
    """Open an SK payload with AES-GCM as RFC 5282 says, without the code that is tested."""
    front, iv, sealed = datagram[:32], datagram[32:40], datagram[40:]
    try:
        return AESGCM(key[:-4]).decrypt(key[-4:] + iv, sealed, front)
    except InvalidTag:
        return None


@pytest.mark.requirement("R7296-108")
def test_keys_belong_to_the_original_initiator_whoever_asks() -> None:
    pair = open_pair("aes256gcm16-prfsha256-x25519")
    pair.establish()
    pair.rekey(pair.b, "net")
    pair.drive(10)
    pair.rekey(pair.a, "net")
    pair.drive(10)
    keys = newest(pair.a)
    of_key = {"a": keys.sk_ei.reveal(), "b": keys.sk_er.reveal()}
    askers = set()
    for sender, datagram in pair.sent[2:]:
        header = Header.decode(datagram.data)
        askers.add(sender if not header.is_response else "")
        other = "b" if sender == "a" else "a"
        assert opened_with(of_key[sender], datagram.data) is not None
        assert opened_with(of_key[other], datagram.data) is None
    assert askers == {"a", "b", ""}


@pytest.mark.requirement("R7296-109", "R7296-111")
@pytest.mark.parametrize("ike", SUITES)
def test_both_proofs_of_a_shared_secret(ike: str) -> None:
    digest, sizes = SUITES[ike]
    pair = open_pair(ike)
    pair.establish()
    init_i, init_r = of(pair, ExchangeType.IKE_SA_INIT)
    auth_i, auth_r = of(pair, ExchangeType.IKE_AUTH)
    nonces, shared = exchanged(init_i, init_r)
    spis = init_r.header.spi_i + init_r.header.spi_r
    seed = prf(digest, nonces, shared)
    *_, pi, pr = ike_keys(digest, seed, nonces, spis, sizes)
    ni, nr = init_i.only(NoncePayload).data, init_r.only(NoncePayload).data
    padded = prf(digest, PSK, b"Key Pad for IKEv2")
    messages = [d.data for _, d in pair.sent[:2]]
    for message, nonce, key, auth, role in (
        (messages[0], nr, pi, auth_i, PayloadType.IDi),
        (messages[1], ni, pr, auth_r, PayloadType.IDr),
    ):
        identity = next(
            p for p in auth.payloads if isinstance(p, IdentityPayload) and p.payload_type == role
        )
        body = bytes([identity.id_type, 0, 0, 0]) + identity.data
        octets = message + nonce + prf(digest, key, body)
        assert auth.only(AuthPayload).data == prf(digest, padded, octets)


def child_halves(node: Node) -> tuple[SaPair, bytes, bytes, bytes, bytes]:
    """Return the newest pair with its outbound and inbound keys."""
    pair = list(node.sad.values())[-1]
    halves = (pair.outbound, pair.inbound)
    keys = [k.reveal() for h in halves for k in (h.encryption_key, h.integrity_key)]
    return pair, keys[0], keys[1], keys[2], keys[3]


@pytest.mark.requirement("R7296-122", "R7296-123")
@pytest.mark.parametrize(
    ("esp", "sizes"),
    [("aes256gcm16", [36, 0, 36, 0]), ("aes128-sha512", [16, 64, 16, 64]), (PFS, [36, 0, 36, 0])],
)
@pytest.mark.parametrize("who", ["handshake", "a", "b"])
def test_the_keys_of_a_child_sa(esp: str, sizes: list[int], who: str) -> None:
    ike = "aes256gcm16-prfsha256-x25519"
    digest, ike_sizes = SUITES[ike]
    pair = open_pair(ike, esp)
    pair.establish()
    request, response = of(pair, ExchangeType.IKE_SA_INIT)
    nonces, shared = exchanged(request, response)
    spis = response.header.spi_i + response.header.spi_r
    sk_d = ike_keys(digest, prf(digest, nonces, shared), nonces, spis, ike_sizes)[0]
    seed, initiator = nonces, pair.a
    if who != "handshake":
        initiator = getattr(pair, who)
        pair.rekey(initiator, "net")
        pair.drive(1)
        request, response = of(pair, ExchangeType.CREATE_CHILD_SA)
        nonces = request.only(NoncePayload).data + response.only(NoncePayload).data
        # With a key exchange of its own: g^ir (new) | Ni | Nr.
        seed = exchanged(request, response)[1] + nonces if esp == PFS else nonces
    ei, ai, er, ar = cut(prf_plus(digest, sk_d, seed, sum(sizes)), sizes)
    _, *found = child_halves(initiator)
    assert found == [ei, ai, er, ar]
    other = pair.b if initiator is pair.a else pair.a
    _, *found = child_halves(other)
    assert found == [er, ar, ei, ai]


@pytest.mark.requirement("R7296-124", "R7296-126")
@pytest.mark.parametrize("who", ["a", "b"])
def test_the_keys_of_a_rekeyed_ike_sa(who: str) -> None:
    ike = "aes256gcm16-prfsha256-x25519"
    digest, sizes = SUITES[ike]
    pair = open_pair(ike)
    pair.establish()
    request, response = of(pair, ExchangeType.IKE_SA_INIT)
    nonces, shared = exchanged(request, response)
    spis = response.header.spi_i + response.header.spi_r
    sk_d = ike_keys(digest, prf(digest, nonces, shared), nonces, spis, sizes)[0]
    pair.rekey(getattr(pair, who))
    pair.drive(1)
    request, response = of(pair, ExchangeType.CREATE_CHILD_SA)
    nonces, shared = exchanged(request, response)
    spis = b"".join(m.only(SaPayload).proposals[0].spi for m in (request, response))
    seed = prf(digest, sk_d, shared + nonces)
    _, _, _, ei, er, _, _ = ike_keys(digest, seed, nonces, spis, sizes)
    for node in (pair.a, pair.b):
        keys = newest(node)
        assert (keys.sk_ei.reveal(), keys.sk_er.reveal()) == (ei, er)
        assert keys.spi_i + keys.spi_r == spis
    # The sender of the request is the new original initiator: SK_e"i" is its own.
    pair.drive(40)
    last = [m for m in pair.messages if m.sender == who][-1]
    assert last.header.from_original_initiator
