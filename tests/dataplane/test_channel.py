"""The messages of the channel: what was encoded is decoded, anything else is refused."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, strategies as st

from ipsecme.base import MalformedMessage, Path, Transport
from ipsecme.dataplane.user import channel as ch
from ipsecme.dataplane.user.settings import UserSettings
from ipsecme.esp import DropReason, SaCounters, Totals
from ipsecme.policy.parameters import OriginalAddresses
from support.esp import SUITES, make_ends

_uint32 = st.integers(0, (1 << 32) - 1)
_count = st.integers(0, (1 << 64) - 1)
_text = st.text(max_size=100)
_transport = st.builds(Transport, st.ip_addresses().map(str), st.integers(0, 65535))
_path = st.builds(Path, _transport, _transport, st.booleans())
_drops = st.dictionaries(st.sampled_from(list(DropReason)), _count)
_sa = st.builds(
    SaCounters,
    _uint32,
    _count,
    _count,
    _count,
    _count,
    st.none() | st.floats(0, 1e12),
    _drops,
)
_pair = st.builds(
    lambda suite, replaces, ready, window, path, own, original: dataclasses.replace(
        make_ends(suite, path=path).west,
        replaces=replaces,
        outbound_ready=ready,
        replay_window=window,
        own_addresses=tuple(address.packed for address in own),
        original=original,
    ),
    st.sampled_from(SUITES),
    st.none() | st.integers(1, (1 << 32) - 1),
    st.booleans(),
    _uint32,
    _path,
    st.lists(st.ip_addresses(), max_size=3),
    st.none() | st.builds(OriginalAddresses, *[st.binary(min_size=n, max_size=n) for n in (4, 16)]),
)
_messages = st.one_of(
    st.builds(ch.Install, _uint32, _pair),
    st.builds(ch.UpdatePath, _uint32, _path),
    st.builds(ch.Retire, _uint32),
    st.builds(ch.Remove, _uint32),
    st.builds(ch.SendIke, _path, st.binary(max_size=500)),
    st.builds(ch.AskCounters, _uint32),
    st.just(ch.Ready()),
    st.builds(ch.Refused, _text),
    st.builds(ch.Installed, _uint32, _text, _text),
    st.builds(ch.ReceivedIke, _path, st.binary(max_size=500)),
    st.builds(ch.Expiring, _uint32),
    st.builds(
        ch.CountersPart,
        _uint32,
        st.lists(_sa, max_size=5).map(tuple),
        st.none() | st.builds(Totals, _count, _count, _count, _count, _drops),
    ),
)


@given(_messages)
def test_what_was_encoded_is_decoded(message: ch.Message) -> None:
    decoded = ch.decode(ch.encode(message))
    assert decoded == message
    assert type(decoded) is type(message)


@given(_messages)
def test_truncated_messages_are_refused(message: ch.Message) -> None:
    octets = ch.encode(message)
    may_be_shorter = isinstance(message, ch.SendIke | ch.ReceivedIke)
    for size in range(len(octets)):
        if not may_be_shorter:
            with pytest.raises(MalformedMessage):
                ch.decode(octets[:size])


@given(st.binary(max_size=300))
def test_any_octets_are_decoded_or_refused(octets: bytes) -> None:
    for kind in range(14):
        try:
            ch.decode(bytes((kind,)) + octets)
        except MalformedMessage:
            continue


def test_the_longest_messages_fit() -> None:
    drops = dict.fromkeys(DropReason, (1 << 64) - 1)
    sa = SaCounters(1, 2, 3, 4, 5, 6.0, drops)
    assert len(ch.encode(ch.CountersPart(1, (sa,) * ch.SAS_IN_PART, None))) <= ch.MAX_MESSAGE
    path = Path(Transport("2001:db8::1", 1), Transport("2001:db8::2", 2), encapsulated=True)
    assert len(ch.encode(ch.SendIke(path, bytes(65535)))) <= ch.MAX_MESSAGE


def test_keys_do_not_show_in_a_message() -> None:
    shown = repr(ch.Install(1, make_ends().west))
    assert make_ends().west.outbound.encryption_key.reveal().hex() not in shown
    assert "Secret(...)" in shown


def test_settings_survive_a_command_line() -> None:
    settings = UserSettings(tun_name="tunnel7", listen=("192.0.2.1", "2001:db8::1"), mtu=1380)
    assert UserSettings.from_json(settings.to_json()) == settings
