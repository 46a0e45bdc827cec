"""The demo user of embedded mode: reachable on every channel that an emulator plays, and sent a first notification."""

import asyncio
import time

import msgspec
from msgspec import Struct

from tidings import deliveries, devices, notifications, users
from tidings.app import App
from tidings.deliveries import Delivery
from tidings.devices import NewDevice
from tidings.emulators import Emulators
from tidings.notifications import Accepted, Entry, Notification
from tidings.notifications import NewNotification as New
from tidings.projects import DEFAULT_PROJECT_ID
from tidings.users import NewUser

DEMO_USER = "demo"
DEMO_PHONE = "confirming-demo-phone"  # the emulator's phone of this name confirms what it gets
DEMO_IPHONE = "7d" * 32
DEMO_EMAIL = "demo@example.com"
DEMO_NUMBER = "+12025550123"
WALK_TIMEOUT_S = 10.0
CHANNELS = ("push", "email", "sms")


class Walk(Struct, frozen=True):
    """What became of the first notification, so far."""

    notification: Notification
    deliveries: list[Delivery]


async def meet(app: App) -> tuple[int, Walk | None]:
    """The demo user's id. At the first start the user is made, and the first notification sent and followed."""
    if app.emulators is not None:
        app.emulators.phones.register(DEMO_IPHONE, confirms=True)
    known = await users.list_users(app.db, DEFAULT_PROJECT_ID, 0, 1, DEMO_USER, None)
    if known:
        user_id = known[0].id
        await open_browser(app, user_id)
        return user_id, None
    new = NewUser(external_id=DEMO_USER, name="Demo User", email=DEMO_EMAIL, phone=DEMO_NUMBER)
    user_id = (await users.create(app.db, DEFAULT_PROJECT_ID, new)).id
    await devices.register(app.db, DEFAULT_PROJECT_ID, user_id, NewDevice(DEMO_PHONE, "android"))
    await devices.register(app.db, DEFAULT_PROJECT_ID, user_id, NewDevice(DEMO_IPHONE, "ios"))
    await open_browser(app, user_id)
    return user_id, await follow(app, await send_first(app, user_id))


async def open_browser(app: App, user_id: int) -> None:
    """A new emulated browser for the user. Those of earlier starts are closed: the emulators keep none."""
    if app.emulators is None or app.services.vapid_public_key is None:
        return
    for device in await devices.list_devices(app.db, DEFAULT_PROJECT_ID, user_id, 0, 100):
        if device.device_type == "web":
            await devices.unregister(app.db, DEFAULT_PROJECT_ID, user_id, device.id)
    subscription = subscribe(app.emulators, app.services.vapid_public_key)
    await devices.register(app.db, DEFAULT_PROJECT_ID, user_id, NewDevice(subscription, "web"))


def subscribe(emulators: Emulators, server_key: str) -> str:
    """A subscription of an emulated browser that confirms what it gets, as JSON."""
    made = emulators.webpush.subscribe(server_key=server_key, confirms=True)
    return msgspec.json.encode(made).decode()


async def send_first(app: App, user_id: int) -> Accepted:
    """Accept the first notification, to all that is emulated."""
    channels = [channel for channel in CHANNELS if app.emulators is not None or channel == "push"]
    new = New(
        user_id,
        "Good tidings",
        "Your first notification has arrived.",
        {"demo": True},
        channels=channels,  # type: ignore[arg-type] # they are channels
    )
    return await app.services.intake.accept(Entry(DEFAULT_PROJECT_ID, new, app.settings.default_ttl_s))


async def follow(app: App, accepted: Accepted) -> Walk:
    """Wait until all of it has arrived, as far as it does, or time is up. An email is never known to be read."""
    deadline = time.monotonic() + WALK_TIMEOUT_S
    while True:
        row = await notifications.get_row(app.db, DEFAULT_PROJECT_ID, accepted.id)
        made = await deliveries.of_notification(app.db, accepted.id, row["suppressions"] or ())
        arrived = all(one.status == "delivered" or (one.channel, one.status) == ("email", "sent") for one in made)
        if (made and arrived) or time.monotonic() > deadline:
            return Walk(notifications.shown(row), made)
        await asyncio.sleep(0.02)
