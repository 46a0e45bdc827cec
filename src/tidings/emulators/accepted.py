"""The emulated vendors' own ledger: which message ids were taken, for whom, and which of them twice.

A fault test kills parts of Tidings and then compares this ledger with Tidings' own. So it can also be written
to a file, one JSON array `["<tidings_id>", "<token>"]` a line, flushed once per turn of the event loop.
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

_KEPT_IDS = 500_000
_GENERATION = 250_000


class Accepted:
    """Counts what was taken. Duplicates are found among at least the last 250,000 messages with an id."""

    def __init__(self) -> None:
        self.total = 0
        self.duplicates = 0
        self._recent: set[int] = set()
        self._older: set[int] = set()
        self._ids: list[str] = []
        self._first = 0
        self._file: BinaryIO | None = None
        self._lines: list[bytes] = []

    def note(self, tidings_id: str | None, token: str) -> None:
        """One message was taken; `tidings_id` None: it carried no id, so it is only counted."""
        self.total += 1
        if tidings_id is None:
            return
        # 64-bit hashes instead of the texts: a third of the memory, and no collision to be expected.
        mark = hash((tidings_id, token))
        if mark in self._recent or mark in self._older:
            self.duplicates += 1
        self._recent.add(mark)
        if len(self._recent) >= _GENERATION:
            self._older, self._recent = self._recent, set()
        self._ids.append(tidings_id)
        if len(self._ids) > _KEPT_IDS:
            del self._ids[: _KEPT_IDS // 2]
            self._first += _KEPT_IDS // 2
        if self._file is not None:
            self._write(tidings_id, token)

    def counts(self, since: int, limit: int) -> dict[str, Any]:
        """How often each id was taken from position `since` (0: the beginning) on.

        `next` is the position to go on from. `complete` is False when older ones have been forgotten
        meanwhile.
        """
        start = max(since, self._first)
        part = self._ids[start - self._first : start - self._first + limit]
        return {"counts": Counter(part), "next": start + len(part), "complete": since >= self._first}

    def clear(self) -> None:
        """Start counting again; a running record goes on."""
        self.total = self.duplicates = 0
        self._recent.clear()
        self._older.clear()
        self._ids.clear()
        self._first = 0

    def record(self, path: Path) -> None:
        """Append to `path` from now on, instead of to any other file.

        Raises `ValueError` unless it is an absolute `.jsonl` path (so that no other kind of file can be
        spoiled), `OSError` when it can't be opened.
        """
        if not path.is_absolute() or path.suffix != ".jsonl":
            raise ValueError("path must be absolute and end with .jsonl")
        file = path.open("ab")
        self.stop_recording()
        self._file = file

    def stop_recording(self) -> None:
        """Twice is safe."""
        if self._file is not None:
            self._flush()
            self._file.close()
            self._file = None

    def _write(self, tidings_id: str, token: str) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(msgspec.json.encode([tidings_id, token]) + b"\n")

    def _flush(self) -> None:
        if self._file is not None and self._lines:
            self._file.write(b"".join(self._lines))
            self._file.flush()
        self._lines.clear()
