"""Chat, end to end: Apprise's own plugins, real sockets, the emulated rooms."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from tests.providers.chat_message import message
from tidings import emulators
from tidings.emulators import Emulators, certificate
from tidings.emulators.exchange import Request, Response
from tidings.emulators.http_server import serve
from tidings.providers.apprise import AppriseProvider, ChatAccount, ChatOverrides, open_apprise
from tidings.providers.contract import Gone, Message, Outcome, Reason, Rejected, Retry, Sent

WORD = "hook-word-1234"


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Emulators]:
    running = await emulators.start()
    yield running
    await running.close()


def account(place: Emulators, **changes: Any) -> ChatAccount:
    plain = ChatAccount(emulated=True, ca_pem=place.ca_pem, timeout_s=10.0)
    return msgspec.structs.replace(plain, **changes)


@pytest.fixture
async def provider(place: Emulators) -> AsyncIterator[AppriseProvider]:
    opened = await open_apprise(account(place))
    yield opened
    await opened.close()


def plain(place: Emulators, path: str, scheme: str = "json") -> str:
    return f"{scheme}://{place.plain_url.partition('//')[2]}{path}"


def secure(place: Emulators, path: str, scheme: str = "jsons") -> str:
    return f"{scheme}://{place.fcm_url.partition('//')[2]}{path}"


@pytest.mark.parametrize(
    ("scheme", "path", "room"),
    [
        ("json", "/chats/one", "one"),
        ("form", "/chats/two", "two"),
        ("ntfy", "/three", "three"),
        ("mmost", "/abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz"),
        ("gotify", "/abcdefghijklmno", "gotify"),
    ],
)
async def test_a_message_is_read_in_the_room(
    provider: AppriseProvider, place: Emulators, scheme: str, path: str, room: str
) -> None:
    place.chat.clear()
    assert await provider.send(message(plain(place, path, scheme))) == Sent()
    assert await provider.send(message(secure(place, path, scheme + "s"))) == Sent()
    first, second = place.chat.messages(room)
    assert (first.title, first.text) == (second.title, second.text)
    assert "is at the **door**" in str(first.whole)
    assert "Your parcel" in str(first.whole)
    assert (provider.name, provider.emulated) == ("apprise", True)


async def test_the_format_is_what_the_notification_says(provider: AppriseProvider, place: Emulators) -> None:
    place.chat.clear()
    address = plain(place, "/chats/formats?format=html")
    await provider.send(message(address))
    await provider.send(message(address, overrides={"chat": {"format": "markdown"}}))
    as_text, as_markdown = place.chat.messages("formats")
    assert "**door**" in as_text.text
    assert "<strong>door</strong>" in as_markdown.text


def test_a_format_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="format must be one of"):
        ChatOverrides(format="rtf")


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ("gone-1", Gone(Reason.UNREGISTERED)),
        ("no-room", Rejected(Reason.WRONG_ACCOUNT)),
        ("closed", Rejected(Reason.CREDENTIALS)),
        ("bad", Rejected(Reason.INVALID_MESSAGE)),
        ("big", Rejected(Reason.MESSAGE_TOO_BIG)),
        ("rate-7", Retry(Reason.RATE_LIMITED, after_s=7.0)),
        ("busy", Retry(Reason.UNAVAILABLE)),
        ("html-502", Retry(Reason.UNAVAILABLE, maybe_taken=True)),
        ("redirect", Retry(Reason.UNAVAILABLE)),
        ("huge", Retry(Reason.UNAVAILABLE)),
        ("drop", Retry(Reason.CONNECTION, maybe_taken=True)),
        ("lost", Retry(Reason.CONNECTION, maybe_taken=True)),
    ],
)
async def test_every_answer(provider: AppriseProvider, place: Emulators, room: str, expected: Outcome) -> None:
    assert without_words(await provider.send(message(plain(place, f"/chats/{room}")))) == expected


def without_words(outcome: Outcome) -> Outcome:
    return outcome if isinstance(outcome, Sent) else msgspec.structs.replace(outcome, detail="")


async def test_no_answer_in_time_ends_the_call_and_its_connection(place: Emulators) -> None:
    provider = await open_apprise(account(place, timeout_s=0.5))
    got = await provider.send(message(plain(place, "/chats/timeout")))
    assert got == Retry(Reason.TIMEOUT, "no answer in time", maybe_taken=True)
    # The one thread is free again.
    assert await provider.send(message(plain(place, "/chats/after"))) == Sent()
    await provider.close()


async def test_what_waits_too_long_for_a_thread_was_never_sent(place: Emulators) -> None:
    provider = await open_apprise(account(place, timeout_s=0.4, threads=1))
    await provider.send(message(plain(place, "/chats/warm")))
    first, second = await asyncio.gather(
        provider.send(message(plain(place, "/chats/timeout"))), provider.send(message(plain(place, "/chats/waits")))
    )
    assert isinstance(first, Retry) and first.maybe_taken
    assert isinstance(second, Retry) and not second.maybe_taken
    assert place.chat.messages("waits") == []
    await provider.close()


async def test_a_name_that_leads_inside_is_refused_whatever_it_led_to_before(place: Emulators) -> None:
    answers: list[Sequence[str]] = [["93.184.216.34", "10.0.0.7"], ["169.254.169.254"]]

    async def lookup(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    provider = await open_apprise(ChatAccount(timeout_s=5), lookup)
    for _ in range(2):
        got = await provider.send(message("jsons://hooks.example.org/a"))
        assert isinstance(got, Rejected)
        assert got.reason is Reason.FORBIDDEN_ADDRESS
    await provider.close()


async def test_the_connection_goes_to_the_checked_address_with_the_name_in_host_and_sni(place: Emulators) -> None:
    hosts: list[str] = []

    def app(request: Request) -> Response:
        hosts.append(request.headers.get("host", ""))
        return Response(200, b"{}")

    pair = certificate.make(["hooks.example.org"])
    server = await serve(app, tls=certificate.server_context(pair))

    async def lookup(host: str, port: int) -> Sequence[str]:
        assert host == "hooks.example.org"
        return ["127.0.0.1"]

    how = ChatAccount(allowed_networks=("127.0.0.0/8",), allowed_ports=(server.port,), ca_pem=pair.ca_pem, timeout_s=5)
    provider = await open_apprise(how, lookup)
    try:
        for _ in range(3):
            assert await provider.send(message(f"jsons://hooks.example.org:{server.port}/a")) == Sent()
        assert hosts == [f"hooks.example.org:{server.port}"] * 3
    finally:
        await provider.close()
        await server.close()


async def test_proxies_of_the_environment_are_not_used(
    provider: AppriseProvider, place: Emulators, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await provider.send(message(plain(place, "/chats/direct"))) == Sent()


async def test_nothing_of_the_url_is_logged(
    provider: AppriseProvider, place: Emulators, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for room in ("fine", "closed", "drop", "gone"):
        got = await provider.send(message(plain(place, f"/chats/{room}-{WORD}")))
        assert WORD not in repr(got)
    printed = capsys.readouterr()
    assert WORD not in caplog.text + printed.out + printed.err


async def test_an_address_that_is_none(provider: AppriseProvider) -> None:
    for address in ("", "not a url", "dbus://", "slack://x"):
        got = await provider.send(message(address))
        assert isinstance(got, Gone)
        assert got.reason is Reason.INVALID_ADDRESS


async def test_nothing_to_say(provider: AppriseProvider, place: Emulators) -> None:
    got = await provider.send(message(plain(place, "/chats/quiet"), title="", body=""))
    assert isinstance(got, Rejected)
    assert got.reason is Reason.INVALID_MESSAGE
    only_title: Message = message(plain(place, "/chats/quiet"), body="")
    assert await provider.send(only_title) == Sent()
