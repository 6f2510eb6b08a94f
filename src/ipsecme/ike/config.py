"""What an endpoint is told to do: who its peers are and what they may (RFC 4301, section 4.4.3).

A `PeerConfig` is a PAD entry with the policy that goes with it: how both ends prove themselves,
which algorithms serve, and the Child SAs that may exist. All times are seconds.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ipsecme.base import ConfigError, LocalMisuse
from ipsecme.crypto.certificate_names import DistinguishedName, NameMalformed
from ipsecme.crypto.keymat import SharedKey
from ipsecme.policy.keywords import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    parse_proposals,
)
from ipsecme.policy.parameters import Mode
from ipsecme.wire.numbers import IdType, ProtocolId

if TYPE_CHECKING:
    from ipsecme.base import Secret
    from ipsecme.ike.auth.trust import Credential, Trust
    from ipsecme.policy.address_pool import AddressRange
    from ipsecme.policy.proposal import Proposal
    from ipsecme.wire.ike import IdentityPayload, TrafficSelector

__all__ = [
    "AddressConfig",
    "AdmissionConfig",
    "ChildConfig",
    "EndpointConfig",
    "Identity",
    "Lifetimes",
    "PeerConfig",
    "Retransmission",
]


@dataclass(slots=True, frozen=True)
class Identity:
    """An identity as RFC 7296 section 3.5 carries it; names compare without regard to case."""

    type: IdType
    data: bytes

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Read an IP address, ``user@host``, a domain name, or what says by its form what it is.

        ``@#hex`` is a KEY_ID; ``C=CH, O=Example, CN=gw`` is a distinguished name, in this order or
        in that of RFC 4514.
        """
        if text.startswith("@#"):
            try:
                return cls(IdType.ID_KEY_ID, bytes.fromhex(text[2:]))
            except ValueError:
                raise ConfigError(f"identity {text!r}: after @# come hexadecimal digits") from None
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            pass
        else:
            kind = IdType.ID_IPV4_ADDR if address.version == 4 else IdType.ID_IPV6_ADDR
            return cls(kind, address.packed)
        if "=" in text:
            try:
                return cls(IdType.ID_DER_ASN1_DN, DistinguishedName.parse(text).der)
            except NameMalformed as error:
                raise ConfigError(str(error)) from None
        name = text.removeprefix("@")
        if not name or not name.isascii() or not name.isprintable() or " " in name:
            raise ConfigError(f"identity {text!r} is no address, domain name or mail address")
        kind = IdType.ID_RFC822_ADDR if "@" in name else IdType.ID_FQDN
        return cls(kind, name.encode())

    @classmethod
    def of(cls, payload: IdentityPayload) -> Identity:
        """Return the identity that a payload carries."""
        return cls(payload.id_type, payload.data)

    @property
    def key(self) -> tuple[int, bytes]:
        """Equal for identities that match; domain names have no case (section 3.5, RFC 4343)."""
        if self.type in (IdType.ID_FQDN, IdType.ID_RFC822_ADDR):
            return self.type, self.data.lower()
        if self.type == IdType.ID_DER_ASN1_DN and (name := _name(self.data)) is not None:
            parts = [sorted(rdn) for rdn in name.canonical]
            return self.type, repr(parts).encode()
        return self.type, self.data

    def matches(self, other: Identity) -> bool:
        """Tell whether both name the same peer."""
        return self.key == other.key

    def __str__(self) -> str:
        if self.type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
            return str(ipaddress.ip_address(self.data))
        if self.type in (IdType.ID_FQDN, IdType.ID_RFC822_ADDR):
            text = self.data.decode("ascii", "backslashreplace")
            return text if text.isprintable() else repr(text)
        if self.type == IdType.ID_KEY_ID:
            return f"@#{self.data.hex()}"
        if self.type == IdType.ID_DER_ASN1_DN and (name := _name(self.data)) is not None:
            return str(name)
        return f"{self.type.name}:{self.data.hex()}"


