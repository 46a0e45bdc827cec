"""Web Push (RFC 8030): one encrypted message, one call, to the push service that the browser chose.

`docs/providers/webpush.md` says how to configure it and what each answer leads to.
"""

from tidings.addresses import Lookup
from tidings.clock import now
from tidings.errors import Unavailable
from tidings.http import Failure, Request, request
from tidings.providers.contract import Gone, Message, Outcome, Paused, Reason, Rejected, Retry
from tidings.providers.webpush_account import WebPushAccount, check_account, guard_of
from tidings.providers.webpush_answers import KEPT_HEADERS, is_about_device, outcome_of, outcome_of_failure
from tidings.providers.webpush_encryption import MAX_PLAINTEXT_BYTES, Encrypter, Job
from tidings.providers.webpush_message import Built, build
from tidings.providers.webpush_services import Pinned, PushService, PushServices
from tidings.providers.webpush_subscription import Subscription, SubscriptionError, parse_subscription
from tidings.providers.webpush_vapid import Vapid


class WebPushProvider:
    """See `contract.Provider`. Open it with `open_webpush`; use it from one event loop."""

    def __init__(self, account: WebPushAccount, vapid: Vapid, services: PushServices) -> None:
        self._account = account
        self._guard = guard_of(account)
        self._vapid = vapid
        self._services = services
        self._encrypt = Encrypter(account.threads)

    @property
    def name(self) -> str:
        return "webpush"

    @property
    def emulated(self) -> bool:
        return self._account.emulated

    @property
    def public_key(self) -> str:
        """The `applicationServerKey` that pages subscribe with, base64url."""
        return self._vapid.public_text

    async def send(self, message: Message) -> Outcome:
        """One call. Repeating is safe for the person who is notified: the topic and the tag are the same, so
        a repeat replaces what it repeats, whether it still waits at the push service or is shown already."""
        try:
            subscription = parse_subscription(message.address, self._guard)
        except SubscriptionError as error:
            if error.pointer == "/endpoint":  # it may be allowed one day; the subscription is not dead
                return Rejected(Reason.FORBIDDEN_ADDRESS, str(error))
            return Gone(Reason.INVALID_ADDRESS, str(error))
        built = build(message, now())
        size = len(built.plaintext)
        if size > MAX_PLAINTEXT_BYTES:
            return Rejected(Reason.MESSAGE_TOO_BIG, f"{size} bytes, Web Push takes {MAX_PLAINTEXT_BYTES}")
        service = self._services.of(subscription.target)
        resting = service.resting()
        if resting is not None:
            return resting
        try:
            return await self._deliver(service, subscription, built)
        finally:
            service.probed()

    async def _deliver(self, service: PushService, subscription: Subscription, built: Built) -> Outcome:
        pinned = await self._services.pinned(service)
        if not isinstance(pinned, Pinned):
            return pinned
        try:
            body = await self._encrypt(Job(subscription, built.plaintext))
        except Unavailable:
            return Retry(Reason.UNAVAILABLE, "closed, or too many messages wait to be encrypted")
        authorization = service.authorization(self._vapid, now())
        answer = await pinned.client.send(_request(subscription, built, authorization), body, keep=KEPT_HEADERS)
        floor_s = self._account.retry_floor_s
        if isinstance(answer, Failure):
            if not answer.maybe_sent and not answer.timed_out:
                self._services.failed(service, pinned)
            return outcome_of_failure(answer, floor_s)
        secret_path = subscription.endpoint.rpartition("/")[2]
        outcome = outcome_of(answer, (subscription.endpoint, secret_path, authorization), now(), floor_s)
        if isinstance(outcome, Gone) and outcome.reason is Reason.SENDER_MISMATCH:
            outcome = self._judged(subscription, outcome)
        service.learn(outcome, about_device=is_about_device(answer))
        return outcome

    async def close(self) -> None:
        """Close the connections; calls under way end as `Retry(CONNECTION)`. Twice is safe."""
        await self._services.close()
        await self._encrypt.close()

    def _judged(self, subscription: Subscription, outcome: Gone) -> Gone | Paused:
        """Another key made this subscription, says the service. When it was ours after all, we are at
        fault."""
        if subscription.made_with == self._vapid.public_text:
            return Paused(Reason.PUSH_SERVICE_CREDENTIALS, outcome.detail)
        return outcome


async def open_webpush(account: WebPushAccount, lookup: Lookup | None = None) -> WebPushProvider:
    """A provider for `account`. No call is made yet. `lookup` replaces the system's resolver.

    Raises VapidError or ValueError: one sentence for who configures it. Close it in the end.
    """
    vapid = check_account(account)
    return WebPushProvider(account, vapid, PushServices(account, guard_of(account), lookup))


def _request(subscription: Subscription, built: Built, authorization: str) -> Request:
    headers = {
        "authorization": authorization,
        "content-encoding": "aes128gcm",
        "content-type": built.content_type,
        "ttl": built.ttl,
        "urgency": built.urgency,
    }
    if built.topic:
        headers["topic"] = built.topic
    return request("POST", subscription.endpoint, headers)
