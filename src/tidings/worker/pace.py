"""How fast an account may be used. For now: not at all, while it is paused."""

import time

from tidings.providers.contract import Paused, Reason

# These concern one platform or one push service behind the account, not all of it.
OF_ONE_VENDOR = frozenset({Reason.VENDOR_CREDENTIALS, Reason.PUSH_SERVICE_CREDENTIALS})


class Gate:
    """Holds back calls with an account whose credentials or configuration the vendor refused.

    After the pause one call goes first as a probe; the others wait for what becomes of it.
    """

    def __init__(self) -> None:
        self._paused: Paused | None = None
        self._until = 0.0
        self._probing = False

    def closed(self) -> Paused | None:
        """None: call. Otherwise the outcome to use instead of a call."""
        if self._paused is None:
            return None
        left_s = self._until - time.monotonic()
        if left_s <= 0 and not self._probing:
            self._probing = True
            return None
        return Paused(self._paused.reason, self._paused.detail, max(left_s, 1.0))

    def release(self) -> None:
        """The call was given up before its end: another one may be the probe."""
        self._probing = False

    def learn(self, outcome: object) -> None:
        """Tell the gate what became of a call."""
        if isinstance(outcome, Paused) and outcome.reason not in OF_ONE_VENDOR:
            self._paused = outcome
            self._until = time.monotonic() + outcome.after_s
        elif self._probing:
            self._paused = None
        self._probing = False
