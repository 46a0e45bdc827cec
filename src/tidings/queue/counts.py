"""What has happened to tickets and messages so far, for who asks the queue, and for the metrics."""

from msgspec import Struct

from tidings import metrics


class Counts(Struct):
    """What has happened since the start; the numbers only grow.

    Tickets: published = confirmed + merged + dropped + returned + refused + unknown + those still waiting.
    merged: the same task was waiting already. dropped: the buffer was full, or the connection was lost before
    they were sent. returned: their queue did not exist. refused: the broker said no (a queue is full).
    unknown: no answer in time, or the connection was lost meanwhile; they may arrive all the same.
    Messages: redelivered; suspected (set apart to be tried alone); dead_lettered.
    reconnects: connections lost or not made, of both kinds.
    """

    published: int = 0
    confirmed: int = 0
    merged: int = 0
    dropped: int = 0
    returned: int = 0
    refused: int = 0
    unknown: int = 0
    redelivered: int = 0
    suspected: int = 0
    dead_lettered: int = 0
    reconnects: int = 0

    def __post_init__(self) -> None:
        """A metric that is watched for growth has to be there before it grows."""
        for what in self.__struct_fields__:
            metrics.QUEUE.labels(what)

    def add(self, what: str, number: int = 1) -> None:
        """Count here, and in the metrics of this process. `what`: a field's name."""
        setattr(self, what, getattr(self, what) + number)
        metrics.QUEUE.labels(what).inc(number)
