"""Device tokens that say what shall happen to them: every answer of FCM, provoked by a message's own address.

A token that begins with one of these words gets the answer beside it; what follows the word is free
(`unregistered-7`), so each test can have its own. Any other token is a good one. "Taken" tells whether
the message reaches the phone. `<n>`, `<s>` and `<ms>` are whole numbers.

=======================  ========  ========================  =====  ==========================================
token begins with        HTTP      errorCode                 taken  remark
=======================  ========  ========================  =====  ==========================================
``unregistered``         404       UNREGISTERED              no
``invalid-token``        400       INVALID_ARGUMENT          no     the message names the registration token
``sender-id-mismatch``   403       SENDER_ID_MISMATCH        no
``quota-device``         429       QUOTA_EXCEEDED            no     QuotaFailure names the device
``quota-topic``          429       QUOTA_EXCEEDED            no     QuotaFailure names the topic
``quota-retry-<s>``      429       QUOTA_EXCEEDED            no     with Retry-After
``quota``                429       QUOTA_EXCEEDED            no     QuotaFailure names the project
``unavailable``          503       UNAVAILABLE               no
``retry-after-<s>``      503       UNAVAILABLE               no     with Retry-After
``internal``             500       INTERNAL                  no
``html-502``             502       \\-                        no     an HTML page
``empty-503``            503       \\-                        no     no body at all
``garbage``              200       \\-                        yes    a body that is not JSON
``third-party-auth``     401       THIRD_PARTY_AUTH_ERROR    no     Firebase's own APNs or web push key is bad
``unauthenticated``      401       \\-                        no     as if the access token were not good
``permission-denied``    403       \\-                        no     as if the account lacked the permission
``wrong-project``        404       \\-                        no     as if the project did not exist
``latency-<ms>``         200       \\-                        yes    that much later; taken at the end of it
``flaky-<n>``            503, 200  UNAVAILABLE               yes    fails n times for each token, then passes
``drop-once``            cut, 200  \\-                        yes    the first time the connection is cut
``drop``                 cut       \\-                        no     the connection is cut
``lost``                 cut       \\-                        yes    taken, then the connection is cut
``reset``                reset     \\-                        no     RST_STREAM INTERNAL_ERROR
``timeout``              never     \\-                        no     no answer for two minutes, then a cut
``goaway``               200       \\-                        yes    and GOAWAY: the connection closes
=======================  ========  ========================  =====  ==========================================
"""

import re
from collections import OrderedDict

from tidings.emulators import fcm_errors
from tidings.emulators.exchange import Drop, ErrorCode, Reset, Response
from tidings.emulators.faults import HANG, LOST, Effect

_REMEMBERED = 100_000

# The first word that fits wins: longer ones stand before the shorter ones that they begin with.
_FIXED: tuple[tuple[str, Effect], ...] = (
    ("unregistered", Effect(fcm_errors.unregistered())),
    ("invalid-token", Effect(fcm_errors.invalid_token())),
    ("sender-id-mismatch", Effect(fcm_errors.sender_id_mismatch())),
    ("quota-device", Effect(fcm_errors.quota("device"))),
    ("quota-topic", Effect(fcm_errors.quota("topic"))),
    ("quota", Effect(fcm_errors.quota("project"))),
    ("unavailable", Effect(fcm_errors.unavailable())),
    ("internal", Effect(fcm_errors.internal())),
    ("html-502", Effect(fcm_errors.html_502())),
    ("empty-503", Effect(fcm_errors.empty_503())),
    ("garbage", Effect(Response(200, b"<ok/>", (("content-type", "text/plain"),)), accepted=True)),
    ("third-party-auth", Effect(fcm_errors.third_party_auth())),
    ("unauthenticated", Effect(fcm_errors.unauthenticated(False))),
    ("permission-denied", Effect(fcm_errors.permission_denied())),
    ("wrong-project", Effect(fcm_errors.wrong_project())),
    ("drop", Effect(Drop())),
    ("lost", LOST),
    ("reset", Effect(Reset(ErrorCode.INTERNAL_ERROR))),
    ("timeout", HANG),
    ("goaway", Effect(goaway=True)),
)
_NUMBERED = re.compile(r"(quota-retry|retry-after|latency|flaky)-(\d{1,6})")
_ANY = (*(word for word, _ in _FIXED), "retry-after-", "latency-", "flaky-")


class MagicTokens:
    """Knows the words, and how often each flaky token has failed (the last 100,000 of them)."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, int] = OrderedDict()

    def effect(self, token: str) -> Effect | None:
        """What the token asks for, None for an ordinary one."""
        if not token.startswith(_ANY):
            return None
        numbered = _NUMBERED.match(token)
        if numbered is not None:
            return self._numbered(token, numbered[1], int(numbered[2]))
        if token.startswith("drop-once"):
            return self._failing(token, 1, Effect(Drop()))
        return next((effect for word, effect in _FIXED if token.startswith(word)), None)

    def _numbered(self, token: str, word: str, number: int) -> Effect | None:
        match word:
            case "quota-retry":
                return Effect(fcm_errors.quota("project", number))
            case "retry-after":
                return Effect(fcm_errors.unavailable(number))
            case "latency":
                return Effect(delay_s=min(number, 120_000) / 1000)
            case _:
                return self._failing(token, number, Effect(fcm_errors.unavailable()))

    def _failing(self, token: str, times: int, failure: Effect) -> Effect | None:
        failed = self._failed.get(token, 0)
        if failed >= times:
            return None
        self._failed[token] = failed + 1
        self._failed.move_to_end(token)
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)
        return failure

    def forget(self) -> None:
        """Flaky tokens start again."""
        self._failed.clear()
