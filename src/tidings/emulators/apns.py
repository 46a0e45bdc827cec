"""APNs, emulated: `POST /3/device/<token>`, HTTP/2 only (`apns_devices.py` provokes every answer).

What is checked, in this order: the request (`apns_request.py`), who may push (`apns_authority.py`), the
device, then the faults that were set and the magic tokens. An accepted push goes to its phone.
"""

import uuid
from collections import Counter
from collections.abc import Awaitable
from functools import partial

import msgspec

from tidings.emulators import apns_reasons
from tidings.emulators.apns_authority import Authority
from tidings.emulators.apns_devices import Devices
from tidings.emulators.apns_request import PUSH_TYPES, Push, check
from tidings.emulators.exchange import ANSWERS, Answer, Connection, Drop, GoAway, Request, Response
from tidings.emulators.faults import Effect, Faults, play
from tidings.emulators.phones import Phones

PREFIX = "/3/device"
TEAM_ID = "TIDINGS001"
KEY_ID = "EMULATED01"
TOPICS = ("dev.tidings.emulator", "dev.tidings.other")
STREAMS = 1000
_TRUSTED = "apns-trusted"
_BY_KEY_ONLY = tuple(PUSH_TYPES[name] for name in ("location", "liveactivity"))


class Apns:
    """One team's apps in one environment. `refused` counts answers by `"<status> <reason>"`, cuts and resets
    by their name."""

    def __init__(
        self,
        faults: Faults,
        phones: Phones,
        environment: str = "production",
        topics: tuple[str, ...] = TOPICS,
    ) -> None:
        self.environment = environment
        self.authority = Authority(environment, frozenset(topics))
        self.key = self.authority.make_key(KEY_ID, TEAM_ID)
        self.devices = Devices(environment)
        self.refused: Counter[str] = Counter()
        self._faults = faults
        self._phones = phones

    def account(self) -> dict[str, str]:
        """What a sender is configured with, as Apple's developer site would hand it out."""
        return {
            "key_id": self.key.key_id,
            "team_id": self.key.team_id,
            "private_key": self.key.pem,
            "topic": TOPICS[0],
            "environment": self.environment,
        }

    def send(self, request: Request) -> Answer | Awaitable[Answer]:
        """One push with a provider token. Late only when a fault or a magic token wants it so."""
        if not request.connection.http2:
            return Drop()  # APNs offers nothing but h2 in the handshake.
        push = check(request)
        if isinstance(push, Response):
            return self._refuse(request, push)
        problem = self.authority.problem(request.headers.get("authorization"), push.topic, request.connection)
        return self._deliver(request, push, problem)

    def send_with_certificate(self, request: Request, topic: str) -> Answer | Awaitable[Answer]:
        """One push over a connection that showed the certificate for `topic`; a token is ignored there."""
        if not request.connection.http2:
            return Drop()
        push = check(request, topic)
        if isinstance(push, Response):
            return self._refuse(request, push)
        by_key_only = push.full_topic.endswith(_BY_KEY_ONLY)
        problem = apns_reasons.refusal("TopicDisallowed") if push.topic != topic or by_key_only else None
        return self._deliver(request, push, problem)

    def clear(self) -> None:
        """Forget counts, registered devices and how often flaky tokens failed."""
        self.refused.clear()
        self.devices.clear()

    def _deliver(self, request: Request, push: Push, problem: Response | None) -> Answer | Awaitable[Answer]:
        if problem is not None:
            return self._refuse(request, problem)
        answer = self._answer(request, push)
        if isinstance(answer, ANSWERS):
            _trust(request.connection)
            return answer
        return _trust_later(request.connection, answer)

    def _answer(self, request: Request, push: Push) -> Answer | Awaitable[Answer]:
        problem = self.devices.problem(push.token, push.full_topic)
        if problem is not None:
            return self._refuse(request, problem)
        effect = self._faults.effect("apns", push.token) or self.devices.effect(push.token)
        if effect is None:
            return self._accept(request, push)
        self._count(effect)
        if isinstance(effect.answer, Response):
            answer: Answer = _with_id(request, effect.answer)
            if effect.goaway:
                reason = msgspec.json.encode({"reason": "Shutdown"})
                answer = GoAway(_with_id(request, effect.answer), debug=reason)
            effect = msgspec.structs.replace(effect, answer=answer)
        return play(effect, partial(self._accept, request, push))

    def _accept(self, request: Request, push: Push) -> Response:
        response = _with_id(request, Response(200))
        self._phones.receive(push.token, response.headers[0][1], request.body, push.data)
        if self.environment == "development":
            unique = ("apns-unique-id", str(uuid.uuid4()))
            return Response(200, b"", (*response.headers, unique))
        return response

    def _refuse(self, request: Request, response: Response) -> Response:
        self.refused[apns_reasons.name_of(response)] += 1
        return _with_id(request, response)

    def _count(self, effect: Effect) -> None:
        if isinstance(effect.answer, Response):
            self.refused[apns_reasons.name_of(effect.answer)] += 1
        elif effect.answer is not None:
            self.refused[type(effect.answer).__name__.lower()] += 1


def _trust(connection: Connection) -> None:
    """A connection whose first valid token is being answered may have many streams from now on."""
    if not connection.memory.get(_TRUSTED):
        connection.memory[_TRUSTED] = True
        connection.limit_streams(STREAMS)


async def _trust_later(connection: Connection, awaited: Awaitable[Answer]) -> Answer:
    answer = await awaited
    _trust(connection)
    return answer


def _with_id(request: Request, response: Response) -> Response:
    """Every answer names the notification: by the sender's id, else by a new one."""
    apns_id = request.headers.get("apns-id") or str(uuid.uuid4())
    return Response(response.status, response.body, (("apns-id", apns_id), *response.headers))
