"""Chat by Apprise: one message to one room of one service, whose URL is the address.

`docs/providers/apprise.md` says which services there are and what each answer leads to. Apprise and its HTTP library
are loaded by the first message, not by `make run`: 12 MB and a tenth of a second.
"""

import asyncio
import contextvars
import importlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import structlog
from msgspec import Meta, Struct

from tidings.addresses import Guard, Lookup
from tidings.clock import now
from tidings.providers.apprise_account import ChatAccount, check_account
from tidings.providers.apprise_answers import outcome_of
from tidings.providers.apprise_services import FORMATS
from tidings.providers.apprise_url import ChatUrl, ChatUrlError, open_plugin, parse_chat_url, scheme_of
from tidings.providers.contract import Gone, Message, Outcome, Reason, Rejected, Retry
from tidings.providers.quoted import quotable

if TYPE_CHECKING:
    from tidings.providers.apprise_http import Exchanges, Sessions

MOST_WAITING = 1_000
GRACE_S = 0.5
"""How long after its deadline a thread that was told to end is waited for, to hear what became of its call."""

_log = structlog.get_logger("tidings.chat")


class ChatOverrides(Struct, frozen=True, forbid_unknown_fields=True):
    """What a notification may say about chat. `format`: what title and body are written in: text, markdown or html.

    Apprise turns it into what the service shows.
    """

    format: Annotated[str, Meta(extra_json_schema={"enum": list(FORMATS)})] = "text"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}")


class AppriseProvider:
    """See `contract.Provider`. Open it with `open_apprise`; use it from one event loop."""

    def __init__(self, account: ChatAccount, guard: Guard, lookup: Lookup | None) -> None:
        self._account = account
        self._guard = guard
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(account.threads, thread_name_prefix="chat")
        self._sessions: Sessions | None = None
        self._opening = asyncio.Lock()
        self._waiting = 0
        self._under_way: set[Exchanges] = set()
        self._closed = False

    @property
    def name(self) -> str:
        return "apprise"

    @property
    def emulated(self) -> bool:
        return self._account.emulated

    async def send(self, message: Message) -> Outcome:
        """One message, in a thread. A repeat may be shown twice: chat services know no idempotency key, which is why
        an outcome that is not known for sure says `maybe_taken`."""
        if self._closed:
            return Retry(Reason.CONNECTION, "closed")
        if self._waiting >= MOST_WAITING:
            return Retry(Reason.UNAVAILABLE, "too many chat messages wait")
        if not (message.title or message.body):
            return Rejected(Reason.INVALID_MESSAGE, "a chat message needs a title or a body")
        try:
            url = scheme_of(message.address)
        except ChatUrlError as error:
            return Gone(Reason.INVALID_ADDRESS, str(error))
        self._waiting += 1
        try:
            return await self._within_its_time(message, url)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End what is under way, which becomes a Retry, and close the connections. Twice is safe."""
        self._closed = True
        for exchanges in tuple(self._under_way):
            exchanges.end()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._sessions is not None:
            self._sessions.close()

    async def _within_its_time(self, message: Message, url: ChatUrl) -> Outcome:
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + self._account.timeout_s
        async with self._opening:
            if self._sessions is None:
                # Loading takes some tenths of a second: not on the event loop.
                self._sessions = await loop.run_in_executor(self._threads, _open_sessions, self._account.ca_pem)
        from tidings.providers.apprise_http import Exchanges  # noqa: PLC0415 - see the module's docstring

        exchanges = Exchanges(self._guard, deadline, self._sessions, loop, self._lookup)
        context = contextvars.copy_context()
        work = loop.run_in_executor(self._threads, context.run, self._work, exchanges, message, url)
        self._under_way.add(exchanges)
        try:
            done, _ = await asyncio.wait([work], timeout=max(0.0, deadline - time.monotonic()))
            if not done:
                exchanges.end()
                done, _ = await asyncio.wait([work], timeout=GRACE_S)
            if done and not work.cancelled():
                return work.result()
            if self._closed:
                return Retry(Reason.CONNECTION, "closed", maybe_taken=exchanges.under_way)
            began = exchanges.under_way or bool(exchanges.seen)
            return Retry(Reason.TIMEOUT, "no answer in time", maybe_taken=began)
        finally:
            # Also when the sender is cancelled: the thread must not go on by itself, nor keep its connection.
            work.cancel()
            exchanges.end()
            self._under_way.discard(exchanges)

    def _work(self, exchanges: "Exchanges", message: Message, url: ChatUrl) -> Outcome:
        """On a thread. Never raises: a plugin is somebody else's code."""
        from tidings.providers.apprise_http import PRESENT  # noqa: PLC0415

        PRESENT.set(exchanges)
        try:
            taken = _notify(url, message)
        except ChatUrlError as error:
            return Gone(Reason.INVALID_ADDRESS, str(error))
        except Exception as error:
            if exchanges.seen:
                return _judged(False, exchanges, message, url)
            _log.error("a chat service's adapter failed", service=url.scheme, error=type(error).__name__)
            return Retry(Reason.INTERNAL, f"the adapter of {url.scheme} failed: {type(error).__name__}")
        return _judged(taken, exchanges, message, url)


async def open_apprise(account: ChatAccount, lookup: Lookup | None = None) -> AppriseProvider:
    """A provider for `account`. Nothing is loaded or called yet. `lookup` replaces the system's resolver.

    Raises ValueError: one sentence for who configures it. Close it in the end.
    """
    return AppriseProvider(account, check_account(account), lookup)


def _judged(taken: bool, exchanges: "Exchanges", message: Message, url: ChatUrl) -> Outcome:
    secrets = () if taken else quotable(message)
    own_host = url.service.own_host
    return outcome_of(taken, exchanges.seen, url.text, vendor=not own_host, now=now(), secrets=secrets)


def _notify(url: ChatUrl, message: Message) -> bool:
    apprise = importlib.import_module("apprise")
    plugin = open_plugin(url)
    sender = apprise.Apprise(asset=plugin.asset)
    sender.add(plugin)
    whole = message.overrides or {}
    over = whole.get("chat", whole)
    # Too much is cut, not split: each part would be a message of its own, and could fail on its own.
    plugin.overflow_mode = apprise.OverflowMode.TRUNCATE
    # Services want a body; a title alone is one.
    body, title = (message.body, message.title) if message.body else (message.title, "")
    return bool(sender.notify(body=body, title=title, body_format=over.get("format") or "text"))


def _open_sessions(ca_pem: bytes | None) -> "Sessions":
    from tidings.providers.apprise_http import Sessions  # noqa: PLC0415

    return Sessions(ca_pem)


__all__ = [
    "AppriseProvider",
    "ChatAccount",
    "ChatOverrides",
    "ChatUrl",
    "ChatUrlError",
    "open_apprise",
    "parse_chat_url",
]
