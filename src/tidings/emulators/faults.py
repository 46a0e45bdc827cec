"""Faults on command: what each emulated vendor does wrong now, and for how many more requests.

A `Plan` is set per vendor by `POST /control/faults` and stays until it is replaced, its `count` is used
up, or `DELETE /control/faults`. An `Effect` is what happens to one request; the vendor plays it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Annotated

from msgspec import Meta, Struct

from tidings.emulators.exchange import Answer, Drop, ErrorCode, GoAway, Reset, Response

Share = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[float, Meta(ge=0, le=120_000)]

# A vendor that never answers still has to let go some day; every sane client has given up by then.
NEVER_S = 120.0


class Plan(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one vendor does wrong. Shares are of its requests, between 0 and 1. Tried in this order: dead
    tokens, hang, drop, lost, reset, error.

    `latency_ms`: every answer comes this much later, plus up to `jitter_ms`. `error_rate`: answered `status`,
    with `retry_after_s` if given (the rate is 1 when only `count` or `status` is named). `drop_rate`: the
    connection is cut, not accepted. `lost_rate`: accepted, and then the connection is cut, so that the
    sender can't know. `reset_rate`: the stream is reset, not accepted. `hang_rate`: no answer ever, not
    accepted. `dead_tokens` are unregistered. `count`: how many more requests feel any of this.
    `lifetime_s`: of the access tokens given from now on (`oauth` only). `seed`: makes the chances repeatable.
    """

    latency_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0
    error_rate: Share | None = None
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    retry_after_s: Annotated[int, Meta(ge=0)] | None = None
    drop_rate: Share = 0
    lost_rate: Share = 0
    reset_rate: Share = 0
    hang_rate: Share = 0
    dead_tokens: frozenset[str] = frozenset()
    count: Annotated[int, Meta(ge=1)] | None = None
    lifetime_s: Annotated[int, Meta(ge=1, le=3600)] | None = None
    seed: int | None = None


class Effect(Struct, frozen=True):
    """What happens to one request. `answer` None: the ordinary one. `accepted`: taken before `answer`.

    `delay_s`: before anything happens. `goaway`: the connection says GOAWAY with the ordinary answer.
    """

    answer: Answer | None = None
    delay_s: float = 0.0
    accepted: bool = False
    goaway: bool = False


HANG = Effect(Drop(), delay_s=NEVER_S)
LOST = Effect(Drop(), accepted=True)


class Faults:
    """The plans of all vendors. `refusals`: for each, what makes its own error body of a status and
    a Retry-After in seconds."""

    def __init__(self, refusals: dict[str, Callable[[int, int | None], Response]]) -> None:
        self._refusals = refusals
        self._plans: dict[str, Plan] = {}
        self._left: dict[str, int] = {}
        self._chance = random.Random()

    @property
    def plans(self) -> dict[str, Plan]:
        """The plans in force, by vendor."""
        return dict(self._plans)

    def set(self, plans: dict[str, Plan]) -> None:
        """Replace the plans of the vendors named. Raises `KeyError` for a vendor that isn't emulated."""
        unknown = plans.keys() - self._refusals.keys()
        if unknown:
            raise KeyError(", ".join(sorted(unknown)))
        for vendor, plan in plans.items():
            self._plans[vendor] = plan
            self._left.pop(vendor, None)
            if plan.count is not None:
                self._left[vendor] = plan.count
            if plan.seed is not None:
                self._chance.seed(plan.seed)

    def clear(self) -> None:
        """End all faults. Twice is safe."""
        self._plans.clear()
        self._left.clear()

    def plan(self, vendor: str) -> Plan | None:
        """The plan in force for a vendor, None when it behaves."""
        return self._plans.get(vendor)

    def effect(self, vendor: str, token: str | None = None) -> Effect | None:
        """What the vendor's plan does to this request, None for nothing. Counts it against `count`."""
        plan = self._plans.get(vendor)
        if plan is None:
            return None
        effect = self._choose(vendor, plan, token)
        if effect is not None and vendor in self._left:
            self._left[vendor] -= 1
            if self._left[vendor] == 0:
                del self._plans[vendor], self._left[vendor]
        return effect

    def _choose(self, vendor: str, plan: Plan, token: str | None) -> Effect | None:
        delay_s = (plan.latency_ms + plan.jitter_ms * self._chance.random()) / 1000
        refusal = self._refusals[vendor]
        if token is not None and token in plan.dead_tokens:
            return Effect(refusal(404, None), delay_s)
        if self._hit(plan.hang_rate):
            return HANG
        if self._hit(plan.drop_rate):
            return Effect(Drop(), delay_s)
        if self._hit(plan.lost_rate):
            return Effect(Drop(), delay_s, accepted=True)
        if self._hit(plan.reset_rate):
            return Effect(Reset(ErrorCode.INTERNAL_ERROR), delay_s)
        if self._hit(_error_rate(plan)):
            return Effect(refusal(plan.status or 503, plan.retry_after_s), delay_s)
        return Effect(delay_s=delay_s) if delay_s else None

    def _hit(self, share: float) -> bool:
        return share > 0 and self._chance.random() < share


def _error_rate(plan: Plan) -> float:
    if plan.error_rate is not None:
        return plan.error_rate
    if plan.status is not None or plan.retry_after_s is not None:
        return 1.0
    other = plan.lifetime_s or plan.latency_ms or plan.jitter_ms or plan.drop_rate or plan.lost_rate or plan.reset_rate
    nothing_else = not (other or plan.hang_rate or plan.dead_tokens)
    return 1.0 if plan.count is not None and nothing_else else 0.0


def play(effect: Effect, accept: Callable[[], Response]) -> Answer | Awaitable[Answer]:
    """Let the effect happen. `accept` takes the message for good and gives the ordinary answer."""
    if effect.delay_s:
        return _later(effect, accept)
    return _now(effect, accept)


async def _later(effect: Effect, accept: Callable[[], Response]) -> Answer:
    # Cancelled when the peer gives up: then the message was not taken, unless the effect says otherwise.
    await asyncio.sleep(effect.delay_s)
    return _now(effect, accept)


def _now(effect: Effect, accept: Callable[[], Response]) -> Answer:
    if effect.answer is not None and not effect.accepted:
        return effect.answer
    reply = accept()
    if effect.answer is not None:
        return effect.answer
    return GoAway(reply) if effect.goaway else reply
