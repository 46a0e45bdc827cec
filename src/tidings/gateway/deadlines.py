"""One timer for the deadlines of all sockets: a wheel of buckets, one bucket a tick.

A timer or task per socket costs memory and, with many sockets, most of an idle gateway's CPU. Here every
socket lies in one bucket; when its tick comes it is asked what is due, and answers when to ask again.
"""

import asyncio
import logging
from typing import Protocol

BUCKETS = 512

log = logging.getLogger(__name__)


class Timed(Protocol):
    """Something with deadlines. `due_tick` belongs to the wheel."""

    due_tick: int

    def on_due(self, now: float) -> float | None:
        """Do what is due at `now` (the loop's time); when to be asked next, or None: never again."""
        ...


class Wheel:
    """Calls `on_due` at most one tick late. A thing is in the wheel once: putting it again moves it."""

    def __init__(self, tick_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._tick_s = tick_s
        self._tick = int(self._loop.time() / tick_s)
        self._buckets: list[set[Timed]] = [set() for _ in range(BUCKETS)]
        self._timer = self._loop.call_later(tick_s, self._turn)

    def put(self, thing: Timed, at: float) -> None:
        """Ask the thing at this time, or earlier when that is more than a turn of the wheel away."""
        tick = min(max(int(at / self._tick_s) + 1, self._tick + 1), self._tick + BUCKETS - 1)
        self._buckets[thing.due_tick % BUCKETS].discard(thing)
        thing.due_tick = tick
        self._buckets[tick % BUCKETS].add(thing)

    def remove(self, thing: Timed) -> None:
        """Never ask the thing again. Twice is safe."""
        self._buckets[thing.due_tick % BUCKETS].discard(thing)

    def close(self) -> None:
        """Ask nobody any more. Twice is safe."""
        self._timer.cancel()
        for bucket in self._buckets:
            bucket.clear()

    def _turn(self) -> None:
        self._timer = self._loop.call_later(self._tick_s, self._turn)
        now = self._loop.time()
        # After a stall longer than a whole turn every bucket is visited once, not once for each missed tick.
        last = int(now / self._tick_s)
        for tick in range(max(self._tick + 1, last - BUCKETS + 1), last + 1):
            self._tick = tick
            bucket = self._buckets[tick % BUCKETS]
            if bucket:
                self._buckets[tick % BUCKETS] = set()
                for thing in bucket:
                    if thing.due_tick <= tick:  # else another one, asked just now, has moved it
                        self._ask(thing, now)

    def _ask(self, thing: Timed, now: float) -> None:
        try:
            again_at = thing.on_due(now)
        except Exception:
            # One broken socket must not stop the clock of all others; it is asked again.
            log.exception("a deadline could not be carried out")
            again_at = now + 1.0
        if again_at is not None:
            self.put(thing, again_at)
