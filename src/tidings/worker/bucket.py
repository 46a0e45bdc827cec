"""The quota of an account: a token bucket, a share of which is kept for urgent calls, and a rate that learns.

The vendor's declared rate is the most. When it says "too fast" all the same, the rate falls below what it took
lately, and comes back along a cubic curve: quickly at first, slowly near the rate that was too much, then on.
The curve is the one of CUBIC (RFC 9438 §4.2), with the time to come back chosen by how long the vendor made us rest.
"""

import math

LESS = 0.7  # of the rate that was too much
COMES_BACK_S = 30.0  # until the rate that was too much is reached again, at least
ALMOST = 1e-9  # what sums of floats may lack
RESTS = 4.0  # … and in rests of the vendor's choice: at most a fifth of the time is spent resting
FAR = 0.9  # of the rate that was too much: a refusal below that says that it was wrong by far
SLOWEST_PER_S = 0.2
FORGOTTEN = 8.0  # times the rate that was too much: from there on it limits nothing, where the vendor names no rate
LEARNED_BURST_S = 0.25  # so much of a second may be sent at once at a learned rate


class Bucket:
    """Tokens for calls. Times are seconds of one clock that never goes back. Not thread-safe.

    `rate_per_s` None: unlimited until `too_fast`. `share`: of the burst, for urgent calls only.
    """

    def __init__(self, rate_per_s: float | None, burst: int, share: float, now: float) -> None:
        self._declared = math.inf if rate_per_s is None else rate_per_s
        self._burst = float(burst)
        self._share = share
        self._tokens = float(burst)
        self._at = now
        self._learned: tuple[float, float, float] | None = None  # too much, since, comes back after
        self._leasing = False
        self._usually(self._declared, self._burst)

    @property
    def slowed(self) -> bool:
        """The vendor said "too fast", and the rate has not come back yet."""
        return self._learned is not None

    def rate(self, now: float) -> float:
        """Calls a second at this moment; infinity: no limit."""
        if self._learned is None:
            return self._declared
        much, since, back_s = self._learned
        learned = much * (1 + (1 - LESS) * max(-1.0, (now - since - back_s) / back_s) ** 3)
        if learned >= (much * FORGOTTEN if self._declared == math.inf else self._declared):
            self._learned = None
            return self._declared
        return max(SLOWEST_PER_S, learned)

    def take(self, now: float, *, urgent: bool) -> float:
        """0.0: a token was taken. Otherwise seconds until one may be there, if nobody else takes it."""
        if self._learned is None:
            if self._declared == math.inf:
                return 0.0
            rate, burst, kept = self._inflow, self._most, self._kept
        else:
            rate = self.rate(now)
            if rate == math.inf:
                return 0.0
            burst = self._learned_burst(rate)
            kept = self._kept_of(burst)
        tokens = self._tokens + (now - self._at) * rate
        if tokens > burst and rate:
            tokens = burst
        self._at = now
        needed = 1.0 if urgent else 1.0 + kept
        if tokens >= needed - ALMOST:
            self._tokens = tokens - 1.0
            return 0.0
        self._tokens = tokens
        return (needed - tokens) / (rate or self._declared)

    def grant(self, tokens: int, block: int) -> None:
        """Tokens that were leased from what all processes share, who take it a block at a time; 0: none were there."""
        if not self._leasing:
            self._tokens = min(self._tokens, float(block))
            self._leasing = True
            self._usually(0.0, float(block))
        self._tokens += tokens

    def alone(self, now: float, part: float) -> None:
        """Nothing can be leased now: take this part of the declared rate, and of the burst."""
        self._leasing = False
        self._at = now
        self._usually(self._declared * part, max(1.0, self._burst * part))
        self._tokens = min(self._tokens, self._most)

    @property
    def left(self) -> float:
        """Tokens that were there when the last one was asked for, and have not been taken."""
        return self._tokens

    def too_fast(self, now: float, took_per_s: float, rest_s: float) -> None:
        """The vendor refused for speed, took so much lately, and lets us rest for so long from now."""
        rate = self.rate(now)
        much = min(took_per_s, rate)
        if self._learned is not None and rate < FAR * self._learned[0]:
            much *= LESS  # come down faster (the idea of RFC 9438 §4.7)
        much = max(much, SLOWEST_PER_S)
        self._learned = (much, now + rest_s, max(COMES_BACK_S, RESTS * rest_s))
        self._tokens, self._at = min(self._tokens, 1.0), now

    def rest_on(self, now: float, rest_s: float) -> None:
        """The vendor wants a longer rest. It saw too little of us since for this to say anything about the rate."""
        if self._learned is not None:
            self._learned = (self._learned[0], now + rest_s, max(COMES_BACK_S, RESTS * rest_s))

    def _usually(self, inflow: float, most: float) -> None:
        """While nothing was learned: tokens a second, and how many there can be."""
        self._inflow, self._most, self._kept = inflow, most, self._kept_of(most)

    def _kept_of(self, burst: float) -> float:
        """The tokens that only urgent calls may take. A single one can't be shared."""
        return min(self._share * burst, burst - 1.0)

    def _learned_burst(self, rate: float) -> float:
        burst = rate * LEARNED_BURST_S
        return max(1.0, burst if self._declared == math.inf else min(burst, self._burst))
