"""One stream of the in-memory bus: an epoch, an offset, the last frames, and the sinks that listen.

Nothing here waits or knows the time: `memory.py` owns the streams and decides when one is forgotten.
"""

import secrets
from collections import deque

from tidings.bus import Position, Recovery, Sink, encode_frame


class Stream:
    """The frames of one user or one project. Bounded by `max_frames` and `max_bytes`.

    A stream of a user who never got anything costs a few hundred
    bytes: the history is made with its first frame.
    """

    __slots__ = ("answers", "epoch", "frames", "idle_since", "kept_bytes", "offset", "sinks")

    def __init__(self) -> None:
        self.epoch = secrets.token_urlsafe(9)  # 72 bits: no epoch comes twice
        self.offset = 0
        self.frames: deque[bytes] | None = None
        self.kept_bytes = 0
        self.answers: dict[int, int] | None = None  # key → how many sinks took it
        self.sinks: dict[Sink, None] = {}
        self.idle_since = 0.0

    @property
    def position(self) -> Position:
        """Where the stream stands: its newest frame."""
        return Position(self.epoch, self.offset)

    def append(self, event: str, key: int, data: bytes, max_frames: int, max_bytes: int) -> int:
        """Add a frame and offer it to every sink; how many took it. A
        key that is remembered changes nothing."""
        answers = self.answers
        if answers is None:
            answers = self.answers = {}
        elif key in answers:
            return answers[key]
        self.offset += 1
        frame = encode_frame(event, Position(self.epoch, self.offset), data)
        self._keep(frame, max_frames, max_bytes)
        taken = 0
        for sink in tuple(self.sinks):  # a sink that refuses may leave at once
            if sink(frame):
                taken += 1
        answers[key] = taken
        if len(answers) > max_frames:
            del answers[next(iter(answers))]
        return taken

    def _keep(self, frame: bytes, max_frames: int, max_bytes: int) -> None:
        frames = self.frames
        if frames is None:
            frames = self.frames = deque()
        frames.append(frame)
        self.kept_bytes += len(frame)
        while len(frames) > max_frames or self.kept_bytes > max_bytes:
            self.kept_bytes -= len(frames.popleft())

    def forget_frames(self) -> None:
        """Drop the history and keep the place: who missed something
        will be told that it can't be recovered."""
        self.frames = None
        self.kept_bytes = 0

    def recover(self, asked: Position | None) -> Recovery:
        """The exact gap between `asked` and now, or `recovered=False` when a frame of it is gone."""
        if asked is None:
            return Recovery(True, [], self.position)
        missing = self.offset - asked.offset
        frames = self.frames or ()
        if asked.epoch != self.epoch or not 0 <= missing <= len(frames):
            return Recovery(False, [], self.position)
        first = len(frames) - missing
        return Recovery(True, [frame for n, frame in enumerate(frames) if n >= first], self.position)
