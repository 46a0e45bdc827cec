"""One contract for all providers: whatever the vendor or the network do, `send` answers an outcome, in time, and lets
nothing out that is secret. And every line of the decision tables in docs/providers stands on a recorded answer."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.providers.contract.bad_vendor import At, Trouble, bad_vendor
from tests.providers.contract.subjects import GATEWAY, MARK, SUBJECTS, TITLE, Subject
from tests.providers.contract.tables import ANSWERS, DOCS, OUTCOMES, Line, agrees, lines, names, recorded
from tidings import emulators
from tidings.emulators import Emulators, certificate
from tidings.emulators.exchange import Answer, Drop, Request, Response
from tidings.emulators.http_server import serve
from tidings.providers.contract import Gone, Message, Outcome, Paused, Provider, Reason, Rejected, Retry, Sent

DEADLINE_S = 1.0
MUTE_S = 3.0
LATEST_S = 20.0  # nothing of this suite takes nearly as long; without an end it would
MANY = 100
PASSING = {Reason.CONNECTION, Reason.TIMEOUT, Reason.UNAVAILABLE}
TABLES = sorted(path.stem for path in DOCS.glob("*.md") if "## What each answer leads to" in path.read_text())

each_provider = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
each_and_gateway = pytest.mark.parametrize("subject", (*SUBJECTS, GATEWAY), ids=lambda subject: subject.name)
by_http = pytest.mark.parametrize(
    "subject", [each for each in SUBJECTS if not each.speaks_first], ids=lambda subject: subject.name
)


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Emulators]:
    running = await emulators.start()
    yield running
    await running.close()


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """All that was logged or printed so far."""
    caplog.set_level(logging.DEBUG)

    def said() -> str:
        printed = capfd.readouterr()
        return caplog.text + printed.out + printed.err

    yield said


async def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LATEST_S
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


async def attempt(provider: Provider, message: Message) -> Outcome:
    """One attempt, which must end by itself."""
    async with asyncio.timeout(LATEST_S):
        return await provider.send(message)


def secrets_of(subject: Subject, place: Emulators, message: Message) -> list[str]:
    """What must be seen nowhere: keys, the address, and what is said to the person."""
    return [*subject.secrets(place), message.address, MARK, TITLE]


@pytest.mark.parametrize("trouble", list(Trouble))
@each_provider
async def test_trouble_is_an_outcome(
    subject: Subject, trouble: Trouble, place: Emulators, everything: Callable[[], str]
) -> None:
    tls = certificate.server_context(certificate.make()) if trouble is Trouble.STRANGER else None
    async with bad_vendor(trouble, tls) as vendor:
        at = At(vendor.port, trouble is Trouble.STRANGER, place.ca_pem, timeout_s=DEADLINE_S)
        provider = await subject.open(place, at)
        message = subject.message(place, at, 1)
        try:
            outcome = await attempt(provider, message)
            again = await attempt(provider, message)
        finally:
            await provider.close()
    if subject.speaks_first and trouble is Trouble.STRANGER:
        assert isinstance(outcome, Paused | Retry)
    else:
        assert isinstance(outcome, Retry), outcome
        assert outcome.reason in PASSING
    assert type(again) is type(outcome)
    if isinstance(outcome, Retry):
        if trouble in (Trouble.REFUSED, Trouble.STRANGER):
            assert (outcome.reason, outcome.maybe_taken) == (Reason.CONNECTION, False)
        if trouble is Trouble.SILENT:
            assert (outcome.reason, outcome.maybe_taken) == (Reason.TIMEOUT, not subject.speaks_first)
        if trouble is Trouble.CUT and not subject.speaks_first:
            assert (outcome.reason, outcome.maybe_taken) == (Reason.CONNECTION, True)
    said = everything() + repr((outcome, again, provider))
    assert [secret for secret in secrets_of(subject, place, message) if secret in said] == []


@pytest.mark.parametrize(
    "answer",
    [
        Drop(),
        Response(200, b""),
        Response(200, b"<html>log in</html>"),
        Response(200, b'{"ok":'),
        Response(503, b"x" * 4_000_000),
        Response(503, b"[" * 60_000),
        Response(599, b"\xff\xfe", (("retry-after", "-1"),)),
        Response(307, b"", (("location", "http://127.0.0.1:9/"),)),
    ],
    ids=["dropped", "empty", "html", "half", "huge", "deep", "nonsense", "redirect"],
)
@by_http
async def test_an_answer_that_makes_no_sense_is_an_outcome(
    subject: Subject, answer: Answer, place: Emulators, everything: Callable[[], str]
) -> None:
    def app(request: Request) -> Answer:
        return answer

    server = await serve(app)
    at = At(server.port, False, place.ca_pem, timeout_s=DEADLINE_S)
    provider = await subject.open(place, at)
    message = subject.message(place, at, 2)
    try:
        outcome = await attempt(provider, message)
    finally:
        await provider.close()
        await server.close()
    assert isinstance(outcome, Retry | Sent), outcome  # some vendors say yes by the status alone
    if not isinstance(answer, Response) or answer.status != 200:
        assert isinstance(outcome, Retry)
        assert outcome.reason in PASSING
        assert outcome.after_s is None or 0 < outcome.after_s <= 3600
        assert len(outcome.detail) <= 300
    said = everything() + repr(outcome)
    assert [secret for secret in secrets_of(subject, place, message) if secret in said] == []


@each_and_gateway
async def test_many_at_once(subject: Subject, place: Emulators) -> None:
    at = subject.at(place)
    provider = await subject.open(place, at)
    try:
        sends = (attempt(provider, subject.message(place, at, 1000 + n)) for n in range(MANY))
        outcomes = await asyncio.gather(*sends)
    finally:
        await provider.close()
    assert [outcome for outcome in outcomes if not isinstance(outcome, Sent)] == []
    ids = [outcome.provider_message_id for outcome in outcomes if isinstance(outcome, Sent)]
    known = [each for each in ids if each is not None]
    assert len(set(known)) == len(known)
    assert (provider.name, provider.emulated) == (subject.name, subject is not GATEWAY)


@each_provider
async def test_every_attempt_is_known_by_the_same(subject: Subject, place: Emulators) -> None:
    at = subject.at(place)
    message = subject.message(place, at, 2001)
    for _ in range(2):  # another process, another connection, the same notification
        provider = await subject.open(place, at)
        assert isinstance(await attempt(provider, message), Sent)
        await provider.close()
    first, second = subject.arrived(place, message.address)
    assert first
    assert first == second


@each_provider
async def test_a_cancelled_send_leaves_nothing_behind(subject: Subject, place: Emulators) -> None:
    before = asyncio.all_tasks()
    async with mute(subject, place) as (at, connections):
        provider: Provider | None = await subject.open(place, at)
        assert provider is not None
        sending = asyncio.create_task(provider.send(subject.message(place, at, 3001)))
        await eventually(lambda: connections() > 0, "it never connected")
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await provider.close()
        # An idle HTTP/2 connection lives as long as its client, see `http.open_client`.
        provider = None
        del sending
        gc.collect()
        await eventually(lambda: connections() == 0, "its connection stayed open")
    await eventually(lambda: _tasks_besides(before) == set(), f"tasks stayed: {_tasks_besides(before)}")


@asynccontextmanager
async def mute(subject: Subject, place: Emulators) -> AsyncIterator[tuple[At, Callable[[], int]]]:
    """A vendor that connects and never answers, and how many connections it has."""
    if subject.speaks_first:
        async with bad_vendor(Trouble.SILENT) as vendor:
            yield At(vendor.port, False, place.ca_pem, timeout_s=MUTE_S), lambda: vendor.open
        return

    async def later() -> Answer:
        await asyncio.sleep(LATEST_S)
        return Drop()

    server = await serve(lambda request: later())
    try:
        yield At(server.port, False, place.ca_pem, timeout_s=MUTE_S), lambda: server.open_connections
    finally:
        await server.close()


def _tasks_besides(before: set["asyncio.Task[object]"]) -> set[str]:
    return {repr(task.get_coro()) for task in asyncio.all_tasks() - before}


@each_and_gateway
async def test_closing_twice_is_safe(subject: Subject, place: Emulators) -> None:
    at = subject.at(place)
    provider = await subject.open(place, at)
    assert isinstance(await attempt(provider, subject.message(place, at, 4001)), Sent)
    await provider.close()
    await provider.close()


@each_provider
async def test_closing_ends_what_is_under_way(subject: Subject, place: Emulators) -> None:
    async with bad_vendor(Trouble.SILENT) as vendor:
        at = At(vendor.port, False, place.ca_pem, timeout_s=3.0)
        provider = await subject.open(place, at)
        message = subject.message(place, at, 5001)
        sending = asyncio.create_task(attempt(provider, message))
        await eventually(lambda: vendor.made > 0, "it never connected")
        async with asyncio.timeout(LATEST_S):
            await provider.close()
        assert isinstance(await sending, Retry)
        assert isinstance(await attempt(provider, message), Retry)


@each_provider
async def test_an_address_that_can_not_be_one_is_no_call(subject: Subject, place: Emulators) -> None:
    async with bad_vendor(Trouble.SILENT) as vendor:
        at = At(vendor.port, False, place.ca_pem, timeout_s=DEADLINE_S)
        provider = await subject.open(place, at)
        template = subject.message(place, at, 6001)
        for address, reason in subject.refused_here:
            fields = {name: getattr(template, name) for name in template.__struct_fields__} | {"address": address}
            outcome = await attempt(provider, Message(**fields))
            assert isinstance(outcome, Gone | Rejected)
            assert outcome.reason is reason
        await provider.close()
        assert vendor.made == 0


def test_every_provider_with_a_table_is_under_contract() -> None:
    assert sorted(subject.name for subject in SUBJECTS) == TABLES


ALL_LINES = [line for name in TABLES for line in lines(name)]


def test_the_tables_are_read() -> None:
    assert {line.outcome for line in ALL_LINES} == set(OUTCOMES)
    assert all(len([line for line in ALL_LINES if line.provider == name]) >= 12 for name in TABLES)


@pytest.mark.parametrize("line", ALL_LINES, ids=str)
def test_every_line_of_a_table_stands_on_a_recorded_answer(line: Line) -> None:
    assert line.outcome in OUTCOMES
    assert set(line.reasons) <= set(Reason)
    assert line.reasons or line.outcome == "sent"
    if line.without_answer is not None:
        assert line.without_answer in line.reasons
        assert line.outcome == "retry"
    elif not line.locally:
        assert any(agrees(line, answer) and names(line, answer) for answer in recorded(line.provider)), (
            f"no file in {ANSWERS / line.provider} shows it"
        )


@pytest.mark.parametrize("name", TABLES)
def test_every_recorded_answer_is_in_the_table(name: str) -> None:
    known = {(line.outcome, reason) for line in lines(name) for reason in (line.reasons or (None,))}
    missing = [
        answer.name for answer in recorded(name) if (answer.outcome["type"], answer.outcome.get("reason")) not in known
    ]
    assert missing == []
