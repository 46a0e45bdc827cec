"""The provider against the emulated relay over real sockets and TLS, and against aiosmtpd, which is not ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP as ForeignServer

from tests.conftest import eventually
from tests.providers.email_message import REFERENCE, message
from tidings.addresses import Guard
from tidings.emulators import certificate, smtp
from tidings.emulators.accepted import Accepted
from tidings.emulators.faults import Faults, Plan
from tidings.emulators.smtp import Smtp, SmtpServers
from tidings.providers.contract import Gone, Outcome, Paused, Reason, Rejected, Retry, Sent
from tidings.providers.smtp import SmtpAccount, SmtpProvider, open_smtp, parse_smtp_account

Open = Callable[..., Awaitable[SmtpProvider]]


class Relay(msgspec.Struct, frozen=True):
    servers: SmtpServers
    accepted: Accepted
    faults: Faults

    def account(self, **changes: Any) -> SmtpAccount:
        parsed = parse_smtp_account(msgspec.json.encode(self.servers.account()))
        usual = {"ca_pem": self.servers.ca_pem, "emulated": True, "timeout_s": 20.0, "connect_timeout_s": 10.0}
        return msgspec.structs.replace(parsed, **(usual | changes))

    def mails(self, address: str) -> list[dict[str, Any]]:
        return self.servers.smtp.mailboxes.shown(address)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    accepted, faults = Accepted(), Faults({"smtp": smtp.for_status})
    pair = certificate.make()
    running = await smtp.listen(Smtp(faults, accepted, smtp.new_key()), pair)
    yield Relay(running, accepted, faults)
    await running.close()


@pytest.fixture
async def opened(relay: Relay) -> AsyncIterator[Open]:
    """Opens providers for the relay, closed in the end."""
    providers: list[SmtpProvider] = []

    async def opening(**changes: Any) -> SmtpProvider:
        providers.append(await open_smtp(relay.account(**changes)))
        return providers[-1]

    yield opening
    for provider in providers:
        await provider.close()
        await provider.close()


async def test_a_mail_arrives_signed(relay: Relay, opened: Open) -> None:
    provider = await opened()
    outcome = await provider.send(message(title="Grüße"))
    (mail,) = relay.mails("jane@example.org")
    assert outcome == Sent(mail["message_id"])
    assert (mail["subject"], mail["dkim"], mail["text"]) == ("Grüße", True, "is at the door\n")
    assert mail["return_path"] == f"bounces+{REFERENCE}@tidings.example"
    assert relay.accepted.counts(0, 10)["counts"] == {"4711": 1}
    assert (provider.name, provider.emulated) == ("smtp", True)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that happens on the other side."""

    async def check() -> bool | None:
        return holds() or None

    await eventually(check)


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_both_kinds_of_tls(relay: Relay, opened: Open, security: str) -> None:
    port = relay.servers.tls_port if security == "tls" else relay.servers.port
    provider = await opened(security=security, port=port)
    assert isinstance(await provider.send(message()), Sent)


