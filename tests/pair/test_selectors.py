"""Traffic selectors as they are negotiated (RFC 7296, section 2.9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipsecme.ike.events import ChildSaFailed
from ipsecme.policy.selector import parse_selector, selector_text
from ipsecme.wire.ike import TsPayload
from ipsecme.wire.numbers import ExchangeType
from support.pair import Pair, peer


def texts(selectors: object) -> list[str]:
    """Return selectors as text."""
    return [selector_text(s) for s in selectors]  # type: ignore[attr-defined]


def pair_of(a_local: str, a_remote: str, b_local: str, b_remote: str) -> Pair:
    """Return a pair whose ends have these selectors, several in one text separated by blanks."""
    a = peer("a", local_ts=tuple(a_local.split()), remote_ts=tuple(a_remote.split()))
    b = peer("b", local_ts=tuple(b_local.split()), remote_ts=tuple(b_remote.split()))
    return Pair(a=a, b=b)


@pytest.mark.requirement("R7296-089", "R7296-091")
@pytest.mark.parametrize(
    ("offered", "allowed", "result"),
    [
        ("10.1.0.0/16", "10.1.0.0/16", ["10.1.0.0/16"]),
        ("10.1.0.0/16", "10.0.0.0/8", ["10.1.0.0/16"]),
        ("10.0.0.0/8", "10.1.0.0/16", ["10.1.0.0/16"]),
        ("10.1.0.0/16", "10.1.0.0/16[tcp]", ["10.1.0.0/16[tcp]"]),
        (
            "10.1.0.0/16[udp/1000-2000]",
            "10.1.0.0/16[udp/1500-3000]",
            ["10.1.0.0/16[udp/1500-2000]"],
        ),
        ("0.0.0.0/0", "10.1.0.0/24 10.1.9.0/24", ["10.1.0.0/24", "10.1.9.0/24"]),
        ("10.1.0.1 10.1.0.0/16", "10.1.0.0/16", ["10.1.0.0/16"]),
        ("10.1.0.3-10.1.0.9", "10.1.0.5-10.1.0.20", ["10.1.0.5-10.1.0.9"]),
        ("10.1.0.0/16[icmp/2048-2303]", "10.1.0.0/16[icmp]", ["10.1.0.0/16[icmp/2048-2303]"]),
    ],
)
def test_the_responder_narrows_and_never_widens(
    offered: str, allowed: str, result: list[str]
) -> None:
    pair = pair_of(offered, "10.2.0.0/16", "10.2.0.0/16", allowed)
    pair.establish()
    pair.check_sads()
    assert texts(pair.a.current[0].local_ts) == result
    assert texts(pair.b.current[0].remote_ts) == result


@pytest.mark.requirement("R7296-097")
def test_ranges_that_are_no_prefixes_come_through_as_they_are() -> None:
    pair = pair_of("10.1.0.3-10.1.0.9", "10.2.0.0/16", "10.2.0.0/16", "10.1.0.0/16")
    pair.establish()
    assert texts(pair.b.current[0].remote_ts) == ["10.1.0.3-10.1.0.9"]


@pytest.mark.requirement("R7296-090", "M-12")
def test_the_first_selector_is_kept_when_policy_allows_it() -> None:
    pair = pair_of(
        "10.1.9.7[tcp/40000] 10.0.0.0/8",
        "10.2.9.9[tcp/443] 10.0.0.0/8",
        "10.2.0.0/24 10.2.9.0/24",
        "10.1.0.0/24 10.1.9.0/24",
    )
    pair.establish()
    sa = pair.b.current[0]
    assert any(s.start <= bytes([10, 1, 9, 7]) <= s.end for s in sa.remote_ts)
    assert any(s.start <= bytes([10, 2, 9, 9]) <= s.end for s in sa.local_ts)
    pair.check_sads()


@pytest.mark.requirement("R7296-092")
@pytest.mark.parametrize(
    ("offered", "allowed"),
    [
        ("10.1.0.0/16", "10.9.0.0/16"),
        ("10.1.0.0/16[tcp]", "10.1.0.0/16[udp]"),
        ("10.1.0.0/16[tcp/80]", "10.1.0.0/16[tcp/443]"),
        ("2001:db8:1::/48", "10.1.0.0/16"),
    ],
)
def test_without_anything_in_common_there_is_no_child_sa(offered: str, allowed: str) -> None:
    pair = pair_of(offered, "10.2.0.0/16", "10.2.0.0/16", allowed)
    pair.establish()
    assert pair.a.reasons(ChildSaFailed) == ["ts_unacceptable"]
    assert not pair.a.sad
    assert not pair.b.sad


@pytest.mark.requirement("R7296-095")
@pytest.mark.parametrize("first", [True, False])
def test_a_responder_that_widens_is_refused_and_its_child_sa_deleted(
    first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ipsecme.ike.tasks import child_create

    pair = Pair()
    if not first:
        pair.establish()
        pair.terminate(pair.a, "net")
        pair.drive(10)
    wide = parse_selector("0.0.0.0/0")
    original = child_create.ChildCreate.build_response

    def widen(task: child_create.ChildCreate, ctx: object) -> None:
        original(task, ctx)  # type: ignore[arg-type]
        for payload in ctx.out:  # type: ignore[attr-defined]
            if isinstance(payload, TsPayload):
                payload.selectors = (wide,)

    monkeypatch.setattr(child_create.ChildCreate, "build_response", widen)
    pair.initiate()
    pair.drive(10)
    assert not pair.a.sad
    assert not pair.b.sad
    assert pair.a.endpoint.status()[0].state == "up"
    (failed,) = pair.a.of(ChildSaFailed)
    assert "widened the selectors to 0.0.0.0/0" in failed.detail


@pytest.mark.requirement("R7296-075", "R7296-099", "M-12")
def test_a_rekeying_asks_for_what_is_there_and_gets_no_less() -> None:
    pair = pair_of("10.1.0.0/16", "10.2.0.0/16", "10.2.0.0/16", "10.1.0.0/24")
    pair.establish()
    before = pair.b.current[0]
    pair.rekey(pair.a, "net")
    pair.drive(10)
    pair.check_sads()
    after = pair.b.current[0]
    assert (after.local_ts, after.remote_ts, after.suite) == (
        before.local_ts,
        before.remote_ts,
        before.suite,
    )
    requests = [m for m in pair.messages if m.header.exchange == ExchangeType.CREATE_CHILD_SA]
    tsi = next(p for p in requests[0].payloads if isinstance(p, TsPayload))
    assert texts(tsi.ranges()) == ["10.1.0.0/24"]


@pytest.mark.requirement("R7296-099", "STM-12", "M-12")
def test_a_rekeying_that_would_narrow_is_refused() -> None:
    pair = Pair()
    pair.establish()
    child = next(iter(next(iter(pair.b.endpoint._registry)).children))
    child.config = replace(child.config, remote_ts=(parse_selector("10.1.1.0/24"),))
    old = set(pair.a.sad)
    pair.rekey(pair.a, "net")
    pair.drive(10)
    assert set(pair.a.sad) == old
    assert pair.a.reasons(ChildSaFailed) == ["ts_unacceptable"]


@pytest.mark.requirement("R7296-233", "STM-12")
def test_nobody_gets_networks_that_are_not_its_own() -> None:
    pair = pair_of("0.0.0.0/0", "0.0.0.0/0", "10.2.0.0/16", "10.1.0.0/16")
    pair.establish()
    sa = pair.b.current[0]
    assert texts(sa.remote_ts) == ["10.1.0.0/16"]
    assert texts(sa.local_ts) == ["10.2.0.0/16"]
    pair.check_sads()
