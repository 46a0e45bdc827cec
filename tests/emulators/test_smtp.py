"""The emulated relay, used by the standard library's smtplib and by aiosmtplib, and what it refuses."""

import asyncio
import base64
import smtplib
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import dkim  # type: ignore[import-untyped]
import msgspec
import pytest

from tests.emulators.conftest import Caller
from tidings.emulators import Emulators, smtp_magic
from tidings.emulators.address import Address
from tidings.emulators.smtp_login import Login
from tidings.emulators.smtp_magic import _FIXED, MagicRecipients
from tidings.providers.smtp_account import parse_smtp_account


class Line:
    """A connection over which one talks by hand, without TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, text: str) -> str:
        """Send a line; the reply, its lines joined."""
        self.writer.write(text.encode() + b"\r\n")
        return await self.hear()

    async def hear(self) -> str:
        """One reply."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            lines.append((await asyncio.wait_for(self.reader.readline(), 10)).decode().rstrip("\r\n"))
        return "\n".join(lines)


@pytest.fixture
def account(emulators: Emulators) -> Iterator[dict[str, Any]]:
    yield emulators.smtp.account()
    emulators.smtp.smtp.clear()


def trusting(emulators: Emulators) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=emulators.ca_pem.decode())


def mail(to: str, text: str = "Grüße\n.\nEnde\n") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "shop@tidings.example", to, "Hallo Größe"
    made["X-Tidings-Id"] = "77"
    made.set_content(text)
    return made


async def test_smtplib_sends_by_both_listeners(emulators: Emulators, account: dict[str, Any], caller: Caller) -> None:
    def use() -> None:
        with smtplib.SMTP(account["host"], account["port"], timeout=10) as client:
            client.starttls(context=trusting(emulators))
            client.login(account["username"], account["password"])
            assert client.send_message(mail("a@example.org")) == {}
        with smtplib.SMTP_SSL(
            account["host"], emulators.smtp.tls_port, timeout=10, context=trusting(emulators)
        ) as client:
            client.login(account["username"], account["password"])
            assert client.send_message(mail("a@example.org")) == {}
            refused = client.sendmail("s@tidings.example", ["b@example.org", "unknown-user@example.org"], "x")
            assert refused["unknown-user@example.org"][0] == 550
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.send_message(mail("full@example.org"))
            with pytest.raises(smtplib.SMTPDataError):
                client.send_message(mail("spam@example.org"))
            assert client.send_message(mail("größe@bücher.example")) == {}

    await asyncio.to_thread(use)
    shown = await caller.control("GET", "/mailboxes/a%40example.org")
    first, _second = shown["messages"]
    assert (first["subject"], first["text"], first["dkim"]) == ("Hallo Größe", "Grüße\n.\nEnde\n", None)
    assert first["return_path"] == "shop@tidings.example"
    listed = await caller.control("GET", "/mailboxes?limit=2")
    assert (len(listed["mailboxes"]), listed["total"]) == (2, 3)
    await caller.control("DELETE", "/mailboxes")
    assert await caller.control("GET", "/mailboxes") == {"mailboxes": [], "total": 0}


async def test_aiosmtplib_sends_many_over_one_connection(emulators: Emulators, account: dict[str, Any]) -> None:
    client = aiosmtplib.SMTP(
        hostname=account["host"],
        port=account["port"],
        start_tls=True,
        tls_context=trusting(emulators),
        username=account["username"],
        password=account["password"],
    )
    await client.connect()
    for number in range(20):
        refused, said = await client.send_message(mail(f"n{number}@example.org"))
        assert not refused
        assert "queued as" in said
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
        await client.send_message(mail("greylist@example.org"))
    await client.send_message(mail("greylist@example.org"))
    assert client.supports_extension("pipelining")
    await client.quit()
    with pytest.raises(aiosmtplib.SMTPAuthenticationError):
        await aiosmtplib.send(
            mail("x@example.org"),
            hostname=account["host"],
            port=account["port"],
            start_tls=True,
            tls_context=trusting(emulators),
            username="tidings",
            password="wrong",
        )


async def test_a_signature_is_judged_by_the_emulated_dns(emulators: Emulators, caller: Caller) -> None:
    key = emulators.smtp.account()["dkim"]
    assert isinstance(key, dict)
    raw = bytes(mail("signed@example.org")).replace(b"\n", b"\r\n")
    signed = dkim.sign(raw, b"s1", b"other.example", key["private_key"].encode()) + raw
    boxes = emulators.smtp.smtp.mailboxes
    assert boxes.verdict(signed) is False  # no such record yet
    record = boxes._records[f"{key['selector']}._domainkey.{key['domain']}"]
    body = {"name": "s1._domainkey.other.example", "record": record}
    await caller.control("POST", "/mailboxes/records", body)
    assert boxes.verdict(signed) is True
    assert boxes.verdict(signed.replace(b"Subject: ", b"Subject: x")) is False


