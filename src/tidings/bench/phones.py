"""When phones got what: asked from the emulators, which stamp each message as it comes."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct

from tidings.bench import bodies
from tidings.bench.probe import AT_KEY
from tidings.emulators import address
from tidings.errors import SetupError
from tidings.http import Answer, open_client, request

TIMEOUT_S = 10.0
LATE_S = 20.0  # what is not there so long after the first look is missing
LOOK_EVERY_S = 0.1
MOST_BYTES = 1 << 20  # a phone keeps 100 messages


class _Body(Struct, frozen=True):
    data: dict[str, str] = {}


class _Request(Struct, frozen=True):
    message: _Body


class _Message(Struct, frozen=True):
    received_at: datetime
    request: _Request


class _Messages(Struct, frozen=True):
    messages: list[_Message]


_decode = msgspec.json.Decoder(_Messages).decode


class Phones:
    """The phones of some users of the bench. To be closed."""

    def __init__(self, emulators: Path, users: Sequence[int]) -> None:
        """`emulators`: the file that says how to reach them. Raises `SetupError` when it can't be read."""
        self._url = address.read(emulators).plain_url
        self._users = users
        self._client = open_client(timeout_s=TIMEOUT_S, system_proxy=False)

    async def arrived(self, since: int, count: int) -> dict[int, float]:
        """Milliseconds from when a notification was due until it was received, by when it was due, from `since` on.

        Waits up to 20 seconds for `count` of them. Of one that came twice the first counts.
        """
        deadline = time.monotonic() + LATE_S
        while True:
            took: dict[int, float] = {}
            for user_id in self._users:
                for message in await self._messages(user_id):
                    at = int(message.request.message.data.get(AT_KEY, "0"))
                    if at >= since and at not in took:
                        took[at] = (nanoseconds(message.received_at) - at) / 1e6
            if len(took) >= count or time.monotonic() > deadline:
                return took
            await asyncio.sleep(LOOK_EVERY_S)

    async def _messages(self, user_id: int) -> list[_Message]:
        url = f"{self._url}/phones/{quote(bodies.device_token(user_id), safe='')}/messages"
        answer = await self._client.send(request("GET", url, {}), limit=MOST_BYTES)
        if not isinstance(answer, Answer):
            raise SetupError(f"an emulator does not answer: {answer.detail}")
        return _decode(answer.body).messages

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def nanoseconds(at: datetime) -> int:
    """A time as nanoseconds since 1970, exactly."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
