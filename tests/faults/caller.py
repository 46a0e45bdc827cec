"""A caller who does not give up: numbered notifications, each with an idempotency key, until each has its 202."""

import asyncio
from collections import Counter
from collections.abc import Callable

import httpx

from tests.conftest import eventually
from tests.faults.service import KEY

PATIENCE_S = 120.0
PAUSE_S = 0.05  # before a request that failed is sent again
TIMEOUT_S = 30.0  # an API that takes longer hangs, and the test fails


class Caller:
    """What it was told is in `ids`: number → id of the notification. `answers` counts every status, `broken` the
    requests that had no answer. An id that changes between two requests with one key fails the test at once."""

    def __init__(self, url: str | Callable[[], str], count: int, *, users: int = 50, name: str = "n") -> None:
        self._url = url
        self._name = name
        self.count = count
        self.waiting = list(range(count))
        self.ids: dict[int, int] = {}
        self.users: list[int] = []
        self._wanted_users = users
        self.answers: Counter[int] = Counter()
        self.broken: list[str] = []

    async def prepare(self) -> None:
        """Users with a phone each."""
        async with self._client() as client:
            for n in range(self._wanted_users):
                body = {"external_id": f"{self._name}-{n}"}
                user = (await client.post(f"{self._base()}/api/users", json=body)).json()["id"]
                phone = {"device_token": f"{self._name}-phone-{n}", "device_type": "android"}
                made = await client.post(f"{self._base()}/api/users/{user}/devices", json=phone)
                assert made.status_code == 201, made.text
                self.users.append(user)

    async def run(self, most: int, at_once: int = 24) -> None:
        """Send up to `most`, several at once; returns when they are answered or the service is gone."""
        left = [self.waiting.pop(0) for _ in range(min(most, len(self.waiting)))]
        unanswered: list[int] = []
        async with self._client() as client:

            async def hand() -> None:
                while left:
                    number = left.pop(0)
                    if not await self._send(client, number):
                        unanswered.append(number)
                        return

            await asyncio.gather(*(hand() for _ in range(at_once)))
        self.waiting = unanswered + left + self.waiting

    async def insist(self, at_once: int = 8, pause_s: float = 0.0) -> None:
        """Send all that wait, again and again until each is accepted. `pause_s`: between two of one hand."""
        async with self._client() as client:

            async def hand() -> None:
                while self.waiting:
                    number = self.waiting.pop(0)
                    if await self._send(client, number):
                        await asyncio.sleep(pause_s)
                    else:
                        self.waiting.append(number)
                        await asyncio.sleep(PAUSE_S)

            await asyncio.gather(*(hand() for _ in range(at_once)))

    async def repeat(self) -> None:
        """Send everything once more with the same keys; each must answer the id that it had."""
        assert not self.waiting
        self.waiting = list(range(self.count))
        await self.insist(24)

    async def _send(self, client: httpx.AsyncClient, number: int) -> bool:
        user = self.users[number % len(self.users)]
        body = {"user_id": user, "title": f"{self._name} {number}"}
        key = {"Idempotency-Key": f"{self._name}-{number}"}
        try:
            answer = await client.post(f"{self._base()}/api/notifications", json=body, headers=key)
        except httpx.TimeoutException as error:
            raise AssertionError(f"no answer within {TIMEOUT_S:g} s") from error
        except httpx.TransportError as error:
            self.broken.append(f"{type(error).__name__}: {error}")
            return False
        self.answers[answer.status_code] += 1
        if answer.status_code == 503:
            return False
        assert answer.status_code == 202, answer.text
        notification: int = answer.json()["id"]
        assert self.ids.setdefault(number, notification) == notification, "one key, two notifications"
        return True

    def _base(self) -> str:
        return self._url if isinstance(self._url, str) else self._url()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(headers={"X-API-Key": KEY}, timeout=TIMEOUT_S, trust_env=False)


async def meanwhile(sending: asyncio.Task[None], condition: Callable[[], object]) -> None:
    """Wait until it holds, or all is sent. What the sender raised comes from here at once."""

    async def reached() -> bool | None:
        if sending.done():
            sending.result()
            return True
        return True if condition() else None

    await eventually(reached, PATIENCE_S)
