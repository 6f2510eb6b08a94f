"""Answers what the engine asks: at once, or when what is missing was fetched or made.

The library lets go of the interpreter while it signs, so a thread really takes the load.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ipsecme.crypto.signature import sign
from ipsecme.daemon.certificates import ChainChecker
from ipsecme.daemon.log import log
from ipsecme.daemon.lookup import Lookup
from ipsecme.ike.commands import CheckChain, FetchCertificates, Sign

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Answers", "Question"]

Question = CheckChain | FetchCertificates | Sign


class Answers:
    """`on_answer` gets the number of a question and its answer when that took time."""

    def __init__(
        self,
        on_answer: Callable[[int, object], None],
        *,
        checker: ChainChecker | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        self._on_answer = on_answer
        self._checker = checker or ChainChecker()
        self._lookup = lookup or Lookup()
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[None]] = set()

    def take(self, question: Question) -> object | None:
        """Return the answer, or None when it comes later."""
        if isinstance(question, FetchCertificates):
            known = self._lookup.known(question)
            if known is None:
                self._later(question.number, lambda: self._lookup.find(question))
            return known
        if isinstance(question, Sign):
            work = question.key, question.octets, question.peer_hashes
            self._later(question.number, lambda: asyncio.to_thread(sign, *work))
            return None
        wanted = self._checker.missing(question, self._loop.time())
        if not wanted:
            return self._checker.check(question)

        async def fetch_and_check() -> object:
            await self._checker.fetch(wanted, self._loop.time())
            return self._checker.check(question)

        self._later(question.number, fetch_and_check)
        return None

    async def stop(self) -> None:
        """Give no more answers."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _later(self, number: int, search: Callable[[], Awaitable[object]]) -> None:
        task = asyncio.create_task(self._run(number, search))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _run(self, number: int, search: Callable[[], Awaitable[object]]) -> None:
        try:
            answer = await search()
        except Exception as error:  # noqa: BLE001 - a fault of ours, whatever it is
            log.error("internal_error", msg=f"{error!r}; please report this")
            answer = None  # which proves nothing to the engine
        self._on_answer(number, answer)
