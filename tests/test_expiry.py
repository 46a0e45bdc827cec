"""Certificates that end: each distance is told once, by whichever scheduler comes first."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.conftest import Project
from tidings import accounts, clock, metrics
from tidings.accounts import NewAccount
from tidings.app import App
from tidings.emulators import apns_certificates
from tidings.scheduler import expiry
from tidings.vault import vault_of

VAULT = vault_of(b"the secret of an installation, long enough")
TOPIC = "com.example.shop"


async def add(app: App, project: Project, days: float, **fields: Any) -> int:
    """An account whose certificate ends in so many days; certificates begin a day ago."""
    pem = apns_certificates.make(TOPIC, timedelta(days=days + 1)).pem
    new = NewAccount("apns", f"Apple, {days} days", {"certificate": pem}, **fields)
    return (await accounts.create(app.db, VAULT, project.id, new, accounts.read("apns", False, new.credentials))).id


async def told(app: App, project: Project) -> list[dict[str, Any]]:
    rows = await app.db.fetch(
        "SELECT data FROM events WHERE project_id = $1 AND type = 'provider.expiring' ORDER BY id", project.id
    )
    return [msgspec.json.decode(row["data"]) for row in rows]


async def sooner(app: App, account_id: int, days: float) -> None:
    """Time passes: the end comes nearer, and what was told was told that much longer ago."""
    await app.db.execute(
        "UPDATE provider_accounts SET expires_at = expires_at - $2::interval, warned_at = warned_at - $2::interval "
        "WHERE id = $1",
        account_id,
        timedelta(days=days),
    )


async def test_each_distance_is_told_once(app: App, project: Project) -> None:
    account_id = await add(app, project, 40)
    for passed, so_far in ((0, []), (11, [28]), (1, [28]), (21.5, [28, 6]), (6, [28, 6, 0]), (3, [28, 6, 0])):
        await sooner(app, account_id, passed)
        await expiry.warn(app.db, {})
        await expiry.warn(app.db, {})
        assert [event["days_left"] for event in await told(app, project)] == so_far, passed
    [first, *_] = await told(app, project)
    assert (first["account_id"], first["provider"], first["name"]) == (account_id, "apns", "Apple, 40 days")


async def test_who_comes_late_is_told_once_for_all_distances(app: App, project: Project) -> None:
    await add(app, project, 0.5)
    await expiry.warn(app.db, {})
    await expiry.warn(app.db, {})
    assert len(await told(app, project)) == 1


async def test_of_several_schedulers_one_warns(app: App, project: Project) -> None:
    await add(app, project, 5)
    await asyncio.gather(*(expiry.warn(app.db, {}) for _ in range(8)))
    assert len(await told(app, project)) == 1


async def test_what_is_switched_off_or_far_away_is_not_told(app: App, project: Project) -> None:
    await add(app, project, 5, enabled=False)
    await add(app, project, 300)
    await expiry.warn(app.db, {})
    assert await told(app, project) == []


async def test_a_renewed_certificate_begins_anew(app: App, project: Project) -> None:
    account_id = await add(app, project, 5)
    await expiry.warn(app.db, {})
    for days in (5, 300):
        pem = apns_certificates.make(TOPIC, timedelta(days=days + 1)).pem
        read = accounts.read("apns", False, {"certificate": pem})
        await accounts.change(app.db, VAULT, project.id, account_id, accounts.AccountChange(), read)
        await expiry.warn(app.db, {})
    assert len(await told(app, project)) == 2


async def test_the_gauge_has_the_first_end_of_all(app: App, project: Project) -> None:
    await app.db.execute("DELETE FROM provider_accounts WHERE expires_at IS NOT NULL")
    await add(app, project, 90)
    await expiry.warn(app.db, {})
    assert gauge("apns") == pytest.approx(90, abs=0.1)
    await expiry.warn(app.db, {"apns": clock.now() + timedelta(days=-2)})
    assert gauge("apns") == pytest.approx(-2, abs=0.1)


def gauge(provider: str) -> float:
    value = metrics.REGISTRY.get_sample_value("tidings_provider_days_left", {"provider": provider})
    assert value is not None
    return value