OUTCOMES: list[tuple[str, type[Outcome], Reason]] = [
    ("unknown-user", Gone, Reason.INVALID_ADDRESS),
    ("unknown-domain", Gone, Reason.INVALID_ADDRESS),
    ("bad-syntax", Gone, Reason.INVALID_ADDRESS),
    ("moved", Gone, Reason.UNREGISTERED),
    ("null-mx", Gone, Reason.INVALID_ADDRESS),
    ("no-such-user", Gone, Reason.INVALID_ADDRESS),
    ("disabled", Rejected, Reason.UNAVAILABLE),
    ("full", Rejected, Reason.UNAVAILABLE),
    ("full-for-now", Retry, Reason.UNAVAILABLE),
    ("busy", Retry, Reason.UNAVAILABLE),
    ("greylist", Retry, Reason.UNAVAILABLE),
    ("flaky-1", Retry, Reason.UNAVAILABLE),
    ("throttled", Retry, Reason.UNAVAILABLE),
    ("too-fast", Retry, Reason.RATE_LIMITED),
    ("no-room", Retry, Reason.UNAVAILABLE),
    ("relay-denied", Paused, Reason.CREDENTIALS),
    ("login-needed", Paused, Reason.CREDENTIALS),
    ("bad-login", Paused, Reason.CREDENTIALS),
    ("syntax", Rejected, Reason.INVALID_MESSAGE),
    ("sequence", Rejected, Reason.INVALID_MESSAGE),
    ("parameter", Rejected, Reason.INVALID_MESSAGE),
    ("too-big", Rejected, Reason.MESSAGE_TOO_BIG),
    ("bad-content", Rejected, Reason.INVALID_MESSAGE),
    ("spam", Rejected, Reason.INVALID_MESSAGE),
    ("unauthenticated", Rejected, Reason.INVALID_MESSAGE),
    ("not-verified", Paused, Reason.CREDENTIALS),
    ("daily-quota", Retry, Reason.RATE_LIMITED),
    ("drop", Retry, Reason.CONNECTION),
    ("drop-after-data", Retry, Reason.CONNECTION),
    ("lost", Retry, Reason.CONNECTION),
    ("garbage", Retry, Reason.CONNECTION),
]
TAKEN = {"lost", "garbage"}
MAYBE = {"lost", "garbage", "drop-after-data"}


async def test_every_magic_recipient_and_the_next_mail_passes(relay: Relay, opened: Open) -> None:
    provider = await opened(connections=1)
    for number, (word, kind, reason) in enumerate(OUTCOMES):
        address = f"{word}-{number}@example.org" if word != "flaky-1" else f"{word}@example.org"
        outcome = await provider.send(message(address))
        assert (type(outcome), getattr(outcome, "reason", None)) == (kind, reason), word
        if isinstance(outcome, Retry):
            assert outcome.maybe_taken == (word in MAYBE), word
        assert len(relay.mails(address)) == (word in TAKEN), word
        assert isinstance(await provider.send(message(f"good-{number}@example.org")), Sent), word


async def test_a_refusal_passes_in_time(relay: Relay, opened: Open) -> None:
    provider = await opened()
    kinds = [type(await provider.send(message("greylist-2@example.org"))) for _ in range(3)]
    assert kinds == [Retry, Retry, Sent]
    assert len(relay.mails("greylist-2@example.org")) == 1


async def test_a_repeat_has_the_same_bytes(relay: Relay, opened: Open) -> None:
    provider = await opened()
    for _ in range(2):
        await provider.send(message("lost-1@example.org"))
    first, second = relay.mails("lost-1@example.org")
    assert first["raw"] == second["raw"]
    assert relay.accepted.duplicates == 1


async def test_bounces_and_complaints_come_to_the_return_path(relay: Relay, opened: Open) -> None:
    provider = await opened()
    for word in ("bounced", "complained"):
        assert isinstance(await provider.send(message(f"{word}@example.org")), Sent)
    bounce, complaint = relay.mails(f"bounces+{REFERENCE}@tidings.example")
    assert "Status: 5.1.1" in bounce["raw"]
    assert "Feedback-Type: abuse" in complaint["raw"]
    assert REFERENCE in complaint["raw"]
    assert "complained@example.org" not in complaint["raw"]


async def test_connections_are_kept_and_bounded(relay: Relay, opened: Open) -> None:
    provider = await opened(connections=3)
    outcomes = await asyncio.gather(*(provider.send(message(f"n{n}@example.org")) for n in range(60)))
    assert {type(one) for one in outcomes} == {Sent}
    assert len(relay.servers.sessions) == 3
    assert relay.accepted.total == 60


async def test_a_connection_ends_after_so_many_mails(relay: Relay, opened: Open) -> None:
    provider = await opened(connections=1, messages_per_connection=2)
    seen = set()
    for number in range(6):
        assert isinstance(await provider.send(message(f"n{number}@example.org")), Sent)
        seen |= relay.servers.sessions
    assert len(seen) == 3


