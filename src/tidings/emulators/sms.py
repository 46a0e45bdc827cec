"""The emulated SMS vendors together: Twilio, Vonage, the telephones behind them and the webhooks they post."""

from collections.abc import Awaitable
from typing import Self

from msgspec import Struct

from tidings.emulators import twilio, twilio_errors, vonage
from tidings.emulators.accepted import Accepted
from tidings.emulators.exchange import Answer, Request, Response
from tidings.emulators.faults import Faults
from tidings.emulators.sms_callbacks import Callbacks
from tidings.emulators.sms_inbox import INBOXES, Inboxes
from tidings.emulators.twilio import Twilio
from tidings.emulators.vonage import Vonage

PREFIXES = (twilio.PREFIX, vonage.PATH, INBOXES)
"""The paths that are answered here."""

REFUSALS = {"twilio": twilio_errors.for_status, "vonage": vonage.for_status}
"""For `Faults`: each vendor's own error body for an HTTP status."""


class Sms(Struct, frozen=True):
    """One account at each vendor; both deliver to the same telephones."""

    twilio: Twilio
    vonage: Vonage
    inboxes: Inboxes
    callbacks: Callbacks

    @classmethod
    def of(cls, faults: Faults, accepted: Accepted, local_only: bool) -> Self:
        """Fresh vendors with new secrets. Nothing runs until the first webhook."""
        callbacks, inboxes = Callbacks(local_only), Inboxes(accepted, local_only)
        return cls(Twilio(faults, inboxes, callbacks), Vonage(faults, inboxes, callbacks), inboxes, callbacks)

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Any call to one of `PREFIXES`."""
        if request.path.startswith(twilio.PREFIX):
            return self.twilio.answer(request)
        if request.path == vonage.PATH:
            return self.vonage.send(request) if request.method == "POST" else Response(405)
        if request.path == INBOXES and request.method == "DELETE":
            self.twilio.clear()
            self.vonage.clear()
        return self.inboxes.answer(request)

    async def close(self) -> None:
        """Post no more webhooks. Twice is safe."""
        await self.callbacks.close()
