"""A tunnel between two hosts of our own, shown from beginning to end and checked at every step.

Owns the order of the demonstration. Two daemons run as their users run them, in network namespaces
with a link between them; what is reported comes from their counters and from what arrived. The
caller prints: it is told of each step as it begins and ends.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ipsecme.lab.capture import Capture
from ipsecme.lab.demo_checks import counter_problems, packets
from ipsecme.lab.demo_report import DemoReport
from ipsecme.lab.demo_sabotage import Sabotage, break_before_traffic, break_during_rekeys
from ipsecme.lab.demo_stage import Stage
from ipsecme.lab.demo_watch import LinkWatch
from ipsecme.lab.errors import LabUnavailable, StepFailed
from ipsecme.lab.network import Lab
from ipsecme.lab.ping import ping
from ipsecme.lab.requirements import missing_tun
from ipsecme.lab.traffic import Stream, transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Demo", "Plan", "Progress"]

_PINGS: Final = 10
_TCP_OCTETS: Final = 20_000_000
_STALL_SECONDS: Final = 10.0
_PROBE_SECONDS: Final = 0.005


@dataclass(slots=True, frozen=True)
class Plan:
    """What to do beyond the usual.

    Probes are sent for `seconds` at least. `keys` is a folder for Wireshark's key files, `capture`
    a pcap file of the link. With `keep` everything is left running.
    """

    seconds: float = 3.0
    keep: bool = False
    keys: Path | None = None
    capture: Path | None = None
    sabotage: Sabotage | None = None


class Progress(NamedTuple):
    """A step begins, or has ended well after so many seconds."""

    title: str
    seconds: float | None = None


class Demo:
    """Runs once. With `keep`, `lab` and `stage` are what is left running."""

    def __init__(self, plan: Plan, tell: Callable[[Progress], object]) -> None:
        if reason := missing_tun():
            raise LabUnavailable(reason)
        self.report = DemoReport()
        self.lab = Lab("demo")
        self.stage: Stage
        self._plan = plan
        self._tell = tell
        self._watch: LinkWatch
        self._capture: Capture | None = None
        self._listening = contextlib.ExitStack()

    def run(self) -> DemoReport:
        """Do all steps; what goes wrong is in the report. Nothing is left, except on request.

        Raises `LabUnavailable` where the system does not allow it.
        """
        began = time.monotonic()
        is_kept = False
        try:
            self._steps()
            self.report.finished = True
            is_kept = self._plan.keep
        except StepFailed as error:
            self.report.problems.append(str(error))
            is_kept = self._plan.keep
        finally:
            if is_kept:
                self._listening.close()
            else:
                self._clean_up()
            self.report.seconds = time.monotonic() - began
        return self.report

    def _steps(self) -> None:
        self._perform("make two hosts and a link between them", "hosts", self._make_hosts)
        self._perform("start a daemon on each", "daemons", self._start_daemons)
        self._perform("bring the tunnel up", "tunnel", self._bring_up)
        break_before_traffic(self._plan.sabotage, self.stage.west, self.stage.east)
        self._perform("ping through the tunnel", "ping", self._ping)
        self._perform("send 20 MB over TCP", "TCP", self._transfer)
        self._perform("replace both SAs in traffic", "rekeys", self._rekey_in_traffic)
        self._perform("compare the counters of both daemons", "counters", self._compare_counters)
        self._perform("look at what crossed the link", "link", self._judge_link)

    def _perform(self, title: str, fact: str, step: Callable[[], str]) -> None:
        """Do a step and note what came of it. A step may also add problems to the report.

        It raises `StepFailed` when the next ones make no sense.
        """
        self._tell(Progress(title))
        began = time.monotonic()
        self.report.facts[fact] = step()
        self._tell(Progress(title, time.monotonic() - began))

    def _make_hosts(self) -> str:
        is_apart = self._plan.sabotage is Sabotage.PSK
        problems = self.report.problems
        self.stage = Stage(self.lab, problems, keys=self._plan.keys, is_apart=is_apart)
        outside = self.stage.west.site.outside
        self._watch = LinkWatch(outside, self.lab.folder / "strange.pcap")
        self._listening.callback(self._watch.stop)
        if self._plan.capture:
            self._capture = Capture(outside, self._plan.capture)
            self._listening.callback(self._capture.stop)
        west, east = self.stage.west.site, self.stage.east.site
        return f"west {west.address} and east {east.address}, a link between them"

    def _start_daemons(self) -> str:
        self.stage.start()
        return f"ipsecme {self.stage.west.status().version} on each, with a random secret"

    def _bring_up(self) -> str:
        self.stage.west.up()
        agreed = self.stage.agreed("the same SAs at both ends")
        self.report.suite = agreed.suite
        return f"{agreed.child.local_ts[0]} <-> {agreed.child.remote_ts[0]}\n{agreed.suite}"

    def _ping(self) -> str:
        (host, source), (_, target) = self.stage.near, self.stage.far
        found = ping(host, source, target, count=_PINGS, interval_seconds=0.02)
        self.report.ping = found
        if found.received != found.sent:
            raise StepFailed(f"ping: {found.received} of {found.sent} answered")
        return f"{found.received} of {found.sent} answered, median {self.report.rtt_ms} ms"

    def _transfer(self) -> str:
        near, far = self.stage.near, self.stage.far
        found = transfer(near, far, _TCP_OCTETS, seconds=_STALL_SECONDS)
        self.report.tcp = found
        if not found.intact or found.octets != _TCP_OCTETS:
            raise StepFailed(f"TCP: {found.octets:,} of {_TCP_OCTETS:,} octets, changed on the way")
        return f"{found.octets / 1e6:g} MB, SHA-256 is the same, {self.report.mbit_s} Mbit/s"

    def _rekey_in_traffic(self) -> str:
        began = time.monotonic()
        stream = Stream(self.stage.near, self.stage.far, interval_seconds=_PROBE_SECONDS)
        try:
            with stream:
                self.stage.follow()
                break_during_rekeys(self._plan.sabotage, self.stage.west)
                self.stage.rekey(self.stage.west, ike=True)
                self.stage.rekey(self.stage.east, ike=False)
                time.sleep(max(0.0, began + self._plan.seconds - time.monotonic()))
        finally:
            self.report.stream = stream.report
        found = stream.report
        if found is None or not found.sent:
            raise StepFailed("no probes were sent")
        text = f"{found.lost} of {found.sent} probes lost"
        if found.lost or found.repeated:
            when = ", ".join(f"{moment:.2f} s" for moment in found.lost_at_seconds[:5])
            self.report.problems.append(f"{text} (at {when}), {found.repeated} came twice")
        return f"IKE SA by west, Child SA by east\n{text}"

    def _compare_counters(self) -> str:
        west, east = self.stage.west.status(), self.stage.east.status()
        problems = counter_problems(west, east, at_least=self.report.answers)
        self.report.problems += problems
        counts = [
            (one.rekeys.ike, one.rekeys.child)
            for reply in (west, east)
            for one in reply.connections
        ]
        if counts != [(1, 1), (1, 1)]:
            self.report.problems.append(f"rekeys (IKE, Child) at west and east: {counts}")
        self.report.ike_rekeys, self.report.child_rekeys = map(min, zip(*counts, strict=True))
        sent, received = packets(west)
        verdict = "differs" if problems else "counts the same"
        return f"west sent {sent:,} and got {received:,} packets by ESP\neast {verdict}"

    def _judge_link(self) -> str:
        watch = self._watch
        watch.stop()
        problems, clear = self.report.problems, watch.other.clear
        if clear:
            problems.append(f"packets that crossed in clear: {'; '.join(watch.other.examples)}")
        if watch.unseen:
            problems.append(f"{watch.unseen:,} packets beside ESP and IKE were not looked at")
        through = sum(packets(self.stage.west.status()))
        if watch.esp != through:
            problems.append(f"{through:,} packets went by ESP, {watch.esp:,} were seen on the link")
        text = f"{watch.esp:,} ESP packets, {clear or 'none'} in clear"
        if self._capture is None:
            return text
        self._capture.stop()
        missing = self._capture.lost + self._capture.left_out
        return f"{text}\n{self._capture.packets:,} packets recorded, {missing or 'none'} left out"

    def _clean_up(self) -> None:
        """Remove everything; impatience does not leave half of it behind."""
        self._tell(Progress("remove everything"))
        began = time.monotonic()
        with _undisturbed():
            try:
                self._listening.close()
                self.lab.close()
            except StepFailed as error:
                self.report.problems.append(str(error))
            finally:
                shutil.rmtree(self.lab.folder, ignore_errors=True)
        self._tell(Progress("remove everything", time.monotonic() - began))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM meanwhile."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
