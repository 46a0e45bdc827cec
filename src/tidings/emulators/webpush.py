"""A push service (RFC 8030) and the browsers behind it, emulated (`webpush_magic` provokes every answer).

| call | does |
|---|---|
| `POST /push/{id}` | one message for a browser, as its endpoint says |
| `DELETE /message/{id}` | take back a message that still waits |
| `POST /browsers` | a browser subscribes; answers what `PushSubscription.toJSON()` gives |
| `GET /browsers?limit=`, `DELETE /browsers` | browsers that received something; forget all, counters too |
| `GET /browsers/{id}/messages` | what one browser received, decrypted |
| `POST /browsers/{id}` | `{"online": …, "confirms": …, "subscribed": …}`: any of them |

`POST /browsers` takes `id` (a magic word, perhaps), `application_server_key`, `confirms` and `online`, all
optional. Checked, in this order: the subscription, TTL, Urgency and Topic, VAPID, the body; then faults and
magic words. The browser decrypts what was taken.
"""

import secrets
import time
from collections import Counter
from collections.abc import Awaitable
from functools import partial
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Meta, Struct

from tidings.emulators import webpush_errors as errors
from tidings.emulators.confirmations import is_loopback
from tidings.emulators.exchange import Answer, Request, Response
from tidings.emulators.faults import Effect, Faults, play
from tidings.emulators.webpush_browsers import Browser, Browsers, Push, shown
from tidings.emulators.webpush_checks import Terms, Vapid, body_problem, terms_of
from tidings.emulators.webpush_magic import MagicBrowsers

PUSH, MESSAGE, BROWSERS = "/push/", "/message/", "/browsers"
_JSON = (("content-type", "application/json"),)
_MAX_LISTED = 1000
_NOT_FOUND = Response(404, b'{"error":"no such call"}', _JSON)

Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_.~-]{1,128}$")]


class _New(Struct, frozen=True, forbid_unknown_fields=True):
    id: Name | None = None
    application_server_key: str | None = None
    confirms: bool = False
    online: bool = True


class _Change(Struct, frozen=True, forbid_unknown_fields=True):
    online: bool | None = None
    confirms: bool | None = None
    subscribed: bool | None = None


