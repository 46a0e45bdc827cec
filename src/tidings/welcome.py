"""What `tidings serve` prints when it is up: the walk of a first notification, then where things are."""

from collections.abc import Sequence
from datetime import datetime

from tidings.app import App
from tidings.demo import DEMO_EMAIL, DEMO_NUMBER, Walk, meet

WHERE = {"fcm": "phone", "apns": "iPhone", "webpush": "browser", "smtp": "mailbox", "twilio": "SMS inbox"}


async def welcome(app: App) -> None:
    """Print it. At the first start of embedded mode a demo user is made, and a notification sent to their phone."""
    if not app.api_url:
        return
    user_id = 1
    if app.settings.embedded and app.settings.demo and app.emulator_url:
        user_id, walk = await meet(app)
        if walk is not None:
            print("\n".join(told(walk)), flush=True)
    print("\n".join(addresses(app, user_id)), flush=True)


def told(walk: Walk) -> list[str]:
    """The walk of the first notification: its steps, then whom it reached."""
    notification = walk.notification
    steps: Sequence[tuple[str, datetime | None]] = (
        ("accepted", notification.created_at),
        ("sent", notification.sent_at),
        ("delivered", notification.delivered_at),
    )
    lines = ["", f"The first notification (id {notification.id}) went to the demo user, whose devices are emulated:"]
    for step, at in steps:
        when = f"{at:%H:%M:%S.%f}"[:-3] + "Z" if at else "not yet"
        took = f"  +{(at - notification.created_at).total_seconds() * 1000:.0f} ms" if at else ""
        after = "" if step == "accepted" else took
        lines.append(f"  {step:10} {when}{after}")
    for delivery in walk.deliveries:
        where = WHERE.get(delivery.provider or "", delivery.channel)
        lines.append(f"  {where:12} {delivery.status}{f' ({delivery.reason})' if delivery.reason else ''}")
    return lines


def addresses(app: App, user_id: int) -> list[str]:
    """Where things are, and one line to send another."""
    key = app.new_key or "$TIDINGS_API_KEY"
    lines = ["", f"  API        {app.api_url}/api", f"  docs       {app.api_url}/docs"]
    if app.gateway_url:
        lines.append(f"  WebSocket  {app.gateway_url}")
    if app.emulator_url:
        url = app.emulator_url
        lines.append(f"  emulators  {url}/phones  {url}/browsers  (what they received)")
        lines.append(f"             {url}/mailboxes/{DEMO_EMAIL}  {url}/inboxes/{DEMO_NUMBER}")
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
