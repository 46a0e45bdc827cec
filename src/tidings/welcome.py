"""What `tidings serve` prints when it is up: the walk of a first notification, then where things are."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime

from tidings import devices, notifications, users
from tidings.app import App
from tidings.devices import NewDevice
from tidings.notifications import Accepted, Entry, NewNotification
from tidings.projects import DEFAULT_PROJECT_ID
from tidings.users import NewUser

DEMO_USER = "demo"
DEMO_PHONE = "confirming-demo-phone"  # the emulator's phone of this name confirms what it gets
DEMO_IPHONE = "7d" * 32  # made to confirm by `demo`
WALK_TIMEOUT_S = 10.0


async def welcome(app: App) -> None:
    """Print it. At the first start of embedded mode a demo user is made, and a notification sent to their phone."""
    if not app.api_url:
        return
    user_id = 1
    if app.settings.embedded and app.settings.demo and app.emulator_url:
        user_id = await demo(app)
    print("\n".join(addresses(app, user_id)), flush=True)


async def demo(app: App) -> int:
    """The demo user's id. The user is made at the first start, with a phone and a first notification."""
    if app.emulators is not None:
        app.emulators.phones.register(DEMO_IPHONE, confirms=True)
    known = await users.list_users(app.db, DEFAULT_PROJECT_ID, 0, 1, DEMO_USER, None)
    if known:
        return known[0].id
    user = await users.create(app.db, DEFAULT_PROJECT_ID, NewUser(external_id=DEMO_USER, name="Demo User"))
    await devices.register(app.db, DEFAULT_PROJECT_ID, user.id, NewDevice(DEMO_PHONE, "android"))
    await devices.register(app.db, DEFAULT_PROJECT_ID, user.id, NewDevice(DEMO_IPHONE, "ios"))
    new = NewNotification(user.id, "Good tidings", "Your first notification has arrived.", {"demo": True})
    accepted = await app.services.intake.accept(Entry(DEFAULT_PROJECT_ID, new, app.settings.default_ttl_s))
    print("\n".join(await walk(app, accepted)), flush=True)
    return user.id


async def walk(app: App, accepted: Accepted) -> list[str]:
    """Follow a notification until it is delivered, and tell it."""
    deadline = time.monotonic() + WALK_TIMEOUT_S
    while True:
        row = await notifications.get_row(app.db, DEFAULT_PROJECT_ID, accepted.id)
        if row["status"] == "delivered" or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.02)
    steps: Sequence[tuple[str, datetime | None]] = (
        ("accepted", row["created_at"]),
        ("sent", row["sent_at"]),
        ("delivered", row["delivered_at"]),
    )
    lines = ["", f"The first notification (id {accepted.id}) went to the emulated phones of the demo user:"]
    for step, at in steps:
        when = f"{at:%H:%M:%S.%f}"[:-3] + "Z" if at else "not yet"
        after = f"  +{(at - row['created_at']).total_seconds() * 1000:.0f} ms" if at and step != "accepted" else ""
        lines.append(f"  {step:10} {when}{after}")
    return lines


def addresses(app: App, user_id: int) -> list[str]:
    """Where things are, and one line to send another."""
    key = app.new_key or "$TIDINGS_API_KEY"
    lines = ["", f"  API        {app.api_url}/api", f"  docs       {app.api_url}/docs"]
    if app.gateway_url:
        lines.append(f"  WebSocket  {app.gateway_url}")
    if app.emulator_url:
        lines.append(f"  emulators  {app.emulator_url}/phones (what the emulated phones received)")
    if app.new_key:
        lines.append(f"  API key    {app.new_key}   (shown this once)")
    elif app.settings.api_key.get_secret_value():
        lines.append("  API key    the one in TIDINGS_API_KEY")
    else:
        lines.append("  API key    printed at the first start; `tidings keys create --scopes admin` makes another")
    body = f'{{"user_id": {user_id}, "title": "Hello", "body": "Sent by hand"}}'
    return [
        *lines,
        "",
        "  Send another:",
        f"  curl {app.api_url}/api/notifications -H 'X-API-Key: {key}' -d '{body}'",
        "",
    ]
