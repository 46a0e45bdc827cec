"""A service that awaits reports of all vendors, and deliveries for them to report on."""

import base64
import hmac
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from tests.conftest import Project
from tidings import http, signing
from tidings.api.app import create_api
from tidings.app import App
from tidings.listening import listen, serve_http, url_of
from tidings.providers.report_reader import ReportReader
from tidings.providers.report_secrets import Secrets

TOPIC = "arn:aws:sns:us-east-1:123456789012:reports"
UNSUBSCRIBE_KEY = signing.derive(b"x" * 32, signing.UNSUBSCRIBE)


def mailgun(event: str, *, token: str, recipient: str = "", reference: str = "", **fields: Any) -> bytes:
    """A post that Mailgun signed just now."""
    stamp = str(int(datetime.now(UTC).timestamp()))
    signature = hmac.new(b"mailgun-key", (stamp + token).encode(), "sha256").hexdigest()
    variables = {"tidings_reference": reference} if reference else {}
    data = {"event": event, "recipient": recipient, "user-variables": variables, **fields}
    return msgspec.json.encode(
        {"signature": {"timestamp": stamp, "token": token, "signature": signature}, "event-data": data}
    )


BASIC = {"Authorization": "Basic " + base64.b64encode(b"hook:pass").decode()}


def postmark(kind: str, **fields: Any) -> bytes:
    """A post of Postmark; its proof is the header `BASIC`."""
    return msgspec.json.encode({"RecordType": kind, **fields})


class Reporting(Struct, frozen=True):
    """`client`: a vendor's. `own`: the project's own accounts by id."""

    app: App
    client: httpx.AsyncClient
    own: dict[int, int]

    def __repr__(self) -> str:
        return "Reporting()"

    async def post(
        self, vendor: str, body: bytes, account_id: int = 0, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """What a vendor does."""
        return await self.client.post(f"/api/reports/{vendor}/{account_id}", content=body, headers=headers)

    async def sent(
        self, project: Project, channel: str = "email", status: str = "sent", **user: Any
    ) -> tuple[int, str]:
        """A notification with one delivery on that channel, as the worker leaves it; its id and its reference."""
        address = {"email": {"email": "Jane@Example.com"}, "sms": {"phone": "+41 79 123 45 67"}}.get(channel, {})
        notification_id = await project.send(await project.user(**(address | user)))
        await project.until(notification_id, "suppressed")
        await self.app.db.execute(
            """INSERT INTO deliveries (notification_id, channel, device_id, project_id, status, provider, emulated,
                attempts, sent_at, next_attempt_at)
            VALUES ($1, $2, 0, $3, $4::text, 'smtp', false, 1, CASE WHEN $4::text = 'sent' THEN now() END,
                CASE WHEN $4::text <> 'sent' THEN now() + interval '1 hour' END)""",
            notification_id,
            channel,
            project.id,
            status,
        )
        await self.app.db.execute(
            """UPDATE notifications SET status = $2::text, sent_at = CASE $2::text WHEN 'sent' THEN now() END
            WHERE id = $1""",
            notification_id,
            status,
        )
        key = self.app.services.receipt_key
        return notification_id, signing.sign_receipt(key, project.id, notification_id, channel, 0)

    async def events(self, project: Project) -> list[tuple[str, Any]]:
        """What was told about the project, oldest first."""
        rows = await self.app.db.fetch("SELECT type, data FROM events WHERE project_id = $1 ORDER BY id", project.id)
        return [(row["type"], msgspec.json.decode(row["data"])) for row in rows]


async def delivery(project: Project, notification_id: int) -> dict[str, Any]:
    """The delivery that `sent` made."""
    shown = await project.get(notification_id)
    [found] = [one for one in shown["deliveries"] if one["channel"] in ("email", "sms")]
    return {"notification": shown["status"], **found}


@asynccontextmanager
async def reporting(app: App, aws: Any = None) -> AsyncIterator[Reporting]:
    """The API of `app` a second time, on a port of its own, where reports are awaited."""
    own: dict[int, int] = {}
    secrets = {
        "mailgun": Secrets("mailgun-key"),
        "postmark": Secrets("pass", "hook"),
        "ses": Secrets(topics=(TOPIC,)),
        "sendgrid": Secrets("no key at all"),
        "twilio": Secrets("twilio-token"),
        "vonage": Secrets("vonage-secret"),
    }

    async def look_up(vendor: str, account_id: int) -> Secrets | None:
        found = secrets.get(vendor)
        if found is None or account_id == 0:
            return found
        project_id = own.get(account_id)
        return None if project_id is None else msgspec.structs.replace(found, project_id=project_id)

    async with AsyncExitStack() as stack:
        calls = await stack.enter_async_context(http.open_client(timeout_s=5, system_proxy=False))
        services = msgspec.structs.replace(
            app.services,
            reports=ReportReader(calls, aws(calls) if aws else None),
            report_secrets=look_up,
            unsubscribe_key=UNSUBSCRIBE_KEY,
        )
        listening = listen("127.0.0.1", 0, "PORT")
        await serve_http(create_api(services), listening, 1.0, stack)
        url = url_of("http", listening)
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20, trust_env=False))
        yield Reporting(app, client, own)
