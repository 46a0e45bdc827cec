"""Rate limits per key and per project, and the headers that tell callers where they stand.

Off unless the settings name rates. When the bus can't tell (Redis is away), the critical lane and everything that is
not bulk go on, and bulk is refused: a broadcast can wait, a one-time password can't.
"""

import math
from typing import Any

from tidings.bus import Bus
from tidings.bus.limits import Rate, Verdict, rate_limit_headers
from tidings.errors import TooMany, Unavailable
from tidings.projects import Principal
from tidings.settings import Settings

STATE = "tidings_rate"  # in the scope: the verdict for this request, for the headers of its answer


class Limits:
    """`check` counts a call against its key and its project."""

    def __init__(self, settings: Settings, bus: Bus) -> None:
        self._bus = bus
        self._key_rate = _rate(settings.rate_per_key)
        self._project_rate = _rate(settings.rate_per_project)
        self.on = self._key_rate is not None or self._project_rate is not None

    async def check(self, principal: Principal, cost: int = 1) -> Verdict | None:
        """The tighter of the two verdicts; None: there is no limit. Raises `TooMany` (429) when one is used up."""
        tightest: Verdict | None = None
        for name, number, rate in (
            ("key", principal.key_id, self._key_rate),
            ("project", principal.project_id, self._project_rate),
        ):
            if rate is None:
                continue
            verdict = await self._bus.allow(f"{name}:{number}", rate, min(cost, rate.burst))
            if not verdict.permits(otherwise=True):
                wait_s = max(1, math.ceil(verdict.retry_after_s))
                raise TooMany(
                    f"More calls than this {name} may make. Try again in {wait_s} s.",
                    headers={"Retry-After": str(wait_s), **dict(rate_limit_headers(verdict))},
                )
            if tightest is None or not verdict.known or verdict.remaining < tightest.remaining:
                tightest = verdict
        return tightest


def _rate(per_s: float) -> Rate | None:
    return Rate(per_s, max(1, math.ceil(per_s * 2))) if per_s > 0 else None


def raw_headers(scope: Any) -> list[tuple[bytes, bytes]]:
    """The headers for the answer to this request; none without a limit."""
    verdict: Verdict | None = scope.get(STATE)
    if verdict is None or not verdict.known:
        return []
    return [(name.lower().encode(), value.encode()) for name, value in rate_limit_headers(verdict)]


def refuse_bulk_unless_known(scope: Any, lane: str) -> None:
    """Raises `Unavailable` for the bulk lane while nobody can tell whether the limit is used up."""
    verdict: Verdict | None = scope.get(STATE)
    if verdict is not None and not verdict.known and lane == "bulk":
        raise Unavailable(
            "Rate limits can't be checked for the moment, and bulk waits until they can.",
            headers={"Retry-After": "5"},
        )
