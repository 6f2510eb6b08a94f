"""Key files for Wireshark and tshark, on request: whoever has them reads all the traffic.

Owns `ikev2_decryption_table` and `esp_sa` in one directory, which becomes a Wireshark profile when
it is named by WIRESHARK_CONFIG_DIR. Lines are appended; files are for the owner alone. ESP in UDP
needs nothing more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ipsecme.base import SystemRefused
from ipsecme.wire.numbers import EncrId, IntegId

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.ike.events import IkeKeysDerived
    from ipsecme.policy.parameters import SaHalf, SaPair

__all__ = ["KeyLog", "esp_lines", "ike_line"]

# The names are Wireshark's (epan/dissectors/packet-isakmp.c and packet-ipsec.c).
_IKE_ENCRYPTION = {
    EncrId.ENCR_AES_CBC: "AES-CBC-{bits} [RFC3602]",
    EncrId.ENCR_AES_GCM_16: "AES-GCM-{bits} with 16 octet ICV [RFC5282]",
}
_IKE_INTEGRITY = {
    IntegId.NONE: "NONE [RFC4306]",
    IntegId.AUTH_HMAC_SHA2_256_128: "HMAC_SHA2_256_128 [RFC4868]",
    IntegId.AUTH_HMAC_SHA2_384_192: "HMAC_SHA2_384_192 [RFC4868]",
    IntegId.AUTH_HMAC_SHA2_512_256: "HMAC_SHA2_512_256 [RFC4868]",
}
_ESP_ENCRYPTION = {
    EncrId.ENCR_AES_CBC: "AES-CBC [RFC3602]",
    EncrId.ENCR_AES_GCM_16: "AES-GCM with 16 octet ICV [RFC4106]",
}
_ESP_INTEGRITY = {
    IntegId.NONE: "NULL",
    IntegId.AUTH_HMAC_SHA2_256_128: "HMAC-SHA-256-128 [RFC4868]",
    IntegId.AUTH_HMAC_SHA2_384_192: "HMAC-SHA-384-192 [RFC4868]",
    IntegId.AUTH_HMAC_SHA2_512_256: "HMAC-SHA-512-256 [RFC4868]",
}


class KeyLog:
    """Appends to the files in `folder`, which is made if need be.

    Raises `SystemRefused` when they cannot be written from the start. Later failures, such as a
    full disk, are left in `failure` and never stop the daemon.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failure: OSError | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("ikev2_decryption_table", "esp_sa"):
                os.close(self._open(name))
        except OSError as error:
            raise SystemRefused(
                f"the key log in {folder} cannot be written ({error.strerror}); "
                "correct or remove keylog in [daemon]"
            ) from None

    def write_ike(self, event: IkeKeysDerived) -> None:
        """Add the keys of an IKE SA."""
        self._append("ikev2_decryption_table", ike_line(event))

    def write_esp(self, pair: SaPair) -> None:
        """Add the keys of both halves of a Child SA."""
        self._append("esp_sa", "".join(esp_lines(pair)))

    def _append(self, name: str, text: str) -> None:
        try:
            descriptor = self._open(name)
            try:
                os.write(descriptor, text.encode())  # one call, so that lines stay whole
            finally:
                os.close(descriptor)
        except OSError as error:
            self.failure = error

    def _open(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self.folder / name, flags, 0o600)


def ike_line(event: IkeKeysDerived) -> str:
    """Return a line of `ikev2_decryption_table`; with a combined-mode cipher keys end in a salt."""
    suite = event.suite
    cipher = _IKE_ENCRYPTION[suite.encr].format(bits=suite.key_bits)
    fields = (
        event.spi_i.hex(),
        event.spi_r.hex(),
        event.sk_ei.reveal().hex(),
        event.sk_er.reveal().hex(),
        f'"{cipher}"',
        event.sk_ai.reveal().hex(),
        event.sk_ar.reveal().hex(),
        f'"{_IKE_INTEGRITY[suite.integ]}"',
    )
    return ",".join(fields) + "\n"


def esp_lines(pair: SaPair) -> tuple[str, str]:
    """Return the lines of `esp_sa` for the inbound and the outbound half."""
    here, there = pair.path.local.address, pair.path.remote.address
    return (
        _esp_line(pair, pair.inbound, there, here),
        _esp_line(pair, pair.outbound, here, there),
    )


def _esp_line(pair: SaPair, half: SaHalf, source: str, destination: str) -> str:
    fields = (
        "IPv6" if ":" in source else "IPv4",
        source,
        destination,
        f"0x{half.spi:08x}",
        _ESP_ENCRYPTION[pair.suite.encr],
        f"0x{half.encryption_key.reveal().hex()}",
        _ESP_INTEGRITY[pair.suite.integ],
        f"0x{half.integrity_key.reveal().hex()}" if half.integrity_key else "",
    )
    return ",".join(f'"{field}"' for field in fields) + "\n"
