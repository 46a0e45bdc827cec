"""A project's account as a provider that is opened at its first call, and closed when it is not needed any more."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog
from msgspec import Struct

from tidings.providers.contract import Message, Outcome, Paused, Provider, Reason, Retry
from tidings.providers.credentials import CredentialsError
from tidings.vault import SealBroken

OPEN_TIMEOUT_S = 10.0
BROKEN_REST_S = 60.0  # before an account that could not be opened is tried again
CLOSE_GRACE_S = 60.0  # calls under way get so long before the connections are closed under them
MOST_TRIES = 3
BUSY_WAIT_S = 1.0
MOST_OPEN = 300  # providers in one shelf: some 0.3 MB each

log = structlog.get_logger("tidings.worker")


class Open(Struct, eq=False):
    """An opened provider, and how many calls it is at. `idle` is set when there are none and there will be no more."""

    provider: Provider
    idle: asyncio.Event
    calls: int = 0
    retired: bool = False


class Shelf:
    """The opened providers of one book: not more than `most`, the longest unused go first."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._open: OrderedDict[Held, None] = OrderedDict()
        self._closing: dict[asyncio.Task[None], Open] = {}

    def use(self, held: "Held") -> None:
        """It is called just now."""
        self._open[held] = None
        self._open.move_to_end(held)
        if len(self._open) > self._most:
            for other in list(self._open)[: len(self._open) - self._most]:
                other.put_down()

    def drop(self, held: "Held") -> None:
        """It is not open any more. Twice is safe."""
        self._open.pop(held, None)

    def close_later(self, opened: Open) -> None:
        """Close a provider when its calls are over, or after the grace."""
        opened.retired = True
        if not opened.calls:
            opened.idle.set()
        task = asyncio.create_task(_close_when_idle(opened), name="close a provider")
        self._closing[task] = opened
        task.add_done_callback(self._closed)

    async def close(self) -> None:
        """Close all of them now; calls under way end as failures of the connection. Twice is safe."""
        for held in list(self._open):
            held.put_down()
        for opened in self._closing.values():
            opened.idle.set()
        if self._closing:
            await asyncio.wait(list(self._closing))

    def _closed(self, task: asyncio.Task[None]) -> None:
        opened = self._closing.pop(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("provider_not_closed", provider=opened.provider.name, exc_info=task.exception())


async def _close_when_idle(opened: Open) -> None:
    try:
        async with asyncio.timeout(CLOSE_GRACE_S):
            await opened.idle.wait()
    except TimeoutError:
        log.warning("provider_closed_under_calls", provider=opened.provider.name, calls=opened.calls)
    finally:
        await opened.provider.close()


class Held:
    """See `contract.Provider`. `open_` gives the provider of the present credentials; `renew` replaces it."""

    def __init__(
        self,
        account_id: int,
        name: str,
        emulated: bool,
        open_: Callable[[], Awaitable[Provider]],
        shelf: Shelf,
    ) -> None:
        self._account_id = account_id
        self._name = name
        self._emulated = emulated
        self._open_provider = open_
        self._shelf = shelf
        self._opened: Open | None = None
        self._opening: asyncio.Task[Paused | None] | None = None
        self._broken: Paused | None = None
        self._broken_until = 0.0
        self._told = False
        self._removed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def emulated(self) -> bool:
        return self._emulated

    async def send(self, message: Message) -> Outcome:
        """One call with the account. `Paused`, and nothing sent, when it can't be opened or is not there any more."""
        opened = self._opened
        tries = 0
        while opened is None:  # again when the credentials changed while they were opened
            tries += 1
            if tries > MOST_TRIES:
                return Retry(Reason.UNAVAILABLE, "the account changes all the time", BUSY_WAIT_S)
            broken = await self._find()
            if broken is not None:
                return broken
            opened = self._opened
        self._shelf.use(self)
        opened.calls += 1
        try:
            return await opened.provider.send(message)
        finally:
            opened.calls -= 1
            if opened.retired and not opened.calls:
                opened.idle.set()

    def renew(self, open_: Callable[[], Awaitable[Provider]]) -> None:
        """Calls from now on are made with other credentials; those under way end with the old ones."""
        self._open_provider = open_
        self._broken, self._told = None, False
        self.put_down()

    def put_down(self) -> None:
        """Close it when its calls are over; the next call opens it again. Twice is safe."""
        self._opening = None  # who waits for it gets it, but nobody else
        self._shelf.drop(self)
        if self._opened is not None:
            self._shelf.close_later(self._opened)
            self._opened = None

    def remove(self) -> None:
        """The account was removed or switched off: no more calls. Twice is safe."""
        self._removed = True
        self.put_down()

    async def close(self) -> None:
        """The book closes it; see `put_down`."""
        self.put_down()

    async def _find(self) -> Paused | None:
        """Wait until it is opened, or answer why it is not."""
        if self._removed:
            return Paused(Reason.CREDENTIALS, "the account was removed or switched off", BUSY_WAIT_S)
        if self._broken is not None and (left_s := self._broken_until - time.monotonic()) > 0:
            return Paused(self._broken.reason, self._broken.detail, max(left_s, BUSY_WAIT_S))
        if self._opening is None:
            self._opening = asyncio.create_task(self._begin(), name="open a provider")
        # Shielded: a sender that is cancelled must not take the provider from the others who wait for it.
        return await asyncio.shield(self._opening)

    async def _begin(self) -> Paused | None:
        me = asyncio.current_task()
        found = await self._try()
        if self._opening is not me:  # meanwhile renewed or removed: nobody has called it yet
            if isinstance(found, Open):
                self._shelf.close_later(found)
            return None
        self._opening = None
        if isinstance(found, Paused):
            self._broken, self._broken_until = found, time.monotonic() + BROKEN_REST_S
            return found
        self._opened, self._broken = found, None
        self._shelf.use(self)
        return None

    async def _try(self) -> Open | Paused:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                return Open(await self._open_provider(), asyncio.Event())
        except (SealBroken, CredentialsError) as error:
            why = str(error)
        except (OSError, ValueError) as error:
            # Not its text, which may name what the project configured.
            why = f"the account can't be opened now ({type(error).__name__})"
        if not self._told:
            self._told = True
            log.error("account_unusable", account_id=self._account_id, provider=self._name, why=why)
        return Paused(Reason.CREDENTIALS, why, BROKEN_REST_S)


class SwitchedOff:
    """See `contract.Provider`. Stands where a project has accounts, but all of them are switched off."""

    emulated = False

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def send(self, message: Message) -> Outcome:
        """Nothing is sent: the operator's account must not stand in for one that was switched off on purpose."""
        return Paused(Reason.CREDENTIALS, "all accounts of the project for this are switched off", BROKEN_REST_S)

    async def close(self) -> None:
        """There is nothing to close."""
