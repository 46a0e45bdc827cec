"""Makes the message for a provider out of what is to be sent: a pure function."""

from collections.abc import Mapping

from tidings.discreet import Discreet
from tidings.providers.contract import Message
from tidings.routing import EMAIL, PUSH
from tidings.signing import sign_receipt, sign_unsubscribe
from tidings.worker.book import Usable
from tidings.worker.plan import Planned

# Provider → the part of a notification that is its own.
PARTS: Mapping[str, str] = {
    "fcm": "fcm",
    "apns": "apns",
    "webpush": "webpush",
    "smtp": "email",
    "twilio": "sms",
    "vonage": "sms",
    "apprise": "chat",
}


class Composing(Discreet, frozen=True):
    """What messages are made with. URLs end in `/`; "" means that there is none, so nothing comes back from there.

    `receipt_url`: where devices confirm. `reports_url`: where vendors report. `unsubscribe_url`: for emails. `public`:
    whether they can be reached from outside: a real vendor refuses a text message whose reports can't be delivered.
    """

    receipt_key: bytes
    unsubscribe_key: bytes
    receipt_url: str = ""
    reports_url: str = ""
    unsubscribe_url: str = ""
    public: bool = False


def message_of(composing: Composing, planned: Planned, usable: Usable) -> Message:
    """The message for a provider's account. Its collapse key and its reference are the same at every attempt."""
    subject, address = planned.subject, planned.address
    channel = address.channel
    receipt_url = reports_url = unsubscribe_url = None
    reference = ""
    if channel == PUSH:
        if composing.receipt_url:
            receipt_url = composing.receipt_url + _reference(composing, planned)
    elif address.token:
        reference = _reference(composing, planned)
        if composing.reports_url and (composing.public or usable.provider.emulated):
            reports_url = f"{composing.reports_url}{usable.provider.name}/{usable.account_id}"
        if channel == EMAIL and composing.unsubscribe_url:
            unsubscribe_url = composing.unsubscribe_url + sign_unsubscribe(
                composing.unsubscribe_key, subject.project_id, subject.user_id, subject.category or "*"
            )
    return Message(
        project_id=subject.project_id,
        notification_id=subject.id,
        user_id=subject.user_id,
        device_id=address.device_id,
        device_type=address.device_type,
        address=address.token,
        title=subject.title,
        body=subject.body,
        data=subject.data,
        ttl_s=subject.ttl_s,
        collapse_key=subject.collapse_key or f"tidings-{subject.id}",
        urgent=subject.lane == "critical",
        created_at=subject.begins_at,
        overrides=subject.overrides.get(PARTS.get(usable.provider.name, "")) if subject.overrides else None,
        receipt_url=receipt_url,
        reference=reference,
        reports_url=reports_url,
        unsubscribe_url=unsubscribe_url,
    )


def _reference(composing: Composing, planned: Planned) -> str:
    subject, address = planned.subject, planned.address
    return sign_receipt(composing.receipt_key, subject.project_id, subject.id, address.channel, address.device_id)
