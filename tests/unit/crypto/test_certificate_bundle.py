"""Hash-and-URL: names on the wire and bundles, for any octets."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, strategies as st

from ipsecme.crypto.certificate_bundle import (
    LARGEST_BUNDLE,
    Location,
    LocationUnfit,
    certificates_of,
    encode_bundle,
)

URL = "http://certs.example.com/x"
DERS = st.lists(st.binary(max_size=300), min_size=1, max_size=8)


def named(content: bytes, *, is_bundle: bool = True) -> Location:
    return Location.of(content, URL, is_bundle=is_bundle)


@given(DERS)
def test_a_bundle_comes_back(ders: list[bytes]) -> None:
    content = encode_bundle(ders)
    assert certificates_of(named(content), content) == ders


@given(st.binary(max_size=200))
def test_any_octets_are_a_bundle_or_refused(content: bytes) -> None:
    with contextlib.suppress(LocationUnfit):
        assert sum(map(len, certificates_of(named(content), content))) < len(content)


@given(DERS, st.data())
def test_a_changed_bundle_is_refused_by_its_hash(ders: list[bytes], data: st.DataObject) -> None:
    content = encode_bundle(ders)
    at = data.draw(st.integers(0, len(content) - 1))
    changed = content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]
    with pytest.raises(LocationUnfit, match="SHA-1"):
        certificates_of(named(content), changed)
    for number in (0, 1):  # and under its own name it is what it is
        with contextlib.suppress(LocationUnfit):
            certificates_of(named(changed, is_bundle=bool(number)), changed)


@given(st.binary(max_size=1100))
def test_any_octets_are_a_location_or_refused(data: bytes) -> None:
    with contextlib.suppress(LocationUnfit):
        location = Location.decode(data, is_bundle=False)
        assert location.encode() == data
        assert len(location.digest) == 20
        assert location.url.lower().startswith("http://")


def test_sizes() -> None:
    edge = LARGEST_BUNDLE - len(encode_bundle([bytes(60000)])) + 60000
    content = encode_bundle([bytes(edge)])
    assert len(content) == LARGEST_BUNDLE
    assert certificates_of(named(content), content) == [bytes(edge)]
    content = encode_bundle([bytes(edge + 1)])
    with pytest.raises(LocationUnfit, match="more than 65535 octets"):
        certificates_of(named(content), content)
    one = bytes(16385)
    with pytest.raises(LocationUnfit, match="more than 16384 octets"):
        certificates_of(named(one, is_bundle=False), one)


def test_short_names() -> None:
    for octets in range(27):
        with pytest.raises(LocationUnfit):
            Location.decode(bytes(octets), is_bundle=False)
