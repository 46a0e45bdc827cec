"""What the contract suite needs to know of each provider: how it is opened, what it is given, where that arrives."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from tests.providers.contract.bad_vendor import At
from tidings import clock
from tidings.bus import Position
from tidings.bus.memory import MemoryBus
from tidings.emulators import Emulators
from tidings.providers.apns import open_apns, parse_apns_account
from tidings.providers.apprise import ChatAccount, open_apprise
from tidings.providers.contract import Message, Provider, Reason
from tidings.providers.fcm import FcmAccount, open_fcm
from tidings.providers.fcm_account import parse_service_account
from tidings.providers.gateway import GatewayProvider
from tidings.providers.smtp import open_smtp
from tidings.providers.smtp_account import parse_smtp_account
from tidings.providers.twilio import open_twilio
from tidings.providers.twilio_account import parse_twilio_account
from tidings.providers.vonage import open_vonage
from tidings.providers.vonage_account import parse_vonage_account
from tidings.providers.webpush import open_webpush
from tidings.providers.webpush_account import WebPushAccount
from tidings.providers.webpush_vapid import new_private_key

MARK = "markedaddress"  # part of every address that may have words in it: it must not be seen anywhere
TITLE = "A title that nobody else has"


class Subject(Struct, frozen=True):
    """One provider. `at`: where its vendor's emulator is. `arrived`: what each attempt of a message was known by there.

    `speaks_first`: the vendor does, so a silent one was sent nothing. `refused_here`: addresses that are refused before
    any call, and why.
    """

    name: str
    at: Callable[[Emulators], At]
    open: Callable[[Emulators, At], Awaitable[Provider]]
    address: Callable[[Emulators, At, int], str]
    arrived: Callable[[Emulators, str], Sequence[Any]]
    secrets: Callable[[Emulators], Sequence[str]]
    speaks_first: bool = False
    refused_here: tuple[tuple[str, Reason], ...] = ()

    def message(self, place: Emulators, at: At, number: int) -> Message:
        """The message with this number, each to an address of its own."""
        return Message(
            project_id=1,
            notification_id=100_000 + number,
            user_id=number,
            device_id=number,
            device_type={"fcm": "android", "apns": "ios", "webpush": "web"}.get(self.name, ""),
            address=self.address(place, at, number),
            title=TITLE,
            body="is at the door",
            data={"parcel": 17},
            ttl_s=3600,
            collapse_key=f"tidings-{100_000 + number}",
            urgent=False,
            created_at=clock.now(),
            reference=f"1.{100_000 + number}.e.0.AAAAAAAAAAAAAAAAAAAAAA",
        )


def _http(place: Emulators) -> At:
    return At(urlsplit(place.fcm_url).port or 0, True, place.ca_pem)


async def _fcm(place: Emulators, at: At) -> Provider:
    account = FcmAccount(parse_service_account(place.service_account), at.url, at.ca_pem + place.ca_pem, emulated=True)
    return await open_fcm(msgspec.structs.replace(account, timeout_s=at.timeout_s))


async def _apns(place: Emulators, at: At) -> Provider:
    account = parse_apns_account(place.apns.apns.account())
    where = {"base_url": at.url, "ca_pem": at.ca_pem, "emulated": True, "timeout_s": at.timeout_s}
    return await open_apns(msgspec.structs.replace(account, **where))


async def _webpush(place: Emulators, at: At) -> Provider:
    account = WebPushAccount(new_private_key(), "mailto:push@example.org", ca_pem=at.ca_pem, emulated=True)
    return await open_webpush(msgspec.structs.replace(account, timeout_s=at.timeout_s))


async def _twilio(place: Emulators, at: At) -> Provider:
    account = parse_twilio_account(place.sms.twilio.account())
    where = {"base_url": at.url, "ca_pem": at.ca_pem, "emulated": True, "timeout_s": at.timeout_s}
    return await open_twilio(msgspec.structs.replace(account, **where))


async def _vonage(place: Emulators, at: At) -> Provider:
    account = parse_vonage_account(place.sms.vonage.account())
    where = {"base_url": at.url, "ca_pem": at.ca_pem, "emulated": True, "timeout_s": at.timeout_s}
    return await open_vonage(msgspec.structs.replace(account, **where))


async def _smtp(place: Emulators, at: At) -> Provider:
    account = parse_smtp_account(msgspec.json.encode(place.smtp.account()).decode())
    where = {"host": "127.0.0.1", "port": at.port, "security": "tls" if at.tls else "none", "ca_pem": at.ca_pem}
    times = {"timeout_s": at.timeout_s, "connect_timeout_s": at.timeout_s / 2, "emulated": True}
    return await open_smtp(msgspec.structs.replace(account, **where, **times))


async def _apprise(place: Emulators, at: At) -> Provider:
    return await open_apprise(ChatAccount(emulated=True, ca_pem=at.ca_pem, timeout_s=at.timeout_s))


class _Ear:
    """A socket of the user, who hears everything."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._joined: set[int] = set()
        self.heard: list[bytes] = []

    def take(self, frame: bytes) -> bool:
        self.heard.append(frame)
        return True

    async def join(self, user_id: int) -> None:
        if user_id not in self._joined:
            self._joined.add(user_id)
            nothing: Position | None = None
            await self._bus.join(1, user_id, self.take, nothing, None)


