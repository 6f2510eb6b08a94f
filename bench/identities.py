"""Who takes part in a benchmark: a gateway and as many clients as it takes, by PSK or ECDSA.

Every client has an identity of its own, and with certificates a key and a certificate of its own
too, under one authority.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ipsecme.base import Secret
from ipsecme.crypto.certificate import Certificate
from ipsecme.crypto.certificate_issue import (
    Authority,
    alternative_name,
    common_name,
    issue,
    make_authority,
    make_key,
)
from ipsecme.crypto.signature_keys import SigningKey
from ipsecme.ike.auth.trust import Credential, Trust
from ipsecme.ike.config import ChildConfig, EndpointConfig, Identity, PeerConfig
from ipsecme.lab.peer import Credential as LabCredential
from ipsecme.policy.keywords import parse_proposals
from ipsecme.policy.selector import parse_selector
from ipsecme.wire.numbers import ProtocolId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
    )

__all__ = ["ESP", "GATEWAY", "IKE", "PSK", "Method", "Parties"]

IKE, ESP = "aes256gcm16-prfsha256-x25519", "aes256gcm16"
PSK = "a secret for a benchmark"
GATEWAY = "east.example"
Method = Literal["psk", "ecdsa"]
_DAY = dt.timedelta(days=1)


class Parties:
    """Makes configurations of both sides for one method of authentication."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._at = dt.datetime.now(dt.UTC) - _DAY / 24
        self._root = make_authority(common_name("Root"), make_key("ecdsa256"), self._at, 30 * _DAY)
        self._gateway_key = make_key("ecdsa256")
        self._gateway = self._issue(self._root, GATEWAY, self._gateway_key)

    def _issue(
        self, root: Authority, name: str, key: CertificateIssuerPrivateKeyTypes
    ) -> Certificate:
        made = issue(
            common_name(name),
            key,
            [alternative_name(name)],
            self._at,
            20 * _DAY,
            issuer=root,
        )
        return Certificate(made)

    @property
    def trust(self) -> Trust | None:
        """Whom both sides trust."""
        if self.method == "psk":
            return None
        return Trust(authorities=(Certificate(self._root.certificate),))

    def client(self, number: int, address: str, remote: str) -> PeerConfig:
        """Return what one client is told."""
        name = f"client-{number}.example"
        credentials: tuple[Credential, ...] = ()
        if self.method == "ecdsa":
            key = make_key("ecdsa256")
            credentials = (Credential(SigningKey(key), (self._issue(self._root, name, key),)),)
        return self._peer("client", name, address, credentials, remote=remote)

    def gateway(self, address: str) -> EndpointConfig:
        """Return what the responder is told; every client of these parties is welcome."""
        credentials: tuple[Credential, ...] = ()
        if self.method == "ecdsa":
            credentials = (Credential(SigningKey(self._gateway_key), (self._gateway,)),)
        return EndpointConfig(peers=(self._peer("clients", GATEWAY, address, credentials),))

    def _peer(
        self,
        name: str,
        identity: str,
        address: str,
        credentials: tuple[Credential, ...],
        remote: str | None = None,
    ) -> PeerConfig:
        near, far = ("10.1.0.0/24", "10.2.0.0/24") if remote else ("10.2.0.0/24", "10.1.0.0/24")
        proposals = parse_proposals([ESP], ProtocolId.ESP)
        child = ChildConfig("net", (parse_selector(near),), (parse_selector(far),), proposals)
        return PeerConfig(
            name=name,
            local_id=Identity.parse(identity),
            remote_id=Identity.parse(GATEWAY) if remote else None,
            psk=Secret(PSK.encode()) if self.method == "psk" else None,
            credentials=credentials,
            trust=self.trust,
            children=(child,),
            local_address=address,
            remote_address=remote,
            proposals=parse_proposals([IKE], ProtocolId.IKE),
        )

    def files(self) -> LabCredential | None:
        """Return the gateway's certificate, key and authority as texts of PEM files."""
        if self.method == "psk":
            return None
        key = self._gateway_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return LabCredential(
            certificates=(_pem(self._gateway.library.public_bytes(Encoding.PEM)),),
            key=_pem(key),
            authority=_pem(self._root.certificate.public_bytes(Encoding.PEM)),
        )


def _pem(octets: bytes) -> str:
    return octets.decode()
