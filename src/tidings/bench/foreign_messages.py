"""Foreign clients of email, SMS and chat: aiosmtplib, twilio, vonage-sms, Apprise."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from email.message import EmailMessage
from email.utils import format_datetime
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from tidings.bench.client import Client, Place
from tidings.bench.foreign import on_threads, trusting
from tidings.bench.own_clients import emails, messages, numbers, relay, rooms
from tidings.providers.contract import Message

CONNECTIONS = 4  # as many as ours
SMS_AT_ONCE = 64

Connections = asyncio.Queue[Any]
SendMail = Callable[[Any, Message], Awaitable[Any]]


async def open_aiosmtplib(where: Place) -> Client:
    """aiosmtplib: `send_message` on four kept connections, each mail composed by the standard library."""
    sender = str(relay(where)["sender"])

    async def send(connection: Any, one: Message) -> None:
        await connection.send_message(_mail(one, sender))

    return await _over_connections(where, messages(emails(), ""), send)


async def open_aiosmtplib_composed(where: Place) -> Client:
    """aiosmtplib at its best: `sendmail` of mails that were composed before the clock started."""
    sender = str(relay(where)["sender"])
    made = messages(emails(), "")
    composed = {one.address: _mail(one, sender).as_bytes() for one in made}

    async def send(connection: Any, one: Message) -> None:
        await connection.sendmail(sender, [one.address], composed[one.address])

    return await _over_connections(where, made, send)


async def open_twilio(where: Place) -> Client:
    """twilio: `messages.create_async`, many at once in one aiohttp session."""
    module = import_module("twilio.http.async_http_client")
    aiohttp, rest = import_module("aiohttp"), import_module("twilio.rest")
    base = module.AsyncTwilioHttpClient

    async def request(self: Any, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        return await base.request(self, method, _there(where, url), *arguments, **named)

    http: Any = type("Http", (base,), {"request": request})(pool_connections=False)
    http.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(where)))
    account = where.address.twilio_account
    client: Any = rest.Client(account["account_sid"], account["auth_token"], http_client=http)

    async def send(some: Sequence[Message]) -> list[str]:
        one = some[0]
        await client.messages.create_async(to=one.address, from_=account["from"], body=f"{one.title}\n{one.body}")
        return []

    return Client(messages(numbers(), ""), send, SMS_AT_ONCE, close=http.session.close)


async def open_twilio_threads(where: Place) -> Client:
    """twilio: `messages.create` on threads, with its pool of connections."""
    os.environ["REQUESTS_CA_BUNDLE"] = where.roots_file()
    module, rest = import_module("twilio.http.http_client"), import_module("twilio.rest")
    base = module.TwilioHttpClient

    def request(self: Any, method: str, url: str, *arguments: Any, **named: Any) -> Any:
        return base.request(self, method, _there(where, url), *arguments, **named)

    account = where.address.twilio_account
    http = type("Http", (base,), {"request": request})()
    client: Any = rest.Client(account["account_sid"], account["auth_token"], http_client=http)

    def send(some: Sequence[Message]) -> list[str]:
        for one in some:
            client.messages.create(to=one.address, from_=account["from"], body=f"{one.title}\n{one.body}")
        return []

    return on_threads(messages(numbers(), ""), send)


async def open_vonage_threads(where: Place) -> Client:
    """vonage-sms: `Sms.send` on threads, with its pool of connections; it has no asynchronous one."""
    os.environ["REQUESTS_CA_BUNDLE"] = where.roots_file()
    sms, http = import_module("vonage_sms"), import_module("vonage_http_client")
    account = where.address.vonage_account
    options = http.HttpClientOptions(rest_host=urlsplit(where.address.vonage_url).netloc)
    auth = http.Auth(api_key=account["api_key"], api_secret=account["api_secret"])
    client: Any = sms.Sms(http.HttpClient(auth, options))

    def send(some: Sequence[Message]) -> list[str]:
        for one in some:
            text = f"{one.title}\n{one.body}"
            client.send(sms.SmsMessage(to=one.address[1:], from_=account["from"].lstrip("+"), text=text))
        return []

    return on_threads(messages(numbers(), ""), send)


async def open_apprise(where: Place) -> Client:
    """Apprise: `notify` on threads, one object a message, since each message has a URL of its own."""
    os.environ["REQUESTS_CA_BUNDLE"] = where.roots_file()
    apprise = import_module("apprise")
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    asset = apprise.AppriseAsset(async_mode=False)

    def send(some: Sequence[Message]) -> list[str]:
        refused = []
        for one in some:
            sender = apprise.Apprise(asset=asset)
            sender.add(one.address)
            if not sender.notify(body=one.body, title=one.title, body_format="text"):
                refused.append("Apprise says no")
        return refused

    return on_threads(messages(rooms(where), ""), send)


async def _over_connections(where: Place, made: Sequence[Message], send_mail: SendMail) -> Client:
    aiosmtplib = import_module("aiosmtplib")
    account, context = relay(where), trusting(where)
    free: Connections = asyncio.Queue()
    for _ in range(CONNECTIONS):
        connection = aiosmtplib.SMTP(
            hostname=account["host"],
            port=account["port"],
            start_tls=True,
            tls_context=context,
            username=account["username"],
            password=account["password"],
        )
        await connection.connect()
        free.put_nowait(connection)

    async def send(some: Sequence[Message]) -> list[str]:
        connection = await free.get()
        try:
            await send_mail(connection, some[0])
        finally:
            free.put_nowait(connection)
        return []

    async def close() -> None:
        while not free.empty():
            await free.get_nowait().quit()

    return Client(made, send, CONNECTIONS, close=close)


def _mail(one: Message, sender: str) -> EmailMessage:
    """The same two parts and the same headers as ours have, unsigned as ours here."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"Tidings <{sender}>", one.address, one.title
    mail["Date"] = format_datetime(one.created_at)
    mail["Message-ID"] = f"<{one.notification_id}@{sender.partition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Tidings-Id"] = str(one.notification_id)
    mail.set_content(one.body)
    mail.add_alternative(f"<html><body><h1>{one.title}</h1><p>{one.body}</p></body></html>", subtype="html")
    return mail


def _there(where: Place, url: str) -> str:
    return where.address.twilio_url + urlsplit(url)._replace(scheme="", netloc="").geturl()
