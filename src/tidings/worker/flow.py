"""How much an account lately took, and when those it could not take should come back."""

import math

SLOT_S = 1.0
NEWEST = 0.3  # weight of the newest second
SHORTEST_S = 0.25  # over which a rate is told
ENOUGH = 10  # answers, before the rate says anything


class Flow:
    """Accepted calls a second, over the seconds in which there were any. Not thread-safe."""

    def __init__(self, now: float) -> None:
        self._ends_at = now + SLOT_S
        self._in_slot = 0
        self._mean: float | None = None
        self._counted = 0

    def count(self, now: float) -> None:
        """One call was accepted."""
        if now >= self._ends_at:
            self._turn(now)
        self._in_slot += 1

    @property
    def known(self) -> bool:
        """Whether enough was counted to speak of a rate."""
        return self._counted + self._in_slot >= ENOUGH

    @property
    def per_s(self) -> float:
        """The rate; 0 before the first."""
        return float(self._in_slot) if self._mean is None else self._mean

    def rest(self, now: float) -> float:
        """A rest begins, which is no part of the flow. Answers the calls a second before it, rather too many.

        Too many, for the vendor's next refusal corrects that, and nothing corrects too few as quickly.
        """
        began = self._ends_at - SLOT_S
        running = self._in_slot / max(now - began, SHORTEST_S) if now < self._ends_at else 0.0
        took = max(self.per_s, running)
        self._counted = min(ENOUGH, self._counted + self._in_slot)
        self._in_slot = 0
        self._ends_at = -math.inf
        return took

    def _turn(self, now: float) -> None:
        if self._in_slot:
            rate = self._in_slot / SLOT_S
            self._mean = rate if self._mean is None else self._mean + NEWEST * (rate - self._mean)
            self._counted = min(ENOUGH, self._counted + self._in_slot)
        self._in_slot = 0
        self._ends_at = self._ends_at + SLOT_S if now < self._ends_at + SLOT_S else now + SLOT_S


class Spread:
    """Deals out times to come back, one after the other, so that not everybody is there at the same moment.

    What is more than `longest_s` goes round again: longer nobody is sent away for the others' sake.
    """

    def __init__(self) -> None:
        self._dealt = -math.inf

    def wait_s(self, now: float, not_before: float, per_s: float, longest_s: float, chance: float) -> float:
        """Seconds from now. `not_before` on the same clock; `chance` from 0 to 1 moves it within its step."""
        step = 1.0 / per_s
        at = max(self._dealt, not_before)
        if at - not_before >= longest_s:
            at = not_before
        self._dealt = at + step
        return at - now + step * chance
