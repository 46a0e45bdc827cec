"""How many calls may be in flight: more while the vendor keeps up, fewer when it fails or becomes slow.

Additive increase, multiplicative decrease, with a slow start, as TCP does it (RFC 5681 §3.1), and one decrease for
all calls that were in flight together. Slowness counts when answers take more than twice as long as they do at best:
the idea of the gradient limit of Netflix's concurrency-limits. What is quick anyway (`slow_s`) never counts, because
such differences come from our own event loop rather than from the vendor.
"""

import math

LESS = 0.7
SLOWER = 2.0  # times the best latency
WINDOW = 16  # answers that are looked at together
FORGETS = 1.02  # the best latency is believed a little less after each window, for vendors do change


class Concurrency:
    """What was learned about one account. Times are seconds of one clock that never goes back. Not thread-safe.

    `limit`: calls that may be in flight now; its fraction is progress towards the next one. `mean_s`: how long answers
    take, 0.0 before enough came.
    """

    def __init__(self, least: int, start: int, most: int, slow_s: float) -> None:
        self.most = most
        self._least = min(least, most)
        self.limit = float(min(max(start, self._least), most))
        self.mean_s = 0.0
        self._slow_s = slow_s
        self._aim = math.inf  # below: slow start
        self._cut_at = -math.inf
        self._best_s = math.inf
        self._sum_s = 0.0
        self._seen = 0

    def answered(self, began: float, now: float, in_flight: int) -> None:
        """The vendor answered a call in good order. `in_flight`: how many were, this one included."""
        if self.limit < self.most and in_flight >= self.limit * 0.8:  # a limit that nobody reaches needs no more
            step = 1.0 if self.limit < self._aim else 1.0 / self.limit
            self.limit = min(float(self.most), self.limit + step)
        self._sum_s += now - began
        self._seen += 1
        if self._seen >= WINDOW:
            self._look(began, now)

    def cut(self, began: float, now: float) -> None:
        """A call failed. Those that were in flight with it say nothing new."""
        if began <= self._cut_at:
            return
        self._cut_at = now
        self.limit = max(float(self._least), self.limit * LESS)
        self._aim = self.limit

    def start_over(self) -> None:
        """The account was out of use: begin with few, and find out quickly how many it takes now."""
        self.limit = float(self._least)
        self._best_s = math.inf

    def _look(self, began: float, now: float) -> None:
        self.mean_s, self._sum_s, self._seen = self._sum_s / self._seen, 0.0, 0
        self._best_s = min(self._best_s * FORGETS, self.mean_s)
        if self.mean_s > max(self._slow_s, SLOWER * self._best_s):
            self.cut(began, now)
