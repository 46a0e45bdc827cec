"""The sockets of this process that listen to one stream, and how far each has come.

A frame fits a socket when it is the one right after what the socket has. One that it has already is passed
over; anything else means that something between was lost, and then the socket gets nothing more.
"""

import asyncio
import logging
from collections import deque

from tidings.bus import Lost, Sink

TELL_SLICE = 128

log = logging.getLogger(__name__)


class Seat:
    """One socket at one stream: it has everything of `epoch` up to `offset`."""

    __slots__ = ("epoch", "lost", "offset")

    def __init__(self, epoch: bytes, offset: int, lost: Lost | None) -> None:
        self.epoch = epoch
        self.offset = offset
        self.lost = lost


class Seats:
    """Sockets whose join is on its way count already, and get no frames yet."""

    __slots__ = ("_seats",)

    def __init__(self) -> None:
        self._seats: dict[Sink, Seat | None] = {}  # None: on its way

    def __len__(self) -> int:
        """How many sockets this process has at the stream."""
        return len(self._seats)

    def arrive(self, sink: Sink) -> None:
        """Its join begins. One that was here already gets nothing more until its answer: the gap holds it."""
        self._seats[sink] = None

    def take(self, sink: Sink, seat: Seat) -> bool:
        """Its join is answered: from here on it gets frames. False: it has left meanwhile."""
        if sink not in self._seats:
            return False
        self._seats[sink] = seat
        return True

    def leave(self, sink: Sink) -> bool:
        """Forget the socket. False: it was not here."""
        known = sink in self._seats
        self._seats.pop(sink, None)
        return known

    def offer(self, epoch: bytes, offset: int, frame: bytes) -> list[Lost]:
        """Give the frame to every socket that it fits. Answers whom to tell that frames were lost."""
        told: list[Lost] = []
        for sink, seat in tuple(self._seats.items()):  # a sink that refuses may leave at once
            if seat is None:
                continue
            if seat.epoch == epoch and seat.offset + 1 == offset:
                seat.offset = offset
                sink(frame)  # one that refuses is closing, and leaves by itself
            elif seat.epoch != epoch or seat.offset < offset:
                self._drop(sink, seat, told)
        return told

    def check(self, epoch: bytes, offset: int) -> list[Lost]:
        """The stream stands here, and all that was published before has arrived. Who is behind has lost
        something. Answers whom to tell."""
        told: list[Lost] = []
        for sink, seat in tuple(self._seats.items()):
            if seat is not None and (seat.epoch != epoch or seat.offset < offset):
                self._drop(sink, seat, told)
        return told

    def _drop(self, sink: Sink, seat: Seat, told: list[Lost]) -> None:
        del self._seats[sink]
        if seat.lost is not None:
            told.append(seat.lost)


class Losses:
    """Tells sockets that they may have missed something: a few in each turn of the loop, as it may be all of
    them at once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Lost] = deque()

    def tell(self, lost: list[Lost]) -> None:
        """Soon, and in this order."""
        if lost and not self._waiting:
            self._loop.call_soon(self._tell_some)
        self._waiting += lost

    def _tell_some(self) -> None:
        for _ in range(min(TELL_SLICE, len(self._waiting))):
            try:
                self._waiting.popleft()()
            except Exception:
                # The others must be told whatever one of them does.
                log.exception("a socket could not be told that it missed frames")
        if self._waiting:
            self._loop.call_soon(self._tell_some)