class WebPush:
    """One push service. `refused` counts answers by status, cuts and resets by their name.

    `origin`: where browsers are told to be reached; whoever starts the listener sets it (`serve_at`).
    `local_only`: the calls below `/browsers` must have named this machine as host.
    """

    def __init__(self, faults: Faults, browsers: Browsers, local_only: bool = True) -> None:
        self.browsers = browsers
        self.origin = "https://localhost"
        self.refused: Counter[str] = Counter()
        self._faults = faults
        self._local_only = local_only
        self._vapid = Vapid()
        self._magic = MagicBrowsers()

    def serve_at(self, origin: str) -> None:
        """Browsers that are made from now on have endpoints below `origin`."""
        self.origin = origin

    def subscribe(
        self, name: str | None = None, server_key: str | None = None, confirms: bool = False
    ) -> dict[str, Any]:
        """A new browser's subscription, as its `toJSON()` gives it. For tests in the same process."""
        return self.browsers.create(name, server_key, confirms).subscription(self.origin)

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Any call of the table above; 404 for others."""
        path = request.path
        if path.startswith(PUSH) and request.method == "POST":
            return self.push(request)
        if path.startswith(MESSAGE) and request.method == "DELETE":
            return Response(204 if self.browsers.cancel(path[len(MESSAGE) :]) else 404)
        return self._browsers(request)

    def push(self, request: Request) -> Answer | Awaitable[Answer]:
        """One message. Late only when a fault or a magic word wants it so."""
        name = request.path[len(PUSH) :]
        browser = self.browsers.get(name)
        if browser is None:
            return self._refuse(errors.unknown_subscription())
        if not browser.subscribed:
            return self._refuse(errors.gone())
        terms = terms_of(request.headers)
        if isinstance(terms, Response):
            return self._refuse(terms)
        host = request.headers.get("host", "")
        key = self._vapid.key_of(request, (self.origin, f"https://{host}", f"http://{host}"), time.time())
        if isinstance(key, Response):
            return self._refuse(key)
        if browser.server_key is not None and browser.server_key.rstrip("=") != key:
            return self._refuse(errors.fcm_key_mismatch())
        problem = body_problem(request, key)
        if problem is not None:
            return self._refuse(problem)
        effect = self._faults.effect("webpush", name) or self._magic.effect(name)
        if effect is None:
            return self._accept(browser, request, terms)
        self._count(effect)
        return play(effect, partial(self._accept, browser, request, terms))

    def clear(self) -> None:
        """Forget the browsers, the counts and how often flaky ones failed."""
        self.browsers.clear()
        self.refused.clear()
        self._magic.forget()

    def _accept(self, browser: Browser, request: Request, terms: Terms) -> Response:
        message_id = secrets.token_hex(16)
        kind = request.headers.get("content-type", "")
        push = Push(message_id, request.body, kind, terms, time.monotonic() + terms.ttl_s)
        self.browsers.take(browser, push)
        location = ("location", f"{self.origin}{MESSAGE}{message_id}")
        return Response(201, b"", (location, ("ttl", str(terms.ttl_s))))

    def _refuse(self, response: Response) -> Response:
        self.refused[str(response.status)] += 1
        return response

    def _count(self, effect: Effect) -> None:
        if isinstance(effect.answer, Response):
            if effect.answer.status >= 300:
                self.refused[str(effect.answer.status)] += 1
        elif effect.answer is not None:
            self.refused[type(effect.answer).__name__.lower()] += 1

    def _browsers(self, request: Request) -> Response:
        # As for the emulators' other control calls: no page in a browser on this machine may make them.
        if self._local_only and not is_loopback(f"http://{request.headers.get('host', '')}"):
            return _problem(421, "this emulator answers to localhost only")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            return _problem(415, "send application/json")
        try:
            return self._control(request)
        except ValueError as error:  # msgspec's errors are ValueErrors
            return _problem(400, str(error))

    def _control(self, request: Request) -> Response:
        rest = request.path.removeprefix(BROWSERS).strip("/")
        match request.method, rest:
            case "POST", "":
                new = msgspec.json.decode(request.body, type=_New)
                made = self.browsers.create(new.id, new.application_server_key, new.confirms, new.online)
                return _json(201, made.subscription(self.origin))
            case "GET", "":
                return _json(200, self._listing(request))
            case "DELETE", "":
                self.clear()
                return Response(204)
        name, _, what = rest.partition("/")
        browser = self.browsers.get(unquote(name))
        if browser is None:
            return _problem(404, "no such browser")
        if request.method == "GET" and what == "messages":
            return _json(200, {"id": browser.name, "messages": [shown(each) for each in browser.received]})
        if request.method == "POST" and not what:
            change = msgspec.json.decode(request.body, type=_Change)
            browser.confirms = browser.confirms if change.confirms is None else change.confirms
            browser.subscribed = browser.subscribed if change.subscribed is None else change.subscribed
            if change.online is not None:
                self.browsers.go(browser, change.online)
            return _json(200, _about(browser))
        return _NOT_FOUND

    def _listing(self, request: Request) -> dict[str, Any]:
        text = parse_qs(request.query).get("limit", [str(_MAX_LISTED)])[0]
        if not (text.isascii() and text.isdigit()):
            raise ValueError("limit must be a whole number")
        newest = self.browsers.newest(min(int(text[:9]), _MAX_LISTED))
        return {
            "browsers": [_about(browser) for browser in newest],
            "total": len(self.browsers),
            "refused": dict(self.refused),
            "undecryptable": self.browsers.undecryptable,
        }


def _about(browser: Browser) -> dict[str, Any]:
    return {
        "id": browser.name,
        "messages": len(browser.received),
        "waiting": len(browser.waiting),
        "online": browser.online,
        "confirms": browser.confirms,
        "subscribed": browser.subscribed,
    }


def _json(status: int, value: Any) -> Response:
    return Response(status, msgspec.json.encode(value), _JSON)


def _problem(status: int, detail: str) -> Response:
    return _json(status, {"error": detail})
