"""Whether the vendor works: the share of calls that failed lately, and how long to leave it alone when it does not."""

from tidings.providers.contract import Outcome, Reason, Retry

SLOTS = 10
WORRYING = 0.1  # share of failures from which repeated calls are rationed
FAILURES = frozenset({Reason.UNAVAILABLE, Reason.TIMEOUT, Reason.CONNECTION})


def failed(outcome: Outcome) -> bool:
    """The vendor did not do its work. A refusal of an address, a message, a key or the speed is work well done."""
    return isinstance(outcome, Retry) and outcome.reason in FAILURES


class Window:
    """Answers and failures of the last `window_s` seconds, in ten slots. Not thread-safe."""

    def __init__(self, window_s: float, now: float) -> None:
        self._slot_s = window_s / SLOTS
        self._ends_at = now + self._slot_s
        self._slots: list[tuple[int, int]] = []
        self._answered = self._failed = 0  # in the slot that is open
        self._answered_before = self._failed_before = 0  # in the others

    def count(self, now: float, *, failed: bool) -> None:
        """One call ended. Any number of times."""
        if now >= self._ends_at:
            self._turn(now)
        if failed:
            self._failed += 1
        else:
            self._answered += 1

    def failures(self, now: float) -> tuple[int, int]:
        """How many failed, and of how many."""
        if now >= self._ends_at:
            self._turn(now)
        failed = self._failed + self._failed_before
        return failed, failed + self._answered + self._answered_before

    def clear(self, now: float) -> None:
        """Forget everything: the vendor begins anew."""
        self._slots.clear()
        self._answered = self._failed = self._answered_before = self._failed_before = 0
        self._ends_at = now + self._slot_s

    def _turn(self, now: float) -> None:
        gone = int((now - self._ends_at) / self._slot_s) + 1
        self._slots.append((self._answered, self._failed))
        self._slots += [(0, 0)] * (min(gone, SLOTS) - 1)
        del self._slots[: -(SLOTS - 1)]
        self._answered = self._failed = 0
        self._answered_before = sum(answered for answered, _ in self._slots)
        self._failed_before = sum(failed for _, failed in self._slots)
        self._ends_at += gone * self._slot_s


class Row:
    """Failures without a single answer between them. Not thread-safe.

    Calls that were on their way together may all fail by one broken connection: a row is `long` only when a call that
    began after its first failure failed, too.
    """

    def __init__(self, long: int) -> None:
        self._long = long
        self._failed = 0
        self._since = 0.0

    def answered(self) -> None:
        """The vendor answered a call: the row ends."""
        self._failed = 0

    def failed(self, began: float, now: float) -> bool:
        """One more call, begun then, failed now. True: the row is long."""
        if not self._failed:
            self._since = now
        self._failed += 1
        return self._failed >= self._long and began >= self._since


class RetryBudget:
    """Rations repeated calls while the vendor fails, so that an outage is not answered with more load.

    Each first call earns `share` of a repeated one; `spare` more may be spent. Not thread-safe.
    """

    def __init__(self, share: float, spare: int) -> None:
        self._share = share
        self._most = float(max(spare, 1))
        self._left = self._most

    def earn(self) -> None:
        """A first call was made."""
        self._left = min(self._most, self._left + self._share)

    @property
    def empty(self) -> bool:
        """Not one repeated call may be made."""
        return self._left < 1.0

    def spend(self) -> bool:
        """False: nothing is left, and nothing was spent."""
        if self.empty:
            return False
        self._left -= 1.0
        return True
