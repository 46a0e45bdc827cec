"""The WebSocket channel: a notification becomes a frame, and the answer says whether anyone was there."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tidings.bus import BusUnavailable
from tidings.bus.memory import MemoryBus
from tidings.providers.contract import Message, Outcome, Provider, Reason, Rejected, Retry, Sent
from tidings.providers.gateway import GatewayProvider

MESSAGE = Message(
    project_id=1,
    notification_id=42,
    user_id=7,
    device_id=0,
    device_type="",
    address="",
    title="Grüße",
    body='a "quoted" line\n',
    data={"order": 5, "nested": {"x": [1, None]}},
    ttl_s=60,
    collapse_key="n42",
    urgent=False,
    created_at=datetime(2026, 1, 31, 9, 0, tzinfo=UTC),
)


class Ear:
    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def take(self, frame: bytes) -> bool:
        self.heard.append(msgspec.json.decode(frame))
        return True


async def send(bus: MemoryBus) -> Outcome:
    provider: Provider = GatewayProvider(bus, deadline_s=0.05)
    assert (provider.name, provider.emulated) == ("gateway", False)
    outcome = await provider.send(MESSAGE)
    await provider.close()
    return outcome


async def test_an_open_socket_gets_the_notification() -> None:
    bus, ear = MemoryBus(), Ear()
    await bus.join(1, 7, ear.take, None, None)
    assert await send(bus) == Sent()
    [frame] = ear.heard
    assert frame["event"] == "notification"
    assert frame["data"] == {
        "id": 42,
        "title": "Grüße",
        "body": 'a "quoted" line\n',
        "data": {"order": 5, "nested": {"x": [1, None]}},
        "created_at": "2026-01-31T09:00:00Z",
    }


async def test_a_second_attempt_shows_nothing_twice_and_is_sent_too() -> None:
    bus, ear = MemoryBus(), Ear()
    await bus.join(1, 7, ear.take, None, None)
    assert [await send(bus), await send(bus)] == [Sent(), Sent()]
    assert len(ear.heard) == 1


async def test_nobody_there() -> None:
    outcome = await send(MemoryBus())
    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.NOT_CONNECTED


async def test_who_was_here_a_moment_ago_finds_it_on_return() -> None:
    bus, ear = MemoryBus(), Ear()
    start, _ = await bus.join(1, 7, ear.take, None, None)
    await bus.leave(1, 7, ear.take)
    assert isinstance(await send(bus), Rejected)
    mine, _ = await bus.join(1, 7, ear.take, start.position, None)
    assert [msgspec.json.decode(frame)["data"]["id"] for frame in mine.frames] == [42]


class AwayBus(MemoryBus):
    async def publish(self, project_id: int, user_id: int, key: int, data: bytes) -> int:
        raise BusUnavailable("connection refused")


class SilentBus(MemoryBus):
    async def publish(self, project_id: int, user_id: int, key: int, data: bytes) -> int:
        await asyncio.sleep(3600)
        return 1


@pytest.mark.parametrize(("bus", "reason"), [(AwayBus, Reason.CONNECTION), (SilentBus, Reason.TIMEOUT)])
async def test_a_bus_that_is_away_is_tried_again(bus: type[MemoryBus], reason: Reason) -> None:
    outcome = await send(bus())
    assert isinstance(outcome, Retry)
    assert outcome.reason is reason
