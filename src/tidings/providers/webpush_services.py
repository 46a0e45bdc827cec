"""The push services that subscriptions lead to: each origin's connections, VAPID token and rests.

A connection goes to an address that the guard checked (`addresses.py`). Names are looked up again every
minute while they are used; connections move only when the address that they go to is no longer among the
answers.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from tidings.addresses import AddressRefused, Guard, Lookup, Target, open_pinned, resolve
from tidings.discreet import Discreet
from tidings.http import Client
from tidings.providers.contract import Outcome, Paused, Reason, Rejected, Retry
from tidings.providers.webpush_account import WebPushAccount
from tidings.providers.webpush_vapid import Authorization, Vapid, authorize

MOST_SERVICES = 64
"""There are four vendors with a few hosts each; more origins than this close the one used least lately."""

CHECK_S = 60.0
STRIKES = 5
_CALLS = 128  # for each of the account's connections: a service without HTTP/2 takes one call at a time on each


class Pinned(Discreet, frozen=True):
    """A client whose connections go to one checked address, one of `addresses`."""

    client: Client
    address: str
    addresses: tuple[str, ...]


class PushService:
    """One origin. Made by `PushServices`."""

    def __init__(self, target: Target, rest_s: float, monotonic: Callable[[], float]) -> None:
        self.target = target
        self.pinned: Pinned | None = None
        self.checked_at = 0.0
        self.checking: asyncio.Task[Pinned | Outcome] | None = None
        self._monotonic = monotonic
        self._rest_s = rest_s
        self._authorization: Authorization | None = None
        self._strikes = 0
        self._resting: Retry | Paused | None = None
        self._until = 0.0
        self._probing = False

    def authorization(self, vapid: Vapid, now: datetime) -> str:
        """The `Authorization` header, signed anew when half of its life is over."""
        held = self._authorization
        if held is None or now >= held.renew_at:
            held = self._authorization = authorize(vapid, self.target.origin, now)
        return held.value

    def resting(self) -> Retry | Paused | None:
        """The outcome to use instead of a call while the service rests. After it, one call goes first."""
        held = self._resting
        if held is None:
            return None
        left_s = self._until - self._monotonic()
        if left_s <= 0 and not self._probing:
            self._probing = True
            return None
        wait_s = max(left_s, 1.0)
        if isinstance(held, Paused):
            return Paused(held.reason, held.detail, wait_s)
        return Retry(held.reason, held.detail, wait_s)

    def probed(self) -> None:
        """The call that went first has ended, however."""
        self._probing = False

    def learn(self, outcome: Outcome, *, about_device: bool = False) -> None:
        """What became of a call. A refused key rests the service at once, five refusals for the rate in a row
        do; `about_device`: it said something about one subscription only."""
        if isinstance(outcome, Paused):
            self._rest(outcome, outcome.after_s)
        elif isinstance(outcome, Retry) and outcome.reason is Reason.RATE_LIMITED:
            self._strikes += not about_device
            if self._strikes >= STRIKES:
                self._rest(outcome, outcome.after_s or self._rest_s)
        elif not isinstance(outcome, Retry):
            self._strikes = 0
            self._resting = None

    def _rest(self, outcome: Retry | Paused, wait_s: float) -> None:
        if self._rest_s > 0:
            self._resting = outcome
            self._until = self._monotonic() + min(wait_s, self._rest_s)


class PushServices:
    """All of them, at most 64. Use it from one event loop."""

    def __init__(
        self,
        account: WebPushAccount,
        guard: Guard,
        lookup: Lookup | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lookup` replaces the system's resolver."""
        self._account = account
        self._guard = guard
        self._lookup = lookup
        self._monotonic = monotonic
        self._known: OrderedDict[str, PushService] = OrderedDict()
        self._closed = False
        self._leaving: list[Client] = []

    def of(self, target: Target) -> PushService:
        """The push service of a target, known or new."""
        service = self._known.get(target.origin)
        if service is None:
            service = PushService(target, self._account.rest_s, self._monotonic)
            self._known[target.origin] = service
            if len(self._known) > MOST_SERVICES:
                self._let_go(self._known.popitem(last=False)[1])
        else:
            self._known.move_to_end(target.origin)
        return service

    async def pinned(self, service: PushService) -> Pinned | Outcome:
        """Connections to a checked address, or why there are none: Rejected by the guard, Retry without DNS.

        A check that is due goes on beside the calls: they use an address that passed the last one.
        """
        stale = self._monotonic() - service.checked_at >= CHECK_S
        if self._closed:
            return Retry(Reason.CONNECTION, "closed")
        if service.pinned is not None and not stale:
            return service.pinned
        if service.checking is None:
            service.checking = asyncio.create_task(self._check(service), name="webpush address check")
        if service.pinned is not None:
            return service.pinned
        # Shielded: a sender that is cancelled must not take the others' connection away.
        return await asyncio.shield(service.checking)

    def _let_go(self, service: PushService) -> None:
        """Calls that are under way end in their time."""
        pinned, service.pinned = service.pinned, None
        if pinned is not None:
            self._leaving = [client for client in self._leaving if not client.closed]
            self._leaving.append(pinned.client)
            pinned.client.close_later()

    def failed(self, service: PushService, pinned: Pinned) -> None:
        """No connection came about: the next call tries another address, if the name has one."""
        if service.pinned is pinned and len(pinned.addresses) > 1:
            self._let_go(service)
            service.checking = asyncio.create_task(self._check(service, pinned.address), name="webpush address check")

    async def close(self) -> None:
        """Close the connections; calls under way end as `Retry(CONNECTION)`. Twice is safe."""
        self._closed = True
        for service in self._known.values():
            if service.checking is not None:
                await asyncio.wait([service.checking])  # senders wait for it too; it has a deadline
            if service.pinned is not None:
                await service.pinned.client.close()
        for client in self._leaving:
            await client.close()

    async def _check(self, service: PushService, avoid: str | None = None) -> Pinned | Outcome:
        try:
            found = await self._find(service, avoid)
            if isinstance(found, Pinned):
                if service.pinned is not None and service.pinned.client is not found.client:
                    self._let_go(service)
                service.pinned = found
            elif isinstance(found, Rejected):
                self._let_go(service)  # the name leads inside now: not one more call
            elif service.pinned is not None:
                found = service.pinned  # no DNS just now: the address that passed is still good
            service.checked_at = self._monotonic()
            return found
        finally:
            service.checking = None

    async def _find(self, service: PushService, avoid: str | None) -> Pinned | Rejected | Retry:
        try:
            addresses = await resolve(service.target, self._guard, self._lookup)
        except AddressRefused as refused:
            return Rejected(Reason.FORBIDDEN_ADDRESS, f"the push service's name: {refused}")
        except OSError:  # TimeoutError is one
            return Retry(Reason.CONNECTION, "the push service's name can't be resolved")
        held = service.pinned
        if held is not None and held.address in addresses:
            return Pinned(held.client, held.address, addresses)
        address = next((each for each in addresses if each != avoid), addresses[0])
        client = open_pinned(
            address,
            timeout_s=self._account.timeout_s,
            ca_pem=self._account.ca_pem,
            connections=self._account.connections * _CALLS,
        )
        return Pinned(client, address, addresses)
