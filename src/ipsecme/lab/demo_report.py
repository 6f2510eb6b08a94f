"""What the demonstration found: figures, problems, and the JSON that programs read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipsecme.lab.ping import PingReport
    from ipsecme.lab.traffic import StreamReport, TransferReport

__all__ = ["DemoReport"]


@dataclass(slots=True)
class DemoReport:
    """Filled step by step; what was not reached stays None.

    `suite` is what both daemons chose, the rekeys are what both report. `facts` say what came of
    each step, for people; `problems` are all that was not as it must be.
    """

    suite: str | None = None
    ping: PingReport | None = None
    tcp: TransferReport | None = None
    ike_rekeys: int = 0
    child_rekeys: int = 0
    stream: StreamReport | None = None
    seconds: float = 0.0
    finished: bool = False
    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when every step was reached and nothing is wrong."""
        return self.finished and not self.problems

    @property
    def answers(self) -> int:
        """Echo replies and returned probes: so many packets went each way at least."""
        pings = self.ping.received if self.ping else 0
        return pings + (self.stream.returned if self.stream else 0)

    @property
    def rtt_ms(self) -> float | None:
        """Median round-trip time in milliseconds."""
        if self.ping is None or not self.ping.round_trips_seconds:
            return None
        times = sorted(self.ping.round_trips_seconds)
        return round(times[len(times) // 2] * 1000, 3)

    @property
    def mbit_s(self) -> float:
        """Speed of the TCP transfer in megabits per second, without any headers."""
        if self.tcp is None or self.tcp.seconds <= 0:
            return 0.0
        return round(self.tcp.octets * 8 / self.tcp.seconds / 1e6, 1)

    def to_json(self) -> dict[str, Any]:
        """Return the summary; its keys do not depend on how far the demonstration came."""
        return {
            "ok": self.ok,
            "suite": self.suite,
            "ping": {
                "sent": self.ping.sent if self.ping else 0,
                "received": self.ping.received if self.ping else 0,
                "rtt_ms": self.rtt_ms,
            },
            "tcp": {
                "bytes": self.tcp.octets if self.tcp else 0,
                "sha256_match": self.tcp.intact if self.tcp else False,
                "mbit_s": self.mbit_s,
            },
            "rekeys": {"ike": self.ike_rekeys, "child": self.child_rekeys},
            "lost_packets": self.stream.lost if self.stream else None,
            "seconds": round(self.seconds, 2),
        }
