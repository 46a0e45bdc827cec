"""Foreign clients of the push vendors: firebase-admin, aioapns, pywebpush."""

import logging
import os
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tidings.bench.client import Client, Place
from tidings.bench.foreign import THREADS, on_threads, trusting
from tidings.bench.own_clients import SUBJECT, apple_tokens, google_tokens, messages, subscriptions
from tidings.providers.contract import Message
from tidings.providers.webpush_vapid import new_private_key

BATCH = 500  # the most that firebase-admin takes in one call
APNS_CONNECTIONS = 10
APNS_AT_ONCE = 128  # of 32 to 512 the fastest for aioapns, with its ten connections
WEBPUSH_AT_ONCE = 64


async def open_firebase(where: Place) -> Client:
    """firebase-admin over HTTP/2: `messaging.send_each_async`, 500 messages a call."""
    messaging = _firebase(where)

    async def send(some: Sequence[Message]) -> list[str]:
        made = [_firebase_message(messaging, one) for one in some]
        answer = await messaging.send_each_async(made, dry_run=False)
        return [str(each.exception) for each in answer.responses if not each.success]

    return Client(messages(google_tokens(), "android"), send, 1, BATCH)


async def open_firebase_threads(where: Place) -> Client:
    """firebase-admin over HTTP/1.1: `messaging.send` on threads, which its `send_each` does with a thread a message."""
    messaging = _firebase(where)

    def send(some: Sequence[Message]) -> list[str]:
        for one in some:
            messaging.send(_firebase_message(messaging, one))
        return []

    return on_threads(messages(google_tokens(), "android"), send)


async def open_aioapns(where: Place) -> Client:
    """aioapns: `send_notification`, many at once on its ten HTTP/2 connections."""
    aioapns = import_module("aioapns")
    connection = import_module("aioapns.connection")
    url = urlsplit(where.address.apns_url)
    protocol = type(
        "Protocol",
        (connection.APNsProductionClientProtocol,),
        {"APNS_SERVER": url.hostname, "APNS_PORT": url.port},
    )
    context = trusting(where)
    context.set_alpn_protocols(["h2"])
    account = where.address.apns_account
    client: Any = aioapns.APNs(
        key=account["private_key"],
        key_id=account["key_id"],
        team_id=account["team_id"],
        topic=account["topic"],
        ssl_context=context,
        max_connections=APNS_CONNECTIONS,
    )
    client.pool.protocol_class = protocol
    logging.getLogger("aioapns").setLevel(logging.ERROR)  # it writes a line whenever a call has to wait

    async def send(some: Sequence[Message]) -> list[str]:
        one = some[0]
        request = aioapns.NotificationRequest(
            one.address,
            {
                "aps": {"alert": {"title": one.title, "body": one.body}, "mutable-content": 1},
                "tidings_id": str(one.notification_id),
                "tidings_receipt": one.receipt_url,
                **one.data,
            },
            time_to_live=one.ttl_s,
            priority=10,
            collapse_key=one.collapse_key,
            push_type=aioapns.PushType.ALERT,
        )
        result = await client.send_notification(request)
        return [] if result.is_successful else [f"{result.status} {result.description}"]

    async def close() -> None:
        client.pool.close()

    return Client(messages(apple_tokens(), "ios"), send, APNS_AT_ONCE, close=close)


async def open_pywebpush(where: Place) -> Client:
    """pywebpush: `webpush_async`, many at once in one aiohttp session."""
    pywebpush, aiohttp, vapid = import_module("pywebpush"), import_module("aiohttp"), _vapid()
    session: Any = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(where)))
    made = messages(await subscriptions(where), "web")
    decoded = {one.address: msgspec.json.decode(one.address) for one in made}

    async def send(some: Sequence[Message]) -> list[str]:
        one = some[0]
        await pywebpush.webpush_async(
            decoded[one.address],
            _webpush_text(one),
            vapid_private_key=vapid,
            vapid_claims={"sub": SUBJECT},
            ttl=one.ttl_s,
            headers={"urgency": "normal"},
            aiohttp_session=session,
        )
        return []

    return Client(made, send, WEBPUSH_AT_ONCE, close=session.close)


async def open_pywebpush_threads(where: Place) -> Client:
    """pywebpush: `webpush` on threads, each with a session of its own."""
    pywebpush, requests, vapid = import_module("pywebpush"), import_module("requests"), _vapid()
    made = messages(await subscriptions(where), "web")
    decoded = {one.address: msgspec.json.decode(one.address) for one in made}
    trusted = where.roots_file()
    mine = threading.local()

    def send(some: Sequence[Message]) -> list[str]:
        if not hasattr(mine, "session"):
            mine.session = requests.Session()
            mine.session.trust_env = False
            mine.session.verify = trusted
        for one in some:
            pywebpush.webpush(
                decoded[one.address],
                _webpush_text(one),
                vapid_private_key=vapid,
                vapid_claims={"sub": SUBJECT},
                ttl=one.ttl_s,
                headers={"urgency": "normal"},
                requests_session=mine.session,
            )
        return []

    return on_threads(made, send)


def _firebase(where: Place) -> Any:
    """Its `messaging` module, pointed at the emulator. Both of its HTTP libraries read the roots from here."""
    trusted = where.roots_file()
    os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = trusted
    firebase_admin, messaging = import_module("firebase_admin"), import_module("firebase_admin.messaging")
    credentials = import_module("firebase_admin.credentials")
    service: Any = messaging._MessagingService
    service.FCM_URL = where.address.fcm_url + "/v1/projects/{0}/messages:send"
    firebase_admin.initialize_app(credentials.Certificate(dict(where.address.service_account)))
    # It keeps a hundred connections for Google's address only.
    adapter = import_module("requests.adapters").HTTPAdapter(pool_connections=THREADS, pool_maxsize=THREADS)
    messaging._get_messaging_service(firebase_admin.get_app())._client.session.mount(where.address.fcm_url, adapter)
    return messaging


def _firebase_message(messaging: Any, one: Message) -> Any:
    return messaging.Message(
        token=one.address,
        notification=messaging.Notification(title=one.title, body=one.body),
        data={
            "order": str(one.data["order"]),
            "tidings_id": str(one.notification_id),
            "tidings_receipt": one.receipt_url,
        },
        android=messaging.AndroidConfig(
            priority="normal",
            ttl=one.ttl_s,
            notification=messaging.AndroidNotification(tag=one.collapse_key),
        ),
    )


def _webpush_text(one: Message) -> str:
    whole = {
        "notification": {"title": one.title, "body": one.body, "tag": one.collapse_key},
        "data": {**one.data, "tidings_id": str(one.notification_id), "tidings_receipt": one.receipt_url},
    }
    return msgspec.json.encode(whole).decode()


def _vapid() -> Any:
    return import_module("py_vapid").Vapid.from_pem(new_private_key().encode())
