"""What keeps calls with an account back: up to four holds at once, each with its own end and its own proof.

    paused         the vendor refused credentials or configuration   ended by any answer that shows they are good
    mass failure   it refused one address after the other            ended by an accepted message
    resting        it asked us to slow down                          ended when it asks no more
    open           it fails: the circuit breaker                     ended by a few answers in a row

While one of them lasts no call is made. Then one goes first, the probe, and no other until it is back.
"""

import math
from collections.abc import Callable
from enum import StrEnum

import msgspec
from msgspec import Struct

from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.worker.breaker import failed
from tidings.worker.limits import Limits
from tidings.worker.mass_failure import blames_address

# These concern one platform or one push service behind the account, not all of it.
OF_ONE_VENDOR = frozenset({Reason.VENDOR_CREDENTIALS, Reason.PUSH_SERVICE_CREDENTIALS})
LONGEST_REST_S = 3600.0
LOST_PROBE_S = 120.0  # longer than any call: whoever was to bring the answer is gone
CLOCKS_S = 0.001  # by which durations that others measured may be off
JITTER = 0.25  # processes that opened together do not probe together


class Kind(StrEnum):
    """Why calls are kept back. The first in this order names the state of the account."""

    PAUSED = "paused"
    MASS_FAILURE = "mass_failure"
    OPEN = "open"
    RESTING = "resting"


class Hold(Struct, frozen=True):
    """One hold. `until`: on the clock of the pace; then it ends if a probe says so."""

    kind: Kind
    until: float
    reason: Reason
    detail: str


def of_account(outcome: Outcome) -> bool:
    """The vendor refuses the whole account."""
    return isinstance(outcome, Paused) and outcome.reason not in OF_ONE_VENDOR


def too_fast(outcome: Outcome) -> bool:
    """The vendor is slowing the whole account."""
    return isinstance(outcome, Retry) and outcome.account_wide


class Holds:
    """The holds of one account. Times are seconds of one clock that never goes back. Not thread-safe.

    `chance` gives numbers from 0 to 1.
    """

    def __init__(self, limits: Limits, chance: Callable[[], float]) -> None:
        self._limits = limits
        self._chance = chance
        self._holds: dict[Kind, Hold] = {}
        self._probe_at: float | None = None
        self._answers = 0  # of probes in a row, while open
        self._open_s = limits.open_s
        self._closed_at = -math.inf
        self._doubt_s = limits.doubt_s
        self.any = False

    def has(self, kind: Kind) -> bool:
        """Whether there is such a hold."""
        return kind in self._holds

    @property
    def first(self) -> Hold | None:
        """The hold that names the state of the account; None: none."""
        return next((self._holds[kind] for kind in Kind if kind in self._holds), None)

    @property
    def probing(self) -> bool:
        """A probe is on its way."""
        return self._probe_at is not None

    @property
    def proving(self) -> bool:
        """Some probes of a vendor that failed came back well, and more are needed."""
        return self._answers > 0

    def keeps_back(self, now: float) -> Hold | None:
        """The hold that lasts longest; None: one call may go, as the probe (say so with `probe`)."""
        longest = max(self._holds.values(), key=lambda hold: hold.until)
        lost = self._probe_at is not None and now >= self._probe_at + LOST_PROBE_S
        return None if now >= longest.until and (self._probe_at is None or lost) else longest

    def probe(self, now: float) -> None:
        """The probe begins."""
        self._probe_at = now

    def give_up(self) -> None:
        """A call was given up, perhaps the probe: another one may be it."""
        self._probe_at = None

    def open(self, now: float) -> None:
        """The vendor fails. Longer than the last time when that was not long ago."""
        if not self.has(Kind.OPEN) and now - self._closed_at > 2 * self._limits.longest_open_s:
            self._open_s = self._limits.open_s
        lasts_s = self._open_s * (1 + JITTER * self._chance())
        self._open_s = min(self._open_s * 2, self._limits.longest_open_s)
        self._answers = 0
        self._put(Hold(Kind.OPEN, now + lasts_s, Reason.UNAVAILABLE, "the vendor fails; calls wait until it answers"))

    def doubt(self, now: float) -> None:
        """The account must be at fault: too many addresses were refused. Longer each time in a row."""
        until = now + self._doubt_s
        self._doubt_s = min(self._doubt_s * 2, self._limits.longest_doubt_s)
        detail = "one address after the other was refused; is this the right account?"
        self._put(Hold(Kind.MASS_FAILURE, until, Reason.MASS_FAILURE, detail))

    def learn(self, outcome: Outcome, began: float, now: float) -> list[Kind]:
        """What became of a call that began then; answers the kinds of hold that it ended."""
        before = list(self._holds)
        if isinstance(outcome, Sent):
            self._end(Kind.MASS_FAILURE)
            self._doubt_s = self._limits.doubt_s
        if self._probe_at is not None and began >= self._probe_at - CLOCKS_S:
            self._probe_at = None
            self._learn_from_probe(outcome, now)
        if isinstance(outcome, Paused) and of_account(outcome):
            until = now + min(max(outcome.after_s, 0.0), LONGEST_REST_S)
            self._put(Hold(Kind.PAUSED, until, outcome.reason, outcome.detail))
        elif isinstance(outcome, Retry) and outcome.account_wide:
            self._put(Hold(Kind.RESTING, now + self.rest_s(outcome), outcome.reason, "the vendor asked us to wait"))
        return [kind for kind in before if kind not in self._holds]

    def rest_s(self, outcome: Retry) -> float:
        """Seconds to rest, as long as the vendor asks, up to an hour."""
        asked_s = self._limits.open_s if outcome.after_s is None else outcome.after_s
        return min(max(asked_s, 0.0), LONGEST_REST_S)

    def _learn_from_probe(self, outcome: Outcome, now: float) -> None:
        again_at = now + self._limits.open_s
        if self.has(Kind.PAUSED) and not of_account(outcome):
            if isinstance(outcome, Sent | Rejected | Gone | Paused):
                self._end(Kind.PAUSED)
            else:  # it says nothing about the credentials
                self._prolong(Kind.PAUSED, again_at)
        if self.has(Kind.MASS_FAILURE):
            if blames_address(outcome):
                self.doubt(now)
            else:
                self._prolong(Kind.MASS_FAILURE, again_at)
        if not too_fast(outcome):
            self._end(Kind.RESTING)
        if self.has(Kind.OPEN):
            if failed(outcome):
                self.open(now)
                return
            self._answers += 1
            if self._answers >= self._limits.probes:
                self._end(Kind.OPEN)
                self._answers = 0
                self._closed_at = now

    def _put(self, hold: Hold) -> None:
        """A hold never becomes shorter by another one of its kind."""
        last = self._holds.get(hold.kind)
        if last is not None and last.until > hold.until:
            hold = msgspec.structs.replace(hold, until=last.until)
        self._holds[hold.kind] = hold
        self.any = True

    def _prolong(self, kind: Kind, until: float) -> None:
        self._put(msgspec.structs.replace(self._holds[kind], until=until))

    def _end(self, kind: Kind) -> None:
        self._holds.pop(kind, None)
        self.any = bool(self._holds)