def _name(der: bytes) -> DistinguishedName | None:
    try:
        return DistinguishedName(der)
    except NameMalformed:
        return None


@dataclass(slots=True, frozen=True)
class Retransmission:
    """When an unanswered request is sent again (RFC 7296, section 2.4).

    The waits grow from `first_wait` by `factor` up to `longest_wait`; after `tries` sendings in all
    and a last wait the peer counts as gone. The defaults give up after about two minutes and a
    half.
    """

    first_wait: float = 0.5
    factor: float = 1.8
    longest_wait: float = 30.0
    tries: int = 10

    def wait(self, sendings: int) -> float:
        """Return the seconds to wait after that many sendings."""
        return min(self.first_wait * self.factor ** (sendings - 1), self.longest_wait)


@dataclass(slots=True, frozen=True)
class Lifetimes:
    """Rekeying starts at `rekey`, less up to `jitter` as a fraction of it; `hard` ends the SA."""

    rekey: float
    hard: float
    jitter: float = 0.1


@dataclass(slots=True, frozen=True)
class AddressConfig:
    """Internal addresses that peers may have from us, and the name servers that go with them.

    An IKE SA gets `most` addresses of a family, if it asks for so many. Name servers are addresses
    of 4 or 16 octets.
    """

    ranges: tuple[AddressRange, ...]
    dns: tuple[bytes, ...] = ()
    most: int = 1


@dataclass(slots=True, frozen=True)
class ChildConfig:
    """A Child SA that may exist: what it protects and with what.

    With `local_assigned` the internal addresses that the peer assigns to us are among `local_ts`,
    with `remote_leased` those that it has from us among `remote_ts`. With `single_pair` a peer that
    asks gets it for one pair of addresses only, and as often as it asks for another (section 2.9).
    In transport mode the selectors say which hosts, protocols and ports may take part; the Child SA
    is always between the two ends of the IKE SA. With `tunnel_fallback` a tunnel between them will
    do when one end does not take transport mode (RFC 7296, section 1.3.1).
    """

    name: str
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]
    proposals: tuple[Proposal, ...] = field(
        default_factory=lambda: parse_proposals(DEFAULT_ESP_PROPOSALS, ProtocolId.ESP)
    )
    mode: Mode = Mode.TUNNEL
    tunnel_fallback: bool = False
    lifetimes: Lifetimes = Lifetimes(rekey=3600, hard=3960)
    replay_window: int = 1024
    local_assigned: bool = False
    remote_leased: bool = False
    single_pair: bool = False


