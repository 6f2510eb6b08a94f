"""The history of connections: bounded, and with errors that successes put right."""

from __future__ import annotations

import pytest

from ipsecme.base import Path, Transport
from ipsecme.crypto.suite import EspSuite, IkeSuite
from ipsecme.daemon.history import History, PastError
from ipsecme.ike import events
from ipsecme.wire.numbers import EncrId, IntegId, KeId, PrfId

PATH = Path(Transport("192.0.2.1", 500), Transport("192.0.2.2", 500))
IKE = IkeSuite(EncrId.ENCR_AES_GCM_16, 256, IntegId.NONE, PrfId.PRF_HMAC_SHA2_256, KeId.CURVE25519)
ESP = EspSuite(EncrId.ENCR_AES_GCM_16, 256, IntegId.NONE, esn=True)

ESTABLISHED = events.IkeSaEstablished("site", "01", True, "east", PATH, IKE, "none")
FAILED = events.IkeSaFailed("site", "01", True, "unreachable", "no answer", PATH)


def created(child: str, replaces: int | None = None) -> events.ChildSaCreated:
    return events.ChildSaCreated("site", child, "01", 7, 8, ESP, True, (), (), replaces)


@pytest.fixture
def history() -> History:
    return History(("site",))


def test_establishing_and_rekeying_are_counted(history: History) -> None:
    history(ESTABLISHED, 1.0)
    history(created("net"), 1.0)
    history(created("net", replaces=7), 2.0)
    history(created("net", replaces=8), 3.0)
    history(events.IkeSaRekeyed("site", "01", "02", True, IKE), 4.0)
    counts = history.of("site")
    assert (counts.established, counts.ike_rekeys, counts.child_rekeys) == (1, 1, 2)
    assert history.open_error("site") is None


def test_the_last_error_is_open_until_a_success_puts_it_right(history: History) -> None:
    history(FAILED, 1.0)
    assert history.open_error("site") == PastError(1.0, "unreachable", "no answer")
    history(ESTABLISHED, 2.0)
    assert history.open_error("site") is None
    refusal = events.ChildSaFailed("site", "net", "01", "ts_unacceptable", "nothing in common")
    history(refusal, 3.0)
    history(created("other"), 4.0)  # another Child SA puts nothing right
    assert history.open_error("site") == PastError(
        3.0, "ts_unacceptable", "nothing in common", "net"
    )
    history(created("net"), 5.0)
    assert history.open_error("site") is None
    assert len(history.of("site").errors) == 2


def test_ends_that_somebody_wanted_are_no_errors(history: History) -> None:
    for reason in ("deleted", "deleted_by_peer", "replaced"):
        history(events.IkeSaClosed("site", "01", reason, ""), 1.0)
    for reason in ("rekeyed", "deleted", "ike_sa_closed"):
        history(events.ChildSaClosed("site", "net", "01", 7, reason), 1.0)
    assert not history.of("site").errors
    history(events.IkeSaClosed("site", "01", "expired", "too old"), 2.0)
    history(events.ChildSaClosed("site", "net", "01", 7, "expired"), 3.0)
    assert [error.at for error in history.of("site").errors] == [2.0, 3.0]


def test_memory_is_bounded_and_strangers_leave_nothing(history: History) -> None:
    for number in range(100):
        history(FAILED, float(number))
    assert [error.at for error in history.of("site").errors] == [float(n) for n in range(90, 100)]
    history(events.IkeSaFailed("", "", False, "refused", "", PATH), 100.0)
    with pytest.raises(KeyError):
        history.of("")