async def talk(emulators: Emulators) -> Line:
    line = Line(*await asyncio.open_connection(emulators.smtp.host, emulators.smtp.port))
    assert (await line.hear()).startswith("220 ")
    return line


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("NOOP", "250"),
        ("noop", "250"),
        ("VRFY jane", "252"),
        ("HELO me", "250"),
        ("MAIL FROM:<a@example.org>", "530"),
        ("RCPT TO:<a@example.org>", "503"),
        ("DATA", "503"),
        ("RSET", "250"),
        ("AUTH PLAIN AGEAYg==", "538"),
        ("GET / HTTP/1.1", "500"),
        ("", "500"),
        ("\udcff" * 3, "500"),
        ("x" * 5000, "500"),
        ("QUIT", "221"),
    ],
)
async def test_without_tls_there_is_little_to_do(emulators: Emulators, said: str, code: str) -> None:
    line = await talk(emulators)
    line.writer.write(said.encode(errors="surrogateescape") + b"\r\n")
    assert (await line.hear()).startswith(code)
    line.writer.close()


async def test_what_is_sent_along_with_starttls_is_dropped(emulators: Emulators) -> None:
    line = await talk(emulators)
    assert "STARTTLS" in await line.say("EHLO me")
    assert "AUTH" not in await line.say("EHLO me")
    assert (await line.say("STARTTLS\r\nRSET\r\nNOOP")).startswith("220 ")
    await line.writer.start_tls(trusting(emulators), server_hostname=emulators.smtp.host)
    assert "AUTH PLAIN LOGIN" in await line.say("EHLO me")
    assert (await line.say("MAIL FROM:<a@example.org>")).startswith("530 5.7.0")
    line.writer.close()


async def secured(emulators: Emulators) -> Line:
    opened = await asyncio.open_connection(emulators.smtp.host, emulators.smtp.tls_port, ssl=trusting(emulators))
    line = Line(*opened)
    await line.hear()
    await line.say("EHLO me")
    return line


async def test_a_dialogue_by_hand_all_at_once(emulators: Emulators, account: dict[str, Any]) -> None:
    line = await secured(emulators)
    secret = base64.b64encode(f"\0tidings\0{account['password']}".encode()).decode()
    assert (await line.say(f"AUTH PLAIN {secret}")).startswith("235")
    assert (await line.say(f"AUTH PLAIN {secret}")).startswith("503")
    assert (await line.say("MAIL FROM:<a@example.org> SIZE=99999999")).startswith("552 5.3.4")
    assert (await line.say("MAIL FROM:a@example.org")).startswith("501")
    assert (await line.say("RCPT TO:<x@example.org>")).startswith("503")
    line.writer.write(b"MAIL FROM:<>\r\nRCPT TO:<unknown-user@example.org>\r\nRCPT TO:<hand@example.org>\r\nDATA\r\n")
    assert [(await line.hear())[:3] for _ in range(4)] == ["250", "550", "250", "354"]
    line.writer.write(b"Subject: x\r\n\r\n..dot\r\n.\r\nNOOP\r\n")
    assert [(await line.hear())[:3] for _ in range(2)] == ["250", "250"]
    (kept,) = emulators.smtp.smtp.mailboxes.mails("hand@example.org")
    assert kept.raw == b"Subject: x\r\n\r\n.dot\r\n"
    line.writer.write(b"MAIL FROM:<>\r\nRCPT TO:<unknown-user@example.org>\r\nDATA\r\n")
    assert [(await line.hear())[:3] for _ in range(3)] == ["250", "550", "554"]
    line.writer.close()


async def test_too_many_errors_end_it(emulators: Emulators) -> None:
    line = await talk(emulators)
    for _ in range(20):
        assert (await line.say("WHAT")).startswith("500")
    assert (await line.say("WHAT")).startswith("421")
    assert await asyncio.wait_for(line.reader.read(), 10) == b""
    line.writer.close()


def test_logins() -> None:
    def b64(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    def good(name: str, password: str) -> bool:
        return (name, password) == ("n", "p")

    assert Login(good).begin(["PLAIN", b64("\0n\0p")]).done is True
    assert Login(good).begin(["PLAIN", b64("\0n\0q")]).done is False
    stepwise = Login(good)
    assert [stepwise.begin(["LOGIN"]).done, stepwise.go_on(b64("n")).done, stepwise.go_on(b64("p")).done] == [
        None,
        None,
        True,
    ]
    for words in ([], ["CRAM-MD5"], ["PLAIN", "*"], ["PLAIN", "é"], ["PLAIN", "a", "b"], ["PLAIN", b64("np")]):
        assert Login(good).begin(words).done is False, words
    assert Login(good).begin(["PLAIN"]).reply == "334 "


def test_every_magic_word_is_documented_and_found() -> None:
    for word, play in _FIXED:
        assert f"``{word}``" in (smtp_magic.__doc__ or ""), word
        assert MagicRecipients().play(f"{word}-7@example.org") == play, word
    assert MagicRecipients().play("jane@example.org") is None


async def test_the_account_can_be_read_by_another_process(caller: Caller) -> None:
    address = Address.of(caller.emulators)
    parsed = parse_smtp_account(address.smtp_account)
    assert parsed.at_port == caller.emulators.smtp.port
    assert msgspec.json.decode(address.smtp_account)["verp"] is True


async def test_web_pages_may_not_read_mailboxes(caller: Caller) -> None:
    builder = caller.client.get(caller.emulators.plain_url + "/mailboxes").header("host", "evil.example")
    assert (await builder.build().send()).status == 421
    builder = caller.client.post(caller.emulators.plain_url + "/mailboxes/drop").body_bytes(b"{}")
    assert (await builder.build().send()).status == 415
