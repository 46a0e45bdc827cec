"""Rate limits: the generic cell rate algorithm (GCRA), in one number for each key.

The number is the *theoretical arrival time*: when the bucket will be empty again. It is what a leaky bucket
knows, without a timer and without a count (ITU-T I.371, annex A, is where the algorithm comes from). The Lua
text in `lua.py` computes the same with the clock of Redis; the conformance suite holds the two together.
"""

import math
from collections import OrderedDict

from msgspec import Struct

MOST_KEYS = 100_000
ALMOST = 1e-6  # what sums of floats may lack


class Rate(Struct, frozen=True):
    """`per_s` a second in the long run, `burst` at once. ValueError when either makes no sense."""

    per_s: float
    burst: int

    def __post_init__(self) -> None:
        if not (0 < self.per_s <= 1_000_000 and self.burst >= 1):
            raise ValueError("a rate needs per_s above 0 (up to a million) and burst of at least 1")

    def check(self, cost: int) -> None:
        """Raises ValueError for a cost that could never be allowed, or is below 0. A cost of 0 only looks."""
        if not 0 <= cost <= self.burst:
            raise ValueError(f"a cost of {cost} does not fit a burst of {self.burst}")


class Verdict(Struct, frozen=True):
    """Whether it is allowed, and what to tell the caller. Times in seconds from now.

    limit: the burst. remaining: how much could be had at once after this. reset_s: when all of the burst is
    there again. retry_after_s: when the same cost would be allowed, 0 when it was. known: False when the bus
    could not tell; then nothing else here means anything.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    retry_after_s: float
    known: bool = True

    @classmethod
    def unknown(cls, rate: Rate) -> "Verdict":
        """The bus did not answer. `allowed` is False, for who does not look closer."""
        return cls(False, rate.burst, 0, 0.0, 0.0, known=False)

    def permits(self, *, otherwise: bool) -> bool:
        """The answer, or `otherwise` when it is not known: True fails open, False fails closed."""
        return self.allowed if self.known else otherwise


def gcra(full_at: float | None, now: float, rate: Rate, cost: int) -> tuple[Verdict, float]:
    """The verdict, and the number to keep for the key. `full_at` is the number kept before, None for none;
    both and `now` are seconds of one clock."""
    interval = 1 / rate.per_s
    room = interval * rate.burst
    before = now if full_at is None else max(full_at, now)
    after = before + interval * cost
    wait = after - room - now
    allowed = wait <= ALMOST * interval
    kept = after if allowed else before
    remaining = math.floor((room - (kept - now)) / interval + ALMOST)
    return Verdict(allowed, rate.burst, max(0, remaining), kept - now, 0.0 if allowed else wait), kept


class Buckets:
    """The limits of one process. Holds `most_keys` numbers; then the key that was asked about least recently
    is forgotten, which is generous to it and to nobody else."""

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self._most_keys = most_keys
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def allow(self, key: str, now: float, rate: Rate, cost: int) -> Verdict:
        """See `Bus.allow`. `now`: seconds of a clock that never goes back."""
        rate.check(cost)
        verdict, full_at = gcra(self._full_at.get(key), now, rate, cost)
        if full_at > now:
            self._full_at[key] = full_at
            self._full_at.move_to_end(key)
        if len(self._full_at) > self._most_keys:
            self._full_at.popitem(last=False)
        return verdict


def rate_limit_headers(verdict: Verdict) -> list[tuple[str, str]]:
    """The `RateLimit-*` header fields (draft-ietf-httpapi-ratelimit-headers-06 §3) and, for a refusal,
    `Retry-After` (RFC 9110 §10.2.3). Whole seconds, rounded up. Empty when the verdict is not known."""
    if not verdict.known:
        return []
    headers = [
        ("RateLimit-Limit", str(verdict.limit)),
        ("RateLimit-Remaining", str(verdict.remaining)),
        ("RateLimit-Reset", str(math.ceil(verdict.reset_s))),
    ]
    if not verdict.allowed:
        headers.append(("Retry-After", str(max(1, math.ceil(verdict.retry_after_s)))))
    return headers
