"""Browsers whose name says what shall happen to their messages: every answer of a push service, provoked.

A browser is made with a name of its own (`POST /browsers {"id": "gone-7"}`). One that begins with one of
these words gets the answer beside it; what follows the word is free. `<n>`, `<s>`, `<ms>` are whole numbers.

=======================  ========  =================================================  =====
name begins with         HTTP      words of the answer                                taken
=======================  ========  =================================================  =====
``not-found``            404       Mozilla errno 102                                  no
``bad-path``             404       Apple BadPath                                      no
``gone``                 410       Mozilla errno 103                                  no
``bad-topic``            400       Apple BadWebPushTopic                              no
``bad-crypto``           400       Mozilla errno 110                                  no
``unauthorized-reg``     400       FCM UnauthorizedRegistration                       no
``apple-mismatch``       400       Apple VapidPkHashMismatch                          no
``fcm-mismatch``         403       FCM, not the credentials of the subscription       no
``mozilla-mismatch``     401       Mozilla errno 109, VAPID public key mismatch       no
``unauthorized``         401       Mozilla errno 109                                  no
``bad-jwt``              403       Apple BadJwtToken                                  no
``too-large``            413       Mozilla errno 104                                  no
``throttled``            406       Windows, nothing in the body                       no
``rate-retry-<s>``       429       Mozilla errno 201, with Retry-After                no
``rate``                 429       Mozilla errno 201                                  no
``too-many``             429       Apple TooManyRequests (this subscription)          no
``redirect``             307       to another push service                            no
``internal``             500       Mozilla errno 999                                  no
``html-502``             502       a page                                             no
``unavailable``          503       Mozilla errno 201                                  no
``retry-after-<s>``      503       Mozilla errno 202, with Retry-After                no
``gateway-timeout``      504       nothing                                            no
``ok-200``, ``ok-202``,  as named  nothing                                            yes
``ok-204``
``latency-<ms>``         201       that much later                                    yes
``flaky-<n>``            503, 201  fails n times for each name, then passes           yes
``drop-once``            cut, 201  the first time the connection is cut               yes
``drop``                 cut       the connection is cut                              no
``lost``                 cut       taken, then the connection is cut                  yes
``reset``                reset     RST_STREAM INTERNAL_ERROR                          no
``timeout``              never     no answer for two minutes, then a cut              no
``goaway``               201       and GOAWAY: the connection closes                  yes
=======================  ========  =================================================  =====

``confirming-`` is a browser that calls the receipt address of what it receives.
"""

import re
from collections import OrderedDict

from tidings.emulators import webpush_errors as errors
from tidings.emulators.exchange import Drop, ErrorCode, Reset, Response
from tidings.emulators.faults import HANG, LOST, Effect

_REMEMBERED = 100_000
_ELSEWHERE = (("location", "https://elsewhere.example/push/1"),)

# The first word that fits wins: longer ones stand before the shorter ones that they begin with.
_FIXED: tuple[tuple[str, Effect], ...] = (
    ("not-found", Effect(errors.unknown_subscription())),
    ("bad-path", Effect(errors.apple(404, "BadPath"))),
    ("gone", Effect(errors.gone())),
    ("bad-topic", Effect(errors.apple(400, "BadWebPushTopic"))),
    ("bad-crypto", Effect(errors.mozilla(400, 110, "Invalid crypto keys"))),
    ("unauthorized-reg", Effect(errors.fcm(400, "UnauthorizedRegistration"))),
    ("apple-mismatch", Effect(errors.apple(400, "VapidPkHashMismatch"))),
    ("fcm-mismatch", Effect(errors.fcm_key_mismatch())),
    ("mozilla-mismatch", Effect(errors.mozilla(401, 109, "VAPID public key mismatch"))),
    ("unauthorized", Effect(errors.missing_authorization())),
    ("bad-jwt", Effect(errors.apple(403, "BadJwtToken"))),
    ("too-large", Effect(errors.too_large())),
    ("throttled", Effect(errors.windows(406, "The channel is throttled"))),
    ("too-many", Effect(errors.apple(429, "TooManyRequests"))),
    ("rate", Effect(errors.mozilla(429, 201, "Too many requests"))),
    ("redirect", Effect(Response(307, b"", _ELSEWHERE))),
    ("internal", Effect(errors.mozilla(500, 999, "Unknown error"))),
    ("html-502", Effect(errors.html_502())),
    ("unavailable", Effect(errors.mozilla(503, 201, "Use exponential back-off for retries"))),
    ("gateway-timeout", Effect(Response(504))),
    ("ok-200", Effect(Response(200), accepted=True)),
    ("ok-202", Effect(Response(202), accepted=True)),
    ("ok-204", Effect(Response(204), accepted=True)),
    ("drop", Effect(Drop())),
    ("lost", LOST),
    ("reset", Effect(Reset(ErrorCode.INTERNAL_ERROR))),
    ("timeout", HANG),
    ("goaway", Effect(goaway=True)),
)
_NUMBERED = re.compile(r"(rate-retry|retry-after|latency|flaky)-(\d{1,6})")
_ANY = (*(word for word, _ in _FIXED), "retry-after-", "latency-", "flaky-")


class MagicBrowsers:
    """Knows the words, and how often each flaky browser has failed (the last 100,000 of them)."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, int] = OrderedDict()

    def effect(self, name: str) -> Effect | None:
        """What the browser's name asks for, None for an ordinary one."""
        if not name.startswith(_ANY):
            return None
        numbered = _NUMBERED.match(name)
        if numbered is not None:
            return self._numbered(name, numbered[1], int(numbered[2]))
        if name.startswith("drop-once"):
            return self._failing(name, 1, Effect(Drop()))
        return next((effect for word, effect in _FIXED if name.startswith(word)), None)

    def _numbered(self, name: str, word: str, number: int) -> Effect | None:
        match word:
            case "rate-retry":
                return Effect(errors.mozilla(429, 201, "Too many requests", number))
            case "retry-after":
                return Effect(errors.mozilla(503, 202, "Retry", number))
            case "latency":
                return Effect(delay_s=min(number, 120_000) / 1000)
            case _:
                return self._failing(name, number, Effect(errors.mozilla(503, 201, "Later")))

    def _failing(self, name: str, times: int, failure: Effect) -> Effect | None:
        failed = self._failed.get(name, 0)
        if failed >= times:
            return None
        self._failed[name] = failed + 1
        self._failed.move_to_end(name)
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)
        return failure

    def forget(self) -> None:
        """Flaky browsers start again."""
        self._failed.clear()