@dataclass(slots=True, frozen=True)
class PeerConfig:
    """A connection: the peer, how each end proves itself, and the Child SAs.

    We call from `local_address`; `listen_address`, when given, is the only one of ours that the
    peer may call. `remote_address` is None when the peer may come from anywhere and is never
    called. `remote_id` is None when any identity will do that the secret proves. `encapsulate`
    makes both ends use UDP for ESP even where no NAT is found. A peer may have `max_children`
    Child SAs at once on one IKE SA, and an identity `max_ike_sas` IKE SAs. After `reauthenticate`
    seconds both ends prove themselves anew by a new IKE SA, and the old one goes when that is up,
    or first with `break_before_make`; peers that called us are told to see to it (RFC 4478). With
    `mobike` the end that called may change its address (RFC 4555); `return_routability` has a peer
    that called us answer at its new one before packets go there. `listen_address` keeps us on it.
    Which of the `credentials` is used depends on what the peer asks for. We ask for an internal
    address of each of the `request_families` (4 or 16 octets), and give out those of `lends`.
    The identity of the end that calls may be `replicated`, in use by several hosts at once: then no
    IKE SA ends for the sake of a newer one (section 2.4).
    A connection with transport mode does without `mobike`, as RFC 4555 moves tunnels only.
    `childless` says whether a peer may authenticate without a Child SA, and whether we do, where it
    takes that (RFC 6023): then every Child SA has a key exchange of its own.
    """

    name: str
    local_id: Identity
    remote_id: Identity | None
    psk: Secret | None
    children: tuple[ChildConfig, ...]
    local_address: str | None = None
    remote_address: str | None = None
    remote_port: int = 500
    proposals: tuple[Proposal, ...] = field(
        default_factory=lambda: parse_proposals(DEFAULT_IKE_PROPOSALS, ProtocolId.IKE)
    )
    lifetimes: Lifetimes = Lifetimes(rekey=14400, hard=15840)
    retransmission: Retransmission = Retransmission()
    liveness: float = 30.0
    encapsulate: bool = False
    max_children: int = 64
    max_ike_sas: int = 16
    childless: Literal["never", "allow", "prefer"] = "allow"
    replicated: bool = False
    reauthenticate: float | None = None
    break_before_make: bool = False
    listen_address: str | None = None
    mobike: bool = True
    return_routability: bool = True
    credentials: tuple[Credential, ...] = ()
    trust: Trust | None = None
    local_null: bool = False
    remote_null: bool = False
    request_families: tuple[int, ...] = ()
    lends: AddressConfig | None = None
    shared_key: SharedKey | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shared = SharedKey(self.psk) if self.psk is not None else None
        object.__setattr__(self, "shared_key", shared)
        if any(child.mode is Mode.TRANSPORT for child in self.children):
            object.__setattr__(self, "mobike", False)
        signs = bool(self.credentials) or self.local_null
        judges = self.trust is not None or self.remote_null
        if shared is None and not (signs and judges):
            raise LocalMisuse(f"connection {self.name} needs a secret for what is not signed")

    def identity_with(self, credential: Credential | None) -> Identity:
        """Return what we call ourselves when we prove it with this credential."""
        given = credential.identity if credential is not None else None
        return given or self.local_id

    def is_called(self, identity: Identity) -> bool:
        """Tell whether we go by this identity in the connection."""
        own = (self.local_id, *(c.identity for c in self.credentials if c.identity is not None))
        return any(name.matches(identity) for name in own)

    @property
    def secret(self) -> SharedKey:
        """The pre-shared key, where there is one."""
        if self.shared_key is None:
            raise LocalMisuse(f"connection {self.name} has no pre-shared key")
        return self.shared_key


@dataclass(slots=True, frozen=True)
class AdmissionConfig:
    """How strangers are kept from using up the responder (RFC 7296, sections 2.6 and 5).

    From `cookie_threshold` half-open IKE SAs on a COOKIE is asked for, from
    `cookie_threshold_per_prefix` on of those of one network (IPv4 /24, IPv6 /56). From
    `half_open_limit`, and `half_open_per_prefix`, on nobody new is let in. A half-open IKE SA lives
    `half_open_seconds` at most. `ike_sa_limit` counts all IKE SAs, those in use and those that
    linger to answer repetitions, and bounds what peers can make us keep.
    """

    cookie_threshold: int = 100
    cookie_threshold_per_prefix: int = 20
    half_open_limit: int = 5000
    half_open_per_prefix: int = 200
    half_open_seconds: float = 30.0
    cookie_seconds: float = 60.0
    ike_sa_limit: int = 50_000


@dataclass(slots=True, frozen=True)
class EndpointConfig:
    """Everything an `Endpoint` needs to know.

    `worker` is the last octet of every SPI that this endpoint makes, so that several can share one
    address. Messages above `fragment_octets` are sent in fragments where the peer can reassemble
    them (RFC 7383); the default fits an IPv6 path of 1280 octets. `window` is how many requests a
    peer may have under way at once. `export_keys` makes IKE keys
    appear as events, for decoding captures; never on by default. Authenticated peers that ask for
    our `version` are told this text (RFC 7296, section 2.20).
    """

    peers: tuple[PeerConfig, ...] = ()
    admission: AdmissionConfig = AdmissionConfig()
    ike_port: int = 500
    nat_port: int = 4500
    keepalive: float = 20.0
    worker: int = 0
    fragment_octets: int = 1228
    window: int = 1
    export_keys: bool = False
    version: str = ""
