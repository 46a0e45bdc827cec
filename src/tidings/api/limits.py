"""Rate limits per key and per project, and the headers that tell callers where they stand.

Off unless the settings name rates. When the bus can't tell (Redis is away), the critical lane and everything that is
not bulk go on, and bulk is refused: a broadcast can wait, a one-time password can't.
"""

import math
from typing import Any

import msgspec

from tidings.bus import Bus
from tidings.bus.limits import Rate, Verdict, rate_limit_headers
from tidings.errors import TooMany, Unavailable
from tidings.projects import Principal
from tidings.settings import Settings

STATE = "tidings_rate"  # in the scope: the verdict for this request, for the headers of its answer


class Limits:
    """Counts calls, and the items of batches, against the limits of a key and its project."""

    def __init__(self, settings: Settings, bus: Bus) -> None:
        self._bus = bus
        self._key_rate = _rate(settings.rate_per_key)
        self._project_rate = _rate(settings.rate_per_project)
        self.on = self._key_rate is not None or self._project_rate is not None

    async def check(self, scope: Any, principal: Principal) -> None:
        """Count a call. Raises `TooMany` (429) when a limit is used up. Notes in the scope where the caller stands."""
        await self._count(scope, principal, 1, before=0)

    async def check_items(self, scope: Any, principal: Principal, items: int) -> None:
        """Count the items of a batch; the call itself, which was counted by `check`, stands for one. Otherwise like it.

        More items than may come at once count as if they were so many: the batch needs all there is, and is let in.
        """
        if self.on and items > 1:
            await self._count(scope, principal, items - 1, before=1)

    async def _count(self, scope: Any, principal: Principal, cost: int, before: int) -> None:
        """The tighter of the two verdicts is noted, or the one that refuses. `before`: what this request has cost so
        far, and costs again when it is repeated."""
        tightest: Verdict | None = None
        for name, number, rate in (
            ("key", principal.key_id, self._key_rate),
            ("project", principal.project_id, self._project_rate),
        ):
            if rate is None:
                continue
            verdict = await self._bus.allow(f"{name}:{number}", rate, min(cost, rate.burst - before))
            if not verdict.permits(otherwise=True):
                wait_s = verdict.retry_after_s + before / rate.per_s
                scope[STATE] = msgspec.structs.replace(verdict, retry_after_s=wait_s)
                raise TooMany(f"More calls than this {name} may make. Try again in {max(1, math.ceil(wait_s))} s.")
            if tightest is None or not verdict.known or verdict.remaining < tightest.remaining:
                tightest = verdict
        scope[STATE] = tightest


def _rate(per_s: float) -> Rate | None:
    return Rate(per_s, max(1, math.ceil(per_s * 2))) if per_s > 0 else None


def raw_headers(scope: Any) -> list[tuple[bytes, bytes]]:
    """The headers for the answer to this request, `Retry-After` if it was refused; none without a limit."""
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
