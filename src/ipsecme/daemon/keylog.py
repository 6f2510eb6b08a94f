"""Key files for Wireshark and tshark, on request: whoever has them reads all the traffic.

Owns `ikev2_decryption_table` and `esp_sa` in one directory, which becomes a Wireshark profile when
it is named by WIRESHARK_CONFIG_DIR. Lines are appended; files are for the owner alone. ESP in UDP
needs nothing more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ipsecme.base import SystemRefused
from ipsecme.daemon.log import log
from ipsecme.wire.numbers import EncrId, IntegId

if TYPE_CHECKING:
    from pathlib import Path

    from ipsecme.ike.events import IkeKeysDerived
    from ipsecme.policy.parameters import SaHalf, SaPair

__all__ = ["KeyLog", "esp_lines", "ike_line"]

# Wireshark's names (epan/dissectors/packet-isakmp.c and packet-ipsec.c); for the rest it has
# none. What it cannot verify it deciphers all the same, when it knows the size of the ICV.
_IKE_ENCRYPTION = {
    EncrId.ENCR_AES_CBC: "AES-CBC-{bits} [RFC3602]",
    EncrId.ENCR_AES_CTR: "AES-CTR-{bits} [RFC5930]",
    EncrId.ENCR_AES_CCM_8: "AES-CCM-{bits} with 8 octet ICV [RFC5282]",
    EncrId.ENCR_AES_CCM_12: "AES-CCM-{bits} with 12 octet ICV [RFC5282]",
    EncrId.ENCR_AES_CCM_16: "AES-CCM-{bits} with 16 octet ICV [RFC5282]",
    EncrId.ENCR_AES_GCM_8: "AES-GCM-{bits} with 8 octet ICV [RFC5282]",
    EncrId.ENCR_AES_GCM_12: "AES-GCM-{bits} with 12 octet ICV [RFC5282]",
    EncrId.ENCR_AES_GCM_16: "AES-GCM-{bits} with 16 octet ICV [RFC5282]",
}
_IKE_INTEGRITY = {
    IntegId.NONE: "NONE [RFC4306]",
    IntegId.AUTH_AES_XCBC_96: "ANY 96-bits of Authentication [No Checking]",
    IntegId.AUTH_AES_CMAC_96: "ANY 96-bits of Authentication [No Checking]",
    IntegId.AUTH_HMAC_SHA2_256_128: "HMAC_SHA2_256_128 [RFC4868]",
    IntegId.AUTH_HMAC_SHA2_384_192: "HMAC_SHA2_384_192 [RFC4868]",
    IntegId.AUTH_HMAC_SHA2_512_256: "HMAC_SHA2_512_256 [RFC4868]",
}
_ESP_ENCRYPTION = {
    EncrId.ENCR_NULL: "NULL",
    EncrId.ENCR_AES_CBC: "AES-CBC [RFC3602]",
    EncrId.ENCR_AES_CTR: "AES-CTR [RFC3686]",
    EncrId.ENCR_AES_GCM_8: "AES-GCM with 8 octet ICV [RFC4106]",
    EncrId.ENCR_AES_GCM_12: "AES-GCM with 12 octet ICV [RFC4106]",
    EncrId.ENCR_AES_GCM_16: "AES-GCM with 16 octet ICV [RFC4106]",
}
_ESP_INTEGRITY = {
    IntegId.NONE: "NULL",
    IntegId.AUTH_AES_XCBC_96: "ANY 96 bit authentication [no checking]",
    IntegId.AUTH_AES_CMAC_96: "ANY 96 bit authentication [no checking]",
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
        self._skipped: set[str] = set()
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
        """Add the keys of an IKE SA, if Wireshark has a name for its algorithms."""
        line = ike_line(event)
        if line is None:
            self._skip(f"IKE {event.suite}")
        else:
            self._append("ikev2_decryption_table", line)

    def write_esp(self, pair: SaPair) -> None:
        """Add the keys of both halves of a Child SA, if Wireshark has a name for its algorithms."""
        lines = esp_lines(pair)
        if lines is None:
            self._skip(f"ESP {pair.suite}")
        else:
            self._append("esp_sa", "".join(lines))

    def _skip(self, suite: str) -> None:
        if suite not in self._skipped:
            self._skipped.add(suite)
            log.warning(
                "key_log_skipped",
                msg=f"Wireshark has no name for {suite}, so these keys are not in {self.folder}; "
                "agree on AES-GCM or AES-CBC with HMAC to read this traffic",
                suite=suite,
            )

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


def ike_line(event: IkeKeysDerived) -> str | None:
    """Return a line of `ikev2_decryption_table`, or None when Wireshark lacks the algorithms.

    With ciphers that have a salt the keys end in it.
    """
    suite = event.suite
    cipher, integrity = _IKE_ENCRYPTION.get(suite.encr), _IKE_INTEGRITY.get(suite.integ)
    if cipher is None or integrity is None:
        return None
    fields = (
        event.spi_i.hex(),
        event.spi_r.hex(),
        event.sk_ei.reveal().hex(),
        event.sk_er.reveal().hex(),
        f'"{cipher.format(bits=suite.key_bits)}"',
        event.sk_ai.reveal().hex(),
        event.sk_ar.reveal().hex(),
        f'"{integrity}"',
    )
    return ",".join(fields) + "\n"


def esp_lines(pair: SaPair) -> tuple[str, str] | None:
    """Return the lines of `esp_sa` for both halves, or None when Wireshark lacks the algorithms."""
    if pair.suite.encr not in _ESP_ENCRYPTION or pair.suite.integ not in _ESP_INTEGRITY:
        return None
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
        f"0x{half.encryption_key.reveal().hex()}" if half.encryption_key else "",
        _ESP_INTEGRITY[pair.suite.integ],
        f"0x{half.integrity_key.reveal().hex()}" if half.integrity_key else "",
    )
    return ",".join(f'"{field}"' for field in fields) + "\n"
