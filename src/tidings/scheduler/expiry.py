"""Tells in time that the certificate of an account ends: an event, a line in the log, and a gauge."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

import structlog

from tidings import accounts, clock, metrics
from tidings.db import AWAY, Pool

EVERY_S = 3600.0
AFTER_ERROR_S = 60.0
DAY_S = 86_400.0

log = structlog.get_logger("tidings.scheduler")


async def run(db: Pool, operators: Mapping[str, datetime] | None = None) -> None:
    """Runs until cancelled. Any number may run at once: one of them warns.

    `operators`: when a certificate of the operator's own accounts ends, by provider.
    """
    while True:
        sleep_s = EVERY_S
        try:
            await warn(db, operators or {})
        except AWAY as error:
            log.warning("expiry_waits", error=f"{type(error).__name__}: {error}")
            sleep_s = AFTER_ERROR_S
        await asyncio.sleep(sleep_s)


async def warn(db: Pool, operators: Mapping[str, datetime]) -> None:
    """One round: warn of what has come close to its end since the last one, and set the gauges."""
    now = clock.now()
    for account in await accounts.warn_of_ends(db, now):
        log.warning(
            "provider_expiring",
            account_id=account.id,
            project_id=account.project_id,
            provider=account.provider,
            expires_at=account.expires_at.isoformat(),
        )
    ends = await accounts.next_ends(db)
    for provider, expires_at in operators.items():
        if _days(expires_at, now) <= max(accounts.WARN_DAYS):
            log.warning("provider_expiring", account_id=0, provider=provider, expires_at=expires_at.isoformat())
        ends[provider] = min(expires_at, ends.get(provider, expires_at))
    for provider, expires_at in ends.items():
        metrics.PROVIDER_DAYS_LEFT.labels(provider).set(_days(expires_at, now))


def _days(expires_at: datetime, now: datetime) -> float:
    return (expires_at - now).total_seconds() / DAY_S