async def test_an_idle_connection_is_closed(relay: Relay, opened: Open) -> None:
    provider = await opened(idle_s=0.05)
    assert isinstance(await provider.send(message()), Sent)
    await until(lambda: not relay.servers.sessions)
    assert isinstance(await provider.send(message()), Sent)


async def test_a_kept_connection_that_died_is_replaced_at_once(relay: Relay, opened: Open) -> None:
    provider = await opened(connections=1)
    assert isinstance(await provider.send(message()), Sent)
    for end in ("drop", "close"):
        for session in tuple(relay.servers.sessions):
            getattr(session, end)()
        assert isinstance(await provider.send(message()), Sent), end


async def test_a_cut_before_the_body_is_repeated_on_a_new_connection_only_if_it_was_kept(opened: Open) -> None:
    provider = await opened(connections=1)
    fresh = await provider.send(message("drop-once-1@example.org"))
    assert isinstance(fresh, Retry)
    assert isinstance(await provider.send(message()), Sent)
    assert isinstance(await provider.send(message("drop-once-2@example.org")), Sent)


async def test_a_deadline_after_the_body_leaves_it_open(relay: Relay, opened: Open) -> None:
    provider = await opened(timeout_s=0.6, connect_timeout_s=0.3)
    outcome = await provider.send(message("timeout@example.org"))
    assert outcome == Retry(Reason.TIMEOUT, "no answer in time (body)", 60.0, maybe_taken=True)
    assert isinstance(await provider.send(message()), Sent)


async def test_a_cancelled_mail_gives_its_place_back(relay: Relay, opened: Open) -> None:
    provider = await opened(connections=1)
    for _ in range(3):
        sending = asyncio.create_task(provider.send(message("latency-60000@example.org")))
        await until(lambda: any(session._busy for session in relay.servers.sessions))
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert isinstance(await provider.send(message()), Sent)
    assert relay.mails("latency-60000@example.org") == []


async def test_a_wrong_password_is_tried_once_for_all_that_wait(relay: Relay, opened: Open) -> None:
    provider = await opened(password="wrong", connections=2)
    outcomes = await asyncio.gather(*(provider.send(message()) for _ in range(50)))
    assert {(type(one), getattr(one, "reason", None)) for one in outcomes} == {(Paused, Reason.CREDENTIALS)}
    assert relay.servers.smtp.refused_by["535"] <= 2
    assert not any("wrong" in one.detail for one in outcomes if isinstance(one, Paused))


async def test_an_account_can_be_tried_without_a_mail(relay: Relay, opened: Open) -> None:
    assert await (await opened()).log_in() is None
    assert isinstance(await (await opened(password="wrong")).log_in(), Paused)
    assert relay.accepted.total == 0


async def test_nobody_there(relay: Relay, opened: Open) -> None:
    provider = await opened()
    await relay.servers.close()
    outcome = await provider.send(message())
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.maybe_taken) == (Reason.CONNECTION, False)


async def test_an_unknown_certificate_pauses_the_account(relay: Relay, opened: Open) -> None:
    for security, port in (("tls", relay.servers.tls_port), ("starttls", relay.servers.port)):
        provider = await opened(ca_pem=certificate.make().ca_pem, security=security, port=port)
        outcome = await provider.send(message())
        assert isinstance(outcome, Paused), security
        assert "certificate" in outcome.detail
    assert relay.accepted.total == 0


async def test_tls_at_the_port_of_starttls_pauses_the_account(opened: Open) -> None:
    outcome = await (await opened(security="tls")).send(message())
    assert isinstance(outcome, Paused)
    assert "port and security" in outcome.detail


