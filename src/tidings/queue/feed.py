"""What came over one channel and is not acknowledged yet."""

from collections.abc import Iterable, Sequence

from aiormq.channel import Channel

from tidings.queue import Lane


class Delivery:
    """One message. `left`: the task ids of its tickets that are not done."""

    __slots__ = ("feed", "left", "number", "tag")

    def __init__(self, feed: "Feed", tag: int, number: int) -> None:
        self.feed = feed
        self.tag = tag
        self.number = number
        self.left: set[int] = set()


class Feed:
    """The channel of a lane. Its delivery tags mean nothing on any other channel, so they never leave it."""

    def __init__(self, lane: Lane, channel: Channel) -> None:
        self.lane = lane
        self.channel = channel
        self._open: dict[int, Delivery] = {}  # by tag; tags come in ascending order
        self._done: set[int] = set()

    def came(self, delivery: Delivery) -> None:
        """A message has arrived."""
        self._open[delivery.tag] = delivery

    def finished(self, delivery: Delivery) -> None:
        """It may be acknowledged with the next `acks`. Twice is safe."""
        if delivery.tag in self._open:
            self._done.add(delivery.tag)

    @property
    def deliveries(self) -> Iterable[Delivery]:
        """All that is not acknowledged."""
        return self._open.values()

    def acks(self) -> Sequence[tuple[int, bool]]:
        """The (tag, multiple) to send now. One frame covers all that are done from the oldest up to a gap."""
        last = 0
        for tag in self._open:
            if tag not in self._done:
                break
            last = tag
        frames = [(last, True)] if last else []
        frames += [(tag, False) for tag in sorted(self._done) if tag > last]
        for tag in self._done:
            del self._open[tag]
        self._done.clear()
        return frames
