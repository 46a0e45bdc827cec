"""The connections to one relay: a few, kept while there is mail, each used for one mail at a time.

A relay counts connections and logins. So there is a most of them, a connection is given up after a number of mails
before the relay does it, and when opening one fails, all calls that were waiting get that same verdict instead of
each trying (and being counted as another wrong login) by itself.
"""

import asyncio
import ssl
from contextlib import suppress
from functools import partial

from tidings.addresses import AddressRefused, check_address, system_lookup
from tidings.providers.smtp_account import SmtpAccount
from tidings.providers.smtp_dialogue import QUIT_S, Dialogue, Ended, Stage, Trouble, tls_trouble


class Connections:
    """Open with `Connections(account, hostname, tls)`; no connection is made before the first mail."""

    def __init__(self, account: SmtpAccount, hostname: str, tls: ssl.SSLContext) -> None:
        self._account = account
        self._hostname = hostname
        self._tls = tls
        self._places = asyncio.Semaphore(account.connections)
        self._idle: list[Dialogue] = []
        self._timers: dict[Dialogue, asyncio.TimerHandle] = {}
        self._open: set[Dialogue] = set()
        self._failures = 0
        self._failure: Trouble | None = None
        self._closed = False

    async def take(self) -> tuple[Dialogue, bool]:
        """A connection for one mail, and whether it was used before. Give it back with `give_back`.

        Raises Trouble when none could be opened, or none was free in half the time that a mail has.
        """
        seen = self._failures
        if self._places.locked():
            await self._wait_for_place()
        else:
            await self._places.acquire()  # at once
        try:
            if self._closed:
                raise Trouble(Ended.UNREACHABLE, Stage.CONNECT, "the account is being closed")
            while self._idle:
                dialogue = self._idle.pop()
                self._timers.pop(dialogue).cancel()
                if dialogue.usable:
                    return dialogue, True
                dialogue.abort()
            if self._failure is not None and seen != self._failures:
                raise self._failure.again()  # somebody else tried while we were waiting
            return await self._open_one(), False
        except BaseException:
            self._places.release()
            raise

    async def replace(self, dialogue: Dialogue) -> Dialogue:
        """A new connection in the place of one that is found dead. Raises Trouble: then give that one back."""
        dialogue.abort()
        return await self._open_one()

    def give_back(self, dialogue: Dialogue) -> None:
        """Keep it for the next mail, or close it when it is broken or has carried enough."""
        self._places.release()
        if not dialogue.usable:
            dialogue.abort()
        elif self._closed or dialogue.mails >= self._account.messages_per_connection:
            dialogue.quit()
        else:
            self._idle.append(dialogue)
            self._timers[dialogue] = asyncio.get_running_loop().call_later(self._account.idle_s, self._retire, dialogue)

    async def close(self) -> None:
        """Say goodbye on all; mails under way lose their connection after 2 s. Twice is safe."""
        self._closed = True
        while self._idle:
            self._retire(self._idle[-1])
        if self._open:
            await asyncio.wait([dialogue.closed for dialogue in self._open], timeout=QUIT_S)
        for dialogue in tuple(self._open):
            dialogue.abort()

    async def _wait_for_place(self) -> None:
        try:
            async with asyncio.timeout(self._account.timeout_s / 2):
                await self._places.acquire()
        except TimeoutError:
            raise Trouble(Ended.TIMED_OUT, Stage.CONNECT, "no connection was free in time") from None

    def _retire(self, dialogue: Dialogue) -> None:
        self._timers.pop(dialogue).cancel()
        self._idle.remove(dialogue)
        dialogue.quit()

    async def _open_one(self) -> Dialogue:
        try:
            dialogue = await self._connect()
        except Trouble as trouble:
            self._failures += 1
            self._failure = trouble
            raise
        self._failure = None
        return dialogue

    async def _connect(self) -> Dialogue:
        dialogue: Dialogue | None = None
        try:
            async with asyncio.timeout(self._account.connect_timeout_s):
                dialogue = await self._reach()
                await dialogue.open(self._account, self._hostname, self._tls)
        except BaseException as error:
            stage = dialogue.stage if dialogue is not None else Stage.CONNECT
            if dialogue is not None:
                dialogue.abort()
            if isinstance(error, TimeoutError):
                raise Trouble(Ended.TIMED_OUT, stage, f"no answer in time ({stage})") from None
            raise
        return dialogue

    async def _reach(self) -> Dialogue:
        """A connection, with TLS when it is from the first byte. Raises Trouble; TimeoutError comes from outside."""
        account, loop = self._account, asyncio.get_running_loop()
        hosts = await self._guarded()
        tls, name = (self._tls, account.host) if account.security == "tls" else (None, None)
        last: Exception | None = None
        for host in hosts:
            try:
                _, dialogue = await loop.create_connection(
                    Dialogue, host, account.at_port, ssl=tls, server_hostname=name
                )
            except ssl.SSLError as error:
                raise tls_trouble(error, Stage.CONNECT) from None
            except OSError as error:
                last = error
            else:
                self._open.add(dialogue)
                dialogue.closed.add_done_callback(partial(self._forget, dialogue))
                return dialogue
        reason = getattr(last, "strerror", None) or "refused"
        raise Trouble(Ended.UNREACHABLE, Stage.CONNECT, f"could not connect: {reason}"[:120])

    def _forget(self, dialogue: Dialogue, _: asyncio.Future[None]) -> None:
        self._open.discard(dialogue)

    async def _guarded(self) -> tuple[str, ...]:
        """Where to connect: the name itself, or, for an account that is guarded, its checked addresses."""
        account = self._account
        if account.guard is None:
            return (account.host,)
        found: tuple[str, ...] = ()
        with suppress(OSError):
            found = tuple(dict.fromkeys(await system_lookup(account.host, account.at_port)))[:4]
        if not found:
            raise Trouble(Ended.UNREACHABLE, Stage.CONNECT, "could not connect: the name has no address")
        try:
            for address in found:
                check_address(address, account.guard)
        except AddressRefused as error:
            raise Trouble(Ended.FORBIDDEN, Stage.CONNECT, str(error)) from None
        return found
