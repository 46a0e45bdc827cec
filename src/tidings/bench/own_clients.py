"""Tidings' own providers as clients of the `providers` figure, exactly as the worker opens them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from tidings import signing
from tidings.bench import bodies
from tidings.bench.client import Client, Opener, Place
from tidings.errors import SetupError
from tidings.http import Answer, open_client, request
from tidings.providers.contract import Message, Provider, Sent
from tidings.providers.webpush_subscription import parse_subscription

A = TypeVar("A", bound=msgspec.Struct)

PEOPLE = 1_000
AT_ONCE = 128
FLOOR_AT_ONCE = 64
MADE_AT_ONCE = 50
TIMEOUT_S = 30.0
SUBJECT = "mailto:bench@example.org"


def messages(addresses: Sequence[str], platform: str) -> list[Message]:
    """One message for each address, as the worker hands them to a provider."""
    key = signing.derive(b"the bench's own secret, which opens nothing", signing.RECEIPTS)
    return [
        msgspec.structs.replace(
            bodies.message(n + 1, n + 1, n + 1, key, "https://push.example.org/api/receipts/"),
            address=address,
            device_type=platform,
        )
        for n, address in enumerate(addresses)
    ]


def apple_tokens() -> list[str]:
    """Device tokens of the length that Apple's have."""
    return [f"{n + 1:064x}" for n in range(PEOPLE)]


def google_tokens() -> list[str]:
    """Device tokens of the length that FCM's have."""
    return [bodies.device_token(n + 1) for n in range(PEOPLE)]


def emails() -> list[str]:
    """Email addresses."""
    return [f"person-{n + 1}@people.example" for n in range(PEOPLE)]


def numbers() -> list[str]:
    """Telephone numbers."""
    return [f"+447700{n + 900_000}" for n in range(PEOPLE)]


def rooms(where: Place) -> list[str]:
    """Chat addresses: a webhook for each room, over TLS."""
    return [f"jsons://{where.address.fcm_url.partition('://')[2]}/chats/room-{n + 1}" for n in range(PEOPLE)]


def relay(where: Place) -> dict[str, Any]:
    """The emulated relay's account, as it is given to anybody."""
    account: dict[str, Any] = msgspec.json.decode(where.address.smtp_account)
    return account


async def subscriptions(where: Place) -> list[str]:
    """Browsers that subscribe at the emulated push service: their subscriptions, JSON texts.

    Raises `SetupError` when the emulator makes none.
    """
    asking = request("POST", f"{where.address.plain_url}/browsers", {"content-type": "application/json"})
    turns = asyncio.Semaphore(MADE_AT_ONCE)
    async with open_client(timeout_s=TIMEOUT_S, system_proxy=False) as client:

        async def subscribe(n: int) -> str:
            async with turns:
                answer = await client.send(asking, msgspec.json.encode({"id": f"bench-{n}"}))
                if not isinstance(answer, Answer) or answer.status >= 300:
                    raise SetupError(f"the emulator makes no browser: {answer}")
                return answer.body.decode()

        return list(await asyncio.gather(*(subscribe(n) for n in range(PEOPLE))))


def client_of(provider: Provider, made: Sequence[Message]) -> Client:
    """The provider, one message a call."""

    async def send(some: Sequence[Message]) -> list[str]:
        outcome = await provider.send(some[0])
        return [] if isinstance(outcome, Sent) else [repr(outcome)]

    return Client(made, send, AT_ONCE, close=provider.close)


async def open_fcm(where: Place) -> Client:
    """See `providers.fcm`."""
    from tidings.providers import fcm  # noqa: PLC0415 - each process loads the one that it measures

    account = fcm.FcmAccount(
        fcm.ServiceAccount(
            **{name: where.address.service_account[name] for name in fcm.ServiceAccount.__struct_fields__}
        ),
        base_url=where.address.fcm_url,
        ca_pem=where.address.ca_pem.encode(),
        emulated=True,
    )
    return client_of(await fcm.open_fcm(account), messages(google_tokens(), "android"))


