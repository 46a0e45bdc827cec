"""What a pace shows of itself: metrics by provider, and a call when the state of its account changes."""

from collections.abc import Callable
from enum import StrEnum

from tidings import metrics
from tidings.providers.contract import Reason
from tidings.worker.holds import Holds


class State(StrEnum):
    """Of an account. `closed` is the circuit breaker's word for: in use."""

    CLOSED = "closed"
    OPEN = "open"  # the vendor fails; no call is made
    HALF_OPEN = "half_open"  # … and one call at a time finds out whether it still does
    RESTING = "resting"  # the vendor asked us to slow down
    PAUSED = "paused"  # it refuses our credentials or configuration
    MASS_FAILURE = "mass_failure"  # it refuses every address


# Called with the new state and its reason (None: in use). It must not raise and must not wait.
OnChange = Callable[[State, Reason | None], None]


class Watch:
    """Tells what changed, and only that. `close` takes its account out of the metrics."""

    def __init__(self, provider: str, on_change: OnChange | None) -> None:
        self.state = State.CLOSED
        self._reason: Reason | None = None
        self._places = 0
        self._provider = provider
        self._on_change = on_change
        self._closed = False
        metrics.PACE_STATE.labels(provider, self.state).inc()

    def look(self, holds: Holds) -> None:
        """Tell the state, if it or its reason is new. Any number of times."""
        first = holds.first
        state, reason = (State.CLOSED, None) if first is None else (State(first.kind), first.reason)
        if state is State.OPEN and (holds.probing or holds.proving):
            state = State.HALF_OPEN
        if state is self.state and reason is self._reason:
            return
        if state is not self.state and not self._closed:
            metrics.PACE_STATE.labels(self._provider, self.state).dec()
            metrics.PACE_STATE.labels(self._provider, state).inc()
        self.state, self._reason = state, reason
        if self._on_change is not None:
            self._on_change(state, reason)

    def places(self, places: int) -> None:
        """How many calls may be in flight."""
        if places != self._places and not self._closed:
            metrics.PACE_PLACES.labels(self._provider).inc(places - self._places)
            self._places = places

    def held_back(self, what: str) -> None:
        """A call was not made."""
        metrics.PACE_HELD_BACK.labels(self._provider, what).inc()

    def waited(self, wait_s: float) -> None:
        """A call waited for its turn."""
        metrics.PACE_WAIT.labels(self._provider).observe(wait_s)

    def close(self) -> None:
        """The account is used no more. Twice is safe."""
        self.places(0)
        if not self._closed:
            metrics.PACE_STATE.labels(self._provider, self.state).dec()
        self._closed = True
