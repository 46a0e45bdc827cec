"""libcurl on the event loop: many transfers at once, without a thread.

By libcurl's multi socket interface (https://curl.se/libcurl/c/libcurl-multi.html): it says which sockets and which time
to wait for, and is told when they come. pycurl's own `AsyncCurlMulti` does the same; this one asks less of each call,
a tenth of what a call costs.
"""

import asyncio
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import pycurl

_CORK: int | None = getattr(socket, "TCP_CORK", None)  # Linux has it
_MANY = 4


class Multi:
    """Transfers under way, each a future. Use it from one event loop."""

    def __init__(self, options: tuple[tuple[int, int], ...]) -> None:
        self._loop = asyncio.get_running_loop()
        self._multi = multi = pycurl.CurlMulti()
        self._under_way: dict[pycurl.Curl, asyncio.Future[None]] = {}
        self._watched: dict[int, int] = {}
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None
        for option, value in options:
            multi.setopt(option, value)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._wait)

    async def perform(self, curl: pycurl.Curl) -> None:
        """Make the transfer that `curl` is set for. Raises `pycurl.error` when it fails.

        Cancelled, it is given up at once, and `curl` is free again.
        """
        done = self._under_way[curl] = self._loop.create_future()
        try:
            self._multi.add_handle(curl)
            await done
        except BaseException:
            if self._under_way.pop(curl, None) is not None:
                self._multi.remove_handle(curl)
            raise

    def close(self, why: pycurl.error) -> None:
        """End what is under way with `why`, and close the connections. Twice is safe."""
        if self._multi.closed:
            return
        for curl, done in tuple(self._under_way.items()):
            self._end(curl, done, why)
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()
        for file in tuple(self._watched):
            self._watch(pycurl.POLL_REMOVE, file, None, None)

    def _watch(self, what: int, file: int, _multi: object, _data: object) -> None:
        """libcurl wants to know when this socket can be read or written (`POLL_IN`, `POLL_OUT`), or no more."""
        wanted = 0 if what == pycurl.POLL_REMOVE else what
        watched = self._watched.get(file, 0)
        if wanted & pycurl.POLL_IN and not watched & pycurl.POLL_IN:
            self._loop.add_reader(file, self._act, file, pycurl.CSELECT_IN)
        elif watched & pycurl.POLL_IN and not wanted & pycurl.POLL_IN:
            self._loop.remove_reader(file)
        if wanted & pycurl.POLL_OUT and not watched & pycurl.POLL_OUT:
            self._loop.add_writer(file, self._act, file, pycurl.CSELECT_OUT)
        elif watched & pycurl.POLL_OUT and not wanted & pycurl.POLL_OUT:
            self._loop.remove_writer(file)
        if wanted:
            self._watched[file] = wanted
        else:
            self._watched.pop(file, None)

    def _wait(self, after_ms: int) -> None:
        """libcurl wants to be called after so long, 0: soon, -1: not for time's sake. The last word counts."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if after_ms > 0:
            self._timer = self._loop.call_later(after_ms / 1000, self._time_has_come)
        elif after_ms == 0 and not self._soon:
            self._soon = True  # not now: libcurl must not be called from its own calls
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._soon = False
        self._act(pycurl.SOCKET_TIMEOUT, 0)

    def _time_has_come(self) -> None:
        self._timer = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, file: int, ready: int) -> None:
        if self._multi.closed:
            return
        try:
            with self._corked():
                self._multi.socket_action(file, ready)
        except pycurl.error as error:  # a defect, here or there; nobody is to wait for what does not come any more
            for curl, done in tuple(self._under_way.items()):
                self._end(curl, done, error)
            return
        _, good, bad = self._multi.info_read()
        for curl in good:
            self._end(curl, self._under_way[curl], None)
        for curl, code, said in bad:
            self._end(curl, self._under_way[curl], pycurl.error(code, said))

    @contextmanager
    def _corked(self) -> Iterator[None]:
        """What is written within goes out in full packets, and at the end. Each call by itself would be a packet, and
        the way of one through the system costs a tenth of a call (tcp(7), TCP_CORK)."""
        if _CORK is None or len(self._under_way) < _MANY:
            yield
            return
        files = tuple(
            self._watched
        )  # all of them, also those that libcurl keeps and does not watch any more afterwards
        _cork(files, _CORK, 1)
        try:
            yield
        finally:
            _cork(files, _CORK, 0)

    def _end(self, curl: pycurl.Curl, done: "asyncio.Future[None]", why: pycurl.error | None) -> None:
        del self._under_way[curl]
        self._multi.remove_handle(curl)
        if done.done():  # cancelled in this moment
            return
        if why is None:
            done.set_result(None)
        else:
            done.set_exception(why)


def _cork(files: Iterable[int], option: int, on: int) -> None:
    for file in files:
        # OSError: libcurl watches other things than connections, and may have closed one meanwhile.
        with suppress(OSError), _lent(file) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, option, on)


@contextmanager
def _lent(file: int) -> Iterator[socket.socket]:
    """libcurl's connection, for a moment. OSError for what is none."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, file)
    try:
        yield connection
    finally:
        connection.detach()