def _played(account: A, base_url: str, where: Place) -> A:
    """The account as it is at its emulator."""
    return msgspec.structs.replace(account, base_url=base_url, ca_pem=where.address.ca_pem.encode(), emulated=True)


async def open_apns(where: Place) -> Client:
    """See `providers.apns`."""
    from tidings.providers import apns  # noqa: PLC0415

    account = _played(apns.parse_apns_account(where.address.apns_account), where.address.apns_url, where)
    return client_of(await apns.open_apns(account), messages(apple_tokens(), "ios"))


async def open_webpush(where: Place) -> Client:
    """See `providers.webpush`."""
    from tidings.providers import webpush, webpush_vapid  # noqa: PLC0415
    from tidings.providers.webpush_account import WebPushAccount  # noqa: PLC0415

    account = WebPushAccount(
        webpush_vapid.new_private_key(), SUBJECT, ca_pem=where.address.ca_pem.encode(), emulated=True
    )
    return client_of(await webpush.open_webpush(account), messages(await subscriptions(where), "web"))


async def open_encryption(where: Place) -> Client:
    """What Web Push costs at least: the encryption of each message (RFC 8291), and nothing sent."""
    from tidings.providers import webpush_message  # noqa: PLC0415
    from tidings.providers.webpush_account import WebPushAccount, guard_of  # noqa: PLC0415
    from tidings.providers.webpush_encryption import Encrypter, Job  # noqa: PLC0415

    account = WebPushAccount("", SUBJECT, emulated=True)
    guard, encrypter = guard_of(account), Encrypter(account.threads)
    made = messages(await subscriptions(where), "web")
    jobs = {
        one.address: Job(parse_subscription(one.address, guard), webpush_message.build(one, one.created_at).plaintext)
        for one in made
    }

    async def encrypt(some: Sequence[Message]) -> list[str]:
        await encrypter(jobs[some[0].address])
        return []

    return Client(made, encrypt, FLOOR_AT_ONCE, close=encrypter.close)


async def open_smtp(where: Place) -> Client:
    """See `providers.smtp`. Unsigned: a DKIM signature is no work that the foreign client does."""
    from tidings.providers import smtp  # noqa: PLC0415

    account = msgspec.structs.replace(
        smtp.parse_smtp_account(where.address.smtp_account),
        dkim=None,
        ca_pem=where.address.ca_pem.encode(),
        emulated=True,
    )
    return client_of(await smtp.open_smtp(account), messages(emails(), ""))


async def open_twilio(where: Place) -> Client:
    """See `providers.twilio`."""
    from tidings.providers import twilio  # noqa: PLC0415

    account = _played(twilio.parse_twilio_account(where.address.twilio_account), where.address.twilio_url, where)
    return client_of(await twilio.open_twilio(account), messages(numbers(), ""))


async def open_vonage(where: Place) -> Client:
    """See `providers.vonage`."""
    from tidings.providers import vonage  # noqa: PLC0415

    account = _played(vonage.parse_vonage_account(where.address.vonage_account), where.address.vonage_url, where)
    return client_of(await vonage.open_vonage(account), messages(numbers(), ""))


async def open_chat(where: Place) -> Client:
    """See `providers.apprise`."""
    from tidings.providers import apprise  # noqa: PLC0415

    account = apprise.ChatAccount(emulated=True, ca_pem=where.address.ca_pem.encode())
    return client_of(await apprise.open_apprise(account), messages(rooms(where), ""))


OWN = "tidings"
FLOOR = "encryption alone"
CLIENTS: Mapping[tuple[str, str], Opener] = {
    ("fcm", OWN): open_fcm,
    ("apns", OWN): open_apns,
    ("webpush", OWN): open_webpush,
    ("webpush", FLOOR): open_encryption,
    ("smtp", OWN): open_smtp,
    ("twilio", OWN): open_twilio,
    ("vonage", OWN): open_vonage,
    ("apprise", OWN): open_chat,
}
