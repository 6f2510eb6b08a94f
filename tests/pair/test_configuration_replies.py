"""What a client makes of the replies that a gateway may give (RFC 7296, section 3.15.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings, strategies as st

from ipsecme.ike.events import ChildSaFailed, IkeSaClosed
from ipsecme.ike.tasks.configuration import Configuration
from ipsecme.wire.ike import ConfigAttribute, ConfigPayload
from ipsecme.wire.numbers import ConfigAttributeType, ConfigType
from support.lending import DUAL, address, attribute, client, gateway, live, local_ts, texts
from support.pair import Pair
from support.strategies import config_attributes

if TYPE_CHECKING:
    from ipsecme.ike.context import ExchangeContext

T = ConfigAttributeType
FOUR, SIX = T.INTERNAL_IP4_ADDRESS, T.INTERNAL_IP6_ADDRESS


def establish(
    *extra: ConfigAttribute,
    before: tuple[ConfigAttribute, ...] = (),
    kind: ConfigType = ConfigType.CFG_REPLY,
    families: tuple[int, ...] = (4,),
) -> Pair:
    """Bring a client up whose gateway says more than it should, before or after the rest."""

    def build_response(task: Configuration, ctx: ExchangeContext) -> None:
        for payload in task._answers:
            payload.type, payload.attributes = kind, (*before, *payload.attributes, *extra)
        usual(task, ctx)

    usual = Configuration.build_response
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Configuration, "build_response", build_response)
        pair = Pair(a=client(*families), b=gateway(*DUAL))
        pair.establish()
    return pair


@pytest.mark.requirement("R7296-220", "M-43", "M-56")
@pytest.mark.parametrize(("family", "first"), [(4, "10.9.0.1"), (16, "fd00:9::1")])
def test_what_is_unknown_or_no_more_is_ignored(family: int, first: str) -> None:
    expiry = attribute(T.of(5), b"\0\0\0\1")  # INTERNAL_ADDRESS_EXPIRY, after a second
    strange = attribute(T.of(0x7123), b"x" * 300)
    pair = establish(expiry, strange, before=(expiry,), families=(family,))
    pair.check_sads()
    assert local_ts(pair) == [[first]]
    pair.drive(600)
    pair.check_sads()
    assert texts(live(pair.a).internal.assigned) == [first]


@pytest.mark.requirement("NET-06")
def test_addresses_that_nobody_asked_for_are_left() -> None:
    pair = establish(attribute(FOUR, address("10.9.0.200")), attribute(SIX, address("::9") + b"@"))
    assert texts(live(pair.a).internal.assigned) == ["10.9.0.1"]


def test_a_reply_of_another_kind_is_none() -> None:
    pair = establish(kind=ConfigType.CFG_SET)
    pair.check_sads(0)
    assert pair.a.reasons(ChildSaFailed) == ["internal_address_failure"]
    assert not pair.a.of(IkeSaClosed)


def test_an_address_outside_of_the_selectors_makes_no_child_sa() -> None:
    pair = establish(before=(attribute(FOUR, address("10.66.0.1")),))
    pair.check_sads(0)
    assert pair.a.reasons(ChildSaFailed) == ["ts_unacceptable"]
    assert "10.9.0.1" in pair.a.of(ChildSaFailed)[0].detail


def test_networks_and_name_servers_are_kept_where_they_make_sense() -> None:
    pair = establish(
        attribute(T.INTERNAL_IP4_SUBNET, address("10.7.0.0") + address("255.0.255.0")),
        attribute(T.INTERNAL_IP4_SUBNET, address("10.8.0.0") + address("255.255.0.0")),
        attribute(T.INTERNAL_IP4_SUBNET, bytes(8)),
        attribute(T.INTERNAL_IP4_SUBNET),
        attribute(T.INTERNAL_IP6_SUBNET, address("fd00:8::") + b"\x40"),
        attribute(T.INTERNAL_IP6_SUBNET, address("fd00:7::") + b"\x81"),
        attribute(T.INTERNAL_IP4_DNS, bytes(4)),
        *[attribute(T.INTERNAL_IP4_DNS, bytes((10, 2, 0, n))) for n in range(20)],
        before=(attribute(T.APPLICATION_VERSION, b"gw \x1b[2J\xff" + b"x" * 500),),
    )
    (sa,) = pair.a.endpoint.status()[0].ike_sas
    assert sa.networks == ("10.2.0.0/16", "10.8.0.0/16", "0.0.0.0/0", "fd00:8::/64")
    assert sa.dns == tuple(f"10.2.0.{n}" for n in range(8))
    assert sa.peer_version.startswith("gw ?[2J?xxx")
    assert len(sa.peer_version) == 128


@settings(max_examples=80)
@example(
    [ConfigAttribute(ConfigAttributeType.INTERNAL_IP4_ADDRESS, bytes((0, 0, 0, 1)))], [], (4, 16)
)
@given(
    st.lists(config_attributes(), max_size=6), st.lists(config_attributes(), max_size=6),
    st.sampled_from([(4,), (16,), (4, 16)]),
)  # fmt: skip
def test_whatever_is_replied_there_is_a_child_sa_or_a_reason(
    before: list[ConfigAttribute], after: list[ConfigAttribute], families: tuple[int, ...]
) -> None:
    pair = establish(*after, before=tuple(before), families=families)
    sa = live(pair.a)
    assert len(sa.internal.assigned) <= len(families)
    if pair.a.of(ChildSaFailed):
        pair.check_sads(0)
    else:
        (one,), (other,) = pair.a.current, pair.b.current
        assert other.outbound.spi == one.spi
        assert one.remote_ts == other.local_ts
        # Of several addresses we take one, and a gateway that says one thing and does another may
        # have installed others as well: what we send is never more than what it takes.
        assert set(one.local_ts) <= set(other.remote_ts)
        assert set(one.own_addresses) <= set(sa.internal.assigned)
        assert all(ts.start == ts.end for ts in one.local_ts)
    assert any(isinstance(p, ConfigPayload) for m in pair.messages for p in m.payloads)
