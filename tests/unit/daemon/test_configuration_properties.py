"""Whatever a configuration file holds, it is accepted or rejected with complaints."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings, strategies as st

from ipsecme.base import ConfigError
from ipsecme.daemon.complaints import ConfigurationRejected
from ipsecme.daemon.configuration import load
from ipsecme.daemon.schema import ChildTable, ConnectionTable, DaemonTable


class NoNetwork:
    """Knows nobody."""

    def address(self, name: str, version: int | None) -> str:
        raise ConfigError(f"{name} is unknown")

    def source(self, remote: str, port: int) -> str:
        raise ConfigError(f"no way to {remote}")

    def is_local(self, address: str) -> bool:
        return False


KEYS = st.sampled_from(
    [*ConnectionTable.model_fields, *DaemonTable.model_fields, *ChildTable.model_fields, "x"]
)
TEXTS = st.sampled_from(
    ["", "any", "192.0.2.1", "::1", "10.0.0.0/8", "aes256gcm16", "0xff", "1h", "start", "\0"]
) | st.text(max_size=8)
VALUES = st.recursive(
    TEXTS | st.integers() | st.floats(allow_nan=False) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=8)


def as_toml(value: object) -> str:
    """Write a value as inline TOML."""
    if isinstance(value, dict):
        entries = (f"{json.dumps(key)} = {as_toml(entry)}" for key, entry in value.items())
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return json.dumps(value).replace("\x7f", "\\u007f")


def assert_accepted_or_rejected(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ipsecme.toml"
        path.write_bytes(content)
        complaints = []
        try:
            load(path, resolver=NoNetwork(), environment={})
        except ConfigurationRejected as error:
            complaints = [complaint.message for complaint in error.complaints] or [""]
        assert all(complaints)


@settings(max_examples=200, deadline=None)
@given(connection=TABLES, daemon=TABLES, name=st.text(max_size=6))
def test_tables_with_anything_in_them(
    connection: dict[str, object], daemon: dict[str, object], name: str
) -> None:
    text = f"daemon = {as_toml(daemon)}\nconnections.{json.dumps(name)} = {as_toml(connection)}\n"
    assert_accepted_or_rejected(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_octets(content: bytes) -> None:
    assert_accepted_or_rejected(content)
