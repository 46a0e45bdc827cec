"""A place to chat with, emulated: rooms that take what chat services are sent, and show it.

| call | what it is |
|---|---|
| `POST /chats/{room}` | a custom webhook: what `json://`, `form://` and `xml://` post |
| `POST /` with `{"topic": room, …}` | an ntfy server: what `ntfy://` posts |
| `POST /message` | a gotify server: the room is `gotify` |
| `POST /hooks/{room}` | an incoming webhook as Slack and Mattermost have them: what `mmost://` posts |
| `GET /chats?limit=` | the rooms, those that heard something last come first |
| `GET /chats/{room}` | the last 100 messages of one room, oldest first |
| `DELETE /chats` | forget all rooms |

The beginning of a room's name provokes an answer:

=================  ======  ===================================================
begins with        answer  what it says
=================  ======  ===================================================
``gone``           410     the room is gone
``no-room``        404     no such room
``closed``         403     not allowed
``bad``            400     the message is at fault
``big``            413     too much
``rate-<s>``       429     with Retry-After and `retry_after`
``busy``           503     later
``html-502``       502     a page of a proxy
``redirect``       302     elsewhere
``huge``           500     a megabyte of text
``drop``           cut     the connection is cut, nothing is kept
``lost``           cut     kept, then the connection is cut
``timeout``        never   no answer for two minutes
=================  ======  ===================================================
"""

import re
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Struct

from tidings import clock
from tidings.emulators.exchange import Answer, Drop, Request, Response
from tidings.emulators.faults import HANG, LOST, Effect, Faults, play

CHATS, HOOKS, GOTIFY, NTFY = "/chats", "/hooks/", "/message", "/"
MAX_ROOMS = 10_000
MAX_MESSAGES = 100
MAX_TEXT_BYTES = 64 * 1024
_LOCAL = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
_RATE = re.compile(r"rate-(\d{1,4})")
_JSON = (("content-type", "application/json"),)


def for_status(status: int, retry_after_s: int | None = None) -> Response:
    """A refusal with this status, for faults that are asked for by number."""
    headers = _JSON if retry_after_s is None else (*_JSON, ("retry-after", str(retry_after_s)))
    return Response(status, msgspec.json.encode({"error": f"status {status}"}), headers)


_MAGIC: tuple[tuple[str, Effect], ...] = (
    ("gone", Effect(for_status(410))),
    ("no-room", Effect(for_status(404))),
    ("closed", Effect(for_status(403))),
    ("bad", Effect(for_status(400))),
    ("big", Effect(for_status(413))),
    ("busy", Effect(for_status(503))),
    ("html-502", Effect(Response(502, b"<html><h1>Bad Gateway</h1></html>", (("content-type", "text/html"),)))),
    ("redirect", Effect(Response(302, b"", (("location", "https://elsewhere.example/"),)))),
    ("huge", Effect(Response(500, b"x" * 1_000_000, (("content-type", "text/plain"),)))),
    ("drop", Effect(Drop())),
    ("lost", LOST),
    ("timeout", HANG),
)


class Said(Struct, frozen=True):
    """One message in a room. `whole`: what was posted, read as far as it can be."""

    at: datetime
    title: str
    text: str
    whole: Any


class Chat:
    """The rooms: the last 100 messages of each of the last 10,000, each message cut at 64 KiB."""

    def __init__(self, faults: Faults, local_only: bool = True) -> None:
        """`local_only`: who asks what was said must have named this machine as host."""
        self._faults = faults
        self._local_only = local_only
        self._rooms: OrderedDict[str, list[Said]] = OrderedDict()

    @staticmethod
    def takes(request: Request) -> bool:
        """Whether the request is for a chat."""
        path = request.path
        if path.startswith((CHATS, HOOKS)):
            return True
        return request.method == "POST" and path in (NTFY, GOTIFY)

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Any call of the table above; 404 and 405 for others."""
        if request.method == "POST":
            return self._post(request)
        if not request.path.startswith(CHATS):
            return for_status(405)
        if self._local_only and not _LOCAL.fullmatch(request.headers.get("host", "")):
            return for_status(403)
        if request.method == "DELETE":
            self.clear()
            return Response(204)
        if request.method != "GET":
            return for_status(405)
        room = unquote(request.path[len(CHATS) :].strip("/"))
        return self._rooms_shown(request.query) if not room else _json({"messages": self.messages(room)})

    def messages(self, room: str) -> list[Said]:
        """What was said in a room, oldest first."""
        return list(self._rooms.get(room, ()))

    def clear(self) -> None:
        """Forget all rooms."""
        self._rooms.clear()

    def _post(self, request: Request) -> Answer | Awaitable[Answer]:
        whole = _read(request.body[:MAX_TEXT_BYTES], request.headers.get("content-type", ""))
        fields = whole if isinstance(whole, dict) else {}
        path = request.path
        if path == NTFY:
            room = str(fields.get("topic", ""))
        elif path == GOTIFY:
            room = "gotify"
        else:
            room = unquote(path.removeprefix(HOOKS).removeprefix(CHATS).strip("/"))
        if not room:
            return for_status(400)
        effect = self._faults.effect("chat", room) or _magic(room)
        keep = partial(self._keep, room, fields, whole)
        return keep() if effect is None else play(effect, keep)

    def _keep(self, room: str, fields: dict[str, Any], whole: Any) -> Response:
        texts = (fields.get(name) for name in ("message", "text", "body"))
        text = next((text for text in texts if isinstance(text, str)), "")
        said = self._rooms.setdefault(room, [])
        said.append(Said(clock.now(), str(fields.get("title", "")), text, whole))
        del said[:-MAX_MESSAGES]
        self._rooms.move_to_end(room)
        if len(self._rooms) > MAX_ROOMS:
            self._rooms.popitem(last=False)
        return Response(200, msgspec.json.encode({"id": f"{room}-{len(said)}"}), _JSON)

    def _rooms_shown(self, query: str) -> Response:
        text = parse_qs(query).get("limit", ["100"])[0]
        limit = min(int(text), 1_000) if text.isascii() and text.isdigit() and len(text) < 6 else 100
        newest = list(reversed(self._rooms))[:limit]
        rooms = [{"room": room, "messages": len(self._rooms[room])} for room in newest]
        return _json({"rooms": rooms, "total": len(self._rooms)})


def _magic(room: str) -> Effect | None:
    rated = _RATE.match(room)
    if rated is not None:
        wait_s = int(rated[1])
        body = msgspec.json.encode({"error": "rate limited", "retry_after": wait_s})
        return Effect(Response(429, body, (*_JSON, ("retry-after", str(wait_s)))))
    return next((effect for word, effect in _MAGIC if room.startswith(word)), None)


def _read(body: bytes, kind: str) -> Any:
    """JSON, or the fields of a form, or the text as it is."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        text = body.decode(errors="replace")
    if not kind.startswith("application/x-www-form-urlencoded"):
        return text
    return {name: values[0] for name, values in parse_qs(text).items()}


def _json(value: Any) -> Response:
    return Response(200, msgspec.json.encode(value), _JSON)
