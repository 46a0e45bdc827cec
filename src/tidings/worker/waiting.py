"""Calls that wait for their turn with an account: the urgent ones first, each kind in the order in which they came."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Protocol

from tidings.providers.contract import Outcome

# What a waiting call gets: None: go; an outcome: do not; a number: not yet, and when to ask again (infinity: when a
# call has ended).
Answer = Outcome | float | None


class Ask(Protocol):
    """Asks for a place, without waiting."""

    def __call__(self, *, urgent: bool, retry: bool) -> Answer: ...


class Waiting:
    """The queue of one account, on one event loop. `ask`: for the next in it; `give_up`: a place it got is not used."""

    def __init__(self, ask: Ask, give_up: Callable[[], None]) -> None:
        self._ask = ask
        self._give_up = give_up
        self._urgent: OrderedDict[asyncio.Future[Answer], bool] = OrderedDict()
        self._usual: OrderedDict[asyncio.Future[Answer], bool] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self.any = False

    def ahead(self, *, urgent: bool) -> int:
        """How many would come before a new one."""
        return len(self._urgent) if urgent else len(self._urgent) + len(self._usual)

    async def wait(self, *, urgent: bool, retry: bool, first_s: float, most_s: float) -> Answer:
        """Wait for a turn. A number: it took longer than `most_s`, and no place was taken.

        `first_s`: when it is worth asking again. Cancelling it takes nothing from others.
        """
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Answer] = loop.create_future()
        queue = self._urgent if urgent else self._usual
        queue[mine] = retry
        self.any = True
        self._look_again(first_s)
        ends = loop.call_later(most_s, _end, mine)
        try:
            return await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.result() is None:
                self._give_up()
            raise
        finally:
            ends.cancel()
            queue.pop(mine, None)
            self.any = bool(self._urgent or self._usual)

    def deal(self) -> None:
        """Let go whoever may go now. Twice is safe."""
        again_s = self._deal()
        self.any = bool(self._urgent or self._usual)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if again_s is not None:
            self._look_again(again_s)

    def close(self) -> None:
        """Wake nobody any more. Whoever waits still does so no longer than it wanted to."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deal(self) -> float | None:
        for mine, retry, urgent in self._heads():
            answer = self._ask(urgent=urgent, retry=retry)
            if isinstance(answer, float):
                return answer
            mine.set_result(answer)
        return None

    def _heads(self) -> Iterator[tuple[asyncio.Future[Answer], bool, bool]]:
        """The first in the queue, again and again; the one before must have its answer by then."""
        for queue, urgent in ((self._urgent, True), (self._usual, False)):
            while queue:
                mine, retry = next(iter(queue.items()))
                if not mine.done():
                    yield mine, retry, urgent
                del queue[mine]

    def _look_again(self, after_s: float) -> None:
        """Only time brings tokens; places come by calls that end, and those who end them `deal`."""
        if self._timer is None and after_s < float("inf"):
            self._timer = asyncio.get_running_loop().call_later(after_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.deal()


def _end(mine: asyncio.Future[Answer]) -> None:
    if not mine.done():
        mine.set_result(0.0)