async def test_a_guarded_account_may_not_come_here(opened: Open) -> None:
    provider = await opened(guard=Guard())
    outcome = await provider.send(message())
    assert isinstance(outcome, Paused)
    assert outcome.reason is Reason.FORBIDDEN_ADDRESS
    allowed = await opened(guard=Guard(loopback=True))
    assert isinstance(await allowed.send(message()), Sent)


@pytest.mark.parametrize("address", ["nobody", "a@b", "x@example.org\r\nRCPT TO:<y@example.org>", "a b@example.org"])
async def test_what_is_no_address_is_not_sent(relay: Relay, opened: Open, address: str) -> None:
    outcome = await (await opened()).send(message(address))
    assert isinstance(outcome, Gone)
    assert outcome.reason is Reason.INVALID_ADDRESS
    assert address not in outcome.detail
    assert not relay.servers.sessions


async def test_wide_addresses_and_lines_of_dots(relay: Relay, opened: Open) -> None:
    provider = await opened()
    body = ".\n..\n.hidden\n\n.\n"
    assert isinstance(await provider.send(message("größe@bücher.example", body=body)), Sent)
    (mail,) = relay.mails("größe@xn--bcher-kva.example")
    assert mail["text"] == body
    assert mail["dkim"] is True


@pytest.mark.parametrize(
    ("plan", "kind", "taken"),
    [
        (Plan(count=1), Retry, 0),
        (Plan(status=550, count=1), Rejected, 0),
        (Plan(status=429, count=1), Retry, 0),
        (Plan(drop_rate=1, count=1), Retry, 0),
        (Plan(lost_rate=1, count=1), Retry, 1),
        (Plan(dead_tokens=frozenset({"jane@example.org"})), Gone, 0),
        (Plan(latency_ms=5), Sent, 1),
    ],
)
async def test_faults(relay: Relay, opened: Open, plan: Plan, kind: type[Outcome], taken: int) -> None:
    relay.faults.set({"smtp": plan})
    outcome = await (await opened()).send(message())
    assert type(outcome) is kind
    assert len(relay.mails("jane@example.org")) == taken


class _Kept:
    """A handler for aiosmtpd that keeps what it gets and refuses some."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("no"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 2.0.0 Ok: queued as F00D1234"


async def test_a_foreign_server_without_pipelining() -> None:
    handler = _Kept()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ForeignServer(handler, enable_SMTPUTF8=True), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = await open_smtp(SmtpAccount("127.0.0.1", "shop@example.org", port, "none", connections=1))
    try:
        for address, expected in (("a@example.org", Sent), ("no@example.org", Gone), ("b@example.org", Sent)):
            assert isinstance(await provider.send(message(address)), expected), address
    finally:
        await provider.close()
        server.close()
    assert [rcpt for _, rcpt, _ in handler.taken] == [["a@example.org"], ["b@example.org"]]


HOSTILE: list[tuple[bytes, type[Outcome]]] = [
    (b"", Retry),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", Retry),
    (b"220 hi\r\n", Retry),
    (b"220-" + b"x" * 100_000, Retry),
    (b"220-a\r\n" * 20_000, Retry),
    (b"220 a\r\n220 b\r\n220 c\r\n220 d\r\n220 e\r\n", Retry),
    (b"\xff\xfe\x00", Retry),
    (b"554 5.7.1 go away\r\n", Paused),
    (b"421 4.3.2 later\r\n", Retry),
    (b"220 a\r\n250 a\r\n", Paused),  # no STARTTLS
]


@pytest.mark.parametrize(("said", "kind"), HOSTILE)
async def test_a_server_that_says_anything(said: bytes, kind: type[Outcome]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    account = SmtpAccount("127.0.0.1", "shop@example.org", port, timeout_s=1.0, connect_timeout_s=0.4)
    provider = await open_smtp(account)
    try:
        outcome = await provider.send(message())
    finally:
        await provider.close()
        server.close()
    assert isinstance(outcome, kind)
    if isinstance(outcome, Retry):
        assert not outcome.maybe_taken
