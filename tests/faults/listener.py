"""A client of the gateway as the documentation wants it: it keeps its positions, comes back, and checks the order."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

PAUSE_S = 0.2  # before it comes back, times a random number up to 2
COMES_BACK = range(4000, 4500)


class Listener:
    """Listens to the notifications of one user until it is stopped. Every frame is checked as it comes (I4).

    ids: of the notifications, in order. codes: with which its sockets were closed (1006: without a word).
    recoveries: what the welcomes said: True, the exact gap follows; False, it can't be told; None, fresh.
    """

    def __init__(self, url: Callable[[], str], user: int, token: str) -> None:
        self.user = user
        self._url, self._token = url, token
        self._epoch, self._offset = "", -1
        self.ids: list[int] = []
        self.codes: Counter[int] = Counter()
        self.recoveries: list[bool | None] = []
        self.connected = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it; raises what went wrong meanwhile, for example a gap."""
        if not self._task.done():
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            try:
                async with connect(self._url(), compression=None, max_queue=None, proxy=None) as socket:
                    await self._listen(socket)
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else 1006
                self.codes[code] += 1
                assert code == 1006 or code in COMES_BACK, f"closed with {code}"
            except (OSError, TimeoutError, InvalidHandshake):
                self.codes[0] += 1  # nobody there, or no room: tried again
            self.connected.clear()
            await asyncio.sleep(PAUSE_S * random.uniform(0.5, 2))

    async def _listen(self, socket: ClientConnection) -> None:
        said: dict[str, Any] = {"command": "authenticate", "token": self._token}
        if self._epoch:
            said["positions"] = {"notification": f"{self._epoch}:{self._offset}"}
        await socket.send(msgspec.json.encode(said).decode())
        while True:
            heard = msgspec.json.decode(await socket.recv())
            if heard["event"] == "welcome":
                self._welcome(heard["data"]["streams"]["notification"])
            elif heard["event"] == "notification":
                self._frame(heard["position"], heard["data"]["id"])

    def _welcome(self, stream: dict[str, Any]) -> None:
        recovered, (epoch, offset) = stream["recovered"], read(stream["position"])
        self.recoveries.append(recovered)
        if recovered:
            assert epoch == self._epoch, "recovered, in a stream that is another"
            assert offset >= self._offset, "recovered, and the stream went back"
        else:
            assert recovered is False or not self._epoch, "a position was given, and nothing said of it"
            self._epoch, self._offset = epoch, offset
        self.connected.set()

    def _frame(self, position: str, notification: int) -> None:
        epoch, offset = read(position)
        expected = (self._epoch, self._offset + 1)
        assert (epoch, offset) == expected, f"a hole or a repeat: {position} after {self._epoch}:{self._offset}"
        self._offset = offset
        self.ids.append(notification)


def read(position: str) -> tuple[str, int]:
    """Epoch and offset. Clients need not look into a position; a test may."""
    epoch, _, offset = position.partition(":")
    return epoch, int(offset)


def holes(listener: Listener, sent: set[int]) -> set[int]:
    """What was sent to the user and did not come, although the client was never told that something may be missing."""
    missing = sent - set(listener.ids)
    return set() if False in listener.recoveries else missing