class _Heard(GatewayProvider):
    """The gateway's provider, with a socket open for whoever is written to."""

    def __init__(self) -> None:
        bus = MemoryBus()
        super().__init__(bus, deadline_s=5)
        self.ear = _Ear(bus)

    async def send(self, message: Message) -> Any:
        await self.ear.join(message.user_id)
        return await super().send(message)


async def _gateway(place: Emulators, at: At) -> Provider:
    return _Heard()


def _browser(place: Emulators, at: At, number: int) -> str:
    name = f"{MARK}-{at.port}-{number}"
    known = place.webpush.browsers.get(name)
    subscription = known.subscription(at.url) if known is not None else place.webpush.subscribe(name)
    subscription["endpoint"] = f"{at.url}/push/{name}"
    return msgspec.json.encode(subscription).decode()


def _pushed(place: Emulators, address: str) -> list[Any]:
    browser = place.webpush.browsers.get(msgspec.json.decode(address)["endpoint"].rpartition("/")[2])
    assert browser is not None
    return [(each.terms.topic, each.text) for each in browser.received]


def _mailed(place: Emulators, address: str) -> list[Any]:
    mails = place.smtp.smtp.mailboxes.mails(address)
    wanted = (b"message-id:", b"date:", b"x-tidings-id:")
    return [sorted(line for line in mail.raw.split(b"\r\n") if line.lower().startswith(wanted)) for mail in mails]


def _texts(place: Emulators, address: str) -> list[Any]:
    return [(each.sender, each.text) for each in place.sms.inboxes.messages(address)]


def _number(vendor: int, number: int) -> str:
    """Both vendors reach the same telephones; each has its own here."""
    return f"+447{vendor:03}{number % 1_000_000:06}"


SUBJECTS: tuple[Subject, ...] = (
    Subject(
        "fcm",
        _http,
        _fcm,
        lambda place, at, number: f"{MARK}-{number}:" + "APA91b" * 20,
        lambda place, address: [each.body for each in place.phones.messages(address)],
        lambda place: [place.service_account["private_key"]],
    ),
    Subject(
        "apns",
        lambda place: At(urlsplit(place.apns.url).port or 0, True, place.ca_pem),
        _apns,
        lambda place, at, number: f"{number + 0xABCDEF0000:064x}",
        lambda place, address: [(each.message_id, each.body) for each in place.phones.messages(address)],
        lambda place: [place.apns.apns.account()["private_key"]],
        refused_here=(("no hex", Reason.INVALID_ADDRESS),),
    ),
    Subject(
        "webpush",
        _http,
        _webpush,
        _browser,
        _pushed,
        lambda place: ["BEGIN PRIVATE KEY"],
        refused_here=(
            ("{}", Reason.INVALID_ADDRESS),
            (
                '{"endpoint":"https://10.0.0.1/push/x","keys":{"p256dh":"","auth":""}}',
                Reason.FORBIDDEN_ADDRESS,
            ),
        ),
    ),
    Subject(
        "twilio",
        _http,
        _twilio,
        lambda place, at, number: _number(700, number),
        _texts,
        lambda place: [place.sms.twilio.account()["auth_token"]],
        refused_here=(("0123", Reason.INVALID_ADDRESS),),
    ),
    Subject(
        "vonage",
        _http,
        _vonage,
        lambda place, at, number: _number(701, number),
        _texts,
        lambda place: [place.sms.vonage.account()["api_secret"]],
        refused_here=(("0123", Reason.INVALID_ADDRESS),),
    ),
    Subject(
        "smtp",
        lambda place: At(place.smtp.tls_port, True, place.ca_pem),
        _smtp,
        lambda place, at, number: f"{MARK}-{number}@people.example",
        _mailed,
        lambda place: [str(place.smtp.account()["password"])],
        speaks_first=True,
        refused_here=(("nobody", Reason.INVALID_ADDRESS),),
    ),
    Subject(
        "apprise",
        _http,
        _apprise,
        lambda place, at, number: f"{'jsons' if at.tls else 'json'}://127.0.0.1:{at.port}/chats/{MARK}-{number}",
        lambda place, address: [each.whole for each in place.chat.messages(address.rpartition("/")[2])],
        lambda place: [MARK],
        refused_here=(
            ("dbus://", Reason.INVALID_ADDRESS),
            ("jsons://10.0.0.1/chats/x", Reason.FORBIDDEN_ADDRESS),
        ),
    ),
)
GATEWAY = Subject(
    "gateway",
    lambda place: At(0, False, b""),
    _gateway,
    lambda place, at, number: "",
    lambda place, address: [],
    lambda place: [],
)
