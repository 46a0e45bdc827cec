"""FCM HTTP v1, emulated: `POST /v1/projects/{project}/messages:send` (its `magic_tokens` provoke every
answer).

What is checked, in this order: the access token, the project, the message (`fcm_message.py`), then the faults
that were set and the magic tokens. An accepted message goes to its phone.
"""

import secrets
from collections import Counter
from collections.abc import Awaitable
from functools import partial

import msgspec

from tidings import clock
from tidings.emulators import fcm_errors
from tidings.emulators.exchange import Answer, Request, Response
from tidings.emulators.faults import Effect, Faults, play
from tidings.emulators.fcm_message import Addressed, check
from tidings.emulators.magic_tokens import MagicTokens
from tidings.emulators.oauth import OAuth
from tidings.emulators.phones import Phones

PREFIX = "/v1/projects/"
SUFFIX = "/messages:send"
_HEADERS = (fcm_errors.JSON,)


class Fcm:
    """One Firebase project. `refused` counts answers by `"<status> <code>"`, cuts and resets by their
    name."""

    def __init__(self, project: str, oauth: OAuth, faults: Faults, phones: Phones) -> None:
        self._path = f"{PREFIX}{project}{SUFFIX}"
        self._oauth = oauth
        self._faults = faults
        self._phones = phones
        self._magic = MagicTokens()
        self._name = f'{{"name":"projects/{project}/messages/'
        self._next = int(clock.now().timestamp() * 1_000_000)
        self._suffix = secrets.token_hex(8)
        self._fake = Response(200, f'{self._name}fake_message_id"}}'.encode(), _HEADERS)
        self.refused: Counter[str] = Counter()

    def send(self, request: Request) -> Answer | Awaitable[Answer]:
        """One message. Late only when a fault or a magic token wants it so."""
        problem = self._oauth.problem(request.headers.get("authorization"))
        if problem is not None:
            return self._refuse(problem)
        if request.path != self._path:
            return self._refuse(fcm_errors.wrong_project())
        addressed = check(request.body)
        if isinstance(addressed, Response):
            return self._refuse(addressed)
        effect = self._faults.effect("fcm", addressed.target) or self._magic.effect(addressed.target)
        if effect is None:
            return self._accept(request.body, addressed)
        self._count(effect)
        return play(effect, partial(self._accept, request.body, addressed))

    def _accept(self, body: bytes, addressed: Addressed) -> Response:
        if addressed.validate_only:
            return self._fake
        self._next += 1
        message_id = f"0:{self._next}%{self._suffix}"
        self._phones.receive(addressed.target, message_id, body, addressed.data)
        return Response(200, f'{self._name}{message_id}"}}'.encode(), _HEADERS)

    def _refuse(self, response: Response) -> Response:
        self.refused[code_of(response)] += 1
        return response

    def _count(self, effect: Effect) -> None:
        if isinstance(effect.answer, Response):
            if effect.answer.status >= 400:
                self.refused[code_of(effect.answer)] += 1
        elif effect.answer is not None:
            self.refused[type(effect.answer).__name__.lower()] += 1

    def clear(self) -> None:
        """Forget the counts and how often flaky tokens failed."""
        self.refused.clear()
        self._magic.forget()


def code_of(response: Response) -> str:
    """`"404 UNREGISTERED"`: the status and the FcmError's code, or the google.rpc status, or nothing more."""
    try:
        error = msgspec.json.decode(response.body)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return str(response.status)
    codes = [detail["errorCode"] for detail in error.get("details", ()) if "errorCode" in detail]
    return f"{response.status} {codes[0] if codes else error['status']}"
