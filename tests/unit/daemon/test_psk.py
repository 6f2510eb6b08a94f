"""Pre-shared keys in the configuration (RFC 7296, section 2.15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ipsecme.base import ConfigError, Secret
from ipsecme.daemon.psk import load_psk, weakness
from ipsecme.daemon.schema import ConnectionTable

if TYPE_CHECKING:
    from pathlib import Path

NETWORKS = {"local_ts": ["10.1.0.0/24"], "remote_ts": ["10.2.0.0/24"]}
ALL_ASCII = "".join(map(chr, range(0x20, 0x7F)))


def octets(folder: Path, form: str, text: str) -> bytes:
    """Return the octets of a key that is given in one of the three forms."""
    value = text
    if form == "psk_file":
        file = folder / "key"
        file.write_text(text)
        file.chmod(0o600)
        value = "key"
    if form == "psk_env":
        value = "SITE_PSK"
    table = ConnectionTable.model_validate({**NETWORKS, form: value})
    return load_psk(table, folder, {"SITE_PSK": text}).reveal()


@pytest.mark.requirement("R7296-112")
@pytest.mark.parametrize("form", ["psk", "psk_file", "psk_env"])
@pytest.mark.parametrize("size", [8, 64, 65, 256, 4000])
def test_text_of_any_useful_length_is_taken_with_nothing_added(
    form: str, size: int, tmp_path: Path
) -> None:
    text = (ALL_ASCII * 50)[1 : size + 1]
    assert octets(tmp_path, form, text) == text.encode("ascii")
    assert len(octets(tmp_path, form, text)) == size


@pytest.mark.requirement("R7296-112")
@pytest.mark.parametrize("form", ["psk", "psk_file", "psk_env"])
@pytest.mark.parametrize("prefix", ["0x", "0X"])
def test_hexadecimal_digits_stand_for_octets_zero_among_them(
    form: str, prefix: str, tmp_path: Path
) -> None:
    key = bytes(range(256))
    assert octets(tmp_path, form, prefix + key.hex()) == key
    assert octets(tmp_path, form, prefix + key.hex().upper()) == key
    for wrong in ("0x001122334455667", "0x00112233445566zz", "0x"):
        with pytest.raises(ConfigError):
            octets(tmp_path, form, wrong)


@pytest.mark.requirement("R7296-231", "AUT-09")
@pytest.mark.parametrize("guessable", ["secret", "1234567", "aaaaaaaaaaaaaaaaaaaaaaaa", "abababab"])
def test_keys_that_can_be_guessed_are_refused_with_a_remedy(guessable: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"could be guessed; make one with: .*/dev/urandom"):
        octets(tmp_path, "psk", guessable)


@pytest.mark.requirement("R7296-231")
def test_keys_that_had_better_be_longer_get_a_warning() -> None:
    for weak in (b"correct horse batte", b"abcabcabcdabcdabcdabcdabcd"):
        warning = weakness(Secret(weak))
        assert warning is not None
        assert "head -c 32 /dev/urandom" in warning
    assert weakness(Secret(bytes(range(20)))) is None
