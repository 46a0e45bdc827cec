"""The accounts that projects may have, by provider. A further provider is one more entry of `KINDS`."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tidings.addresses import LOOKUP_TIMEOUT_S, Guard, check_address, system_lookup
from tidings.discreet import Discreet
from tidings.providers.account_kind import Credentials, Emulated, Kind, Outside, same_origin
from tidings.providers.apns import open_apns
from tidings.providers.apns_account import ApnsAccount, parse_apns_account
from tidings.providers.fcm import FcmAccount, open_fcm
from tidings.providers.fcm_account import ServiceAccount, check_token_uri, parse_service_account
from tidings.providers.report_secrets import parse_report_secrets
from tidings.providers.smtp import open_smtp
from tidings.providers.smtp_account import SmtpAccount, parse_smtp_account
from tidings.providers.twilio import open_twilio
from tidings.providers.twilio_account import parse_twilio_account
from tidings.providers.vonage import open_vonage
from tidings.providers.vonage_account import parse_vonage_account
from tidings.providers.webpush import open_webpush
from tidings.providers.webpush_account import WebPushAccount, check_account, public_key_of

MAIL_PORTS = frozenset({25, 465, 587, 2465, 2525, 2587})
"""Where relays take mail; no other port of a host can be reached by naming it in an account."""


def _read_fcm(credentials: Credentials) -> FcmAccount:
    return FcmAccount(parse_service_account(credentials))


def _reread_fcm(credentials: Credentials) -> FcmAccount:
    """Without the check of the RSA key, which takes 40 ms."""
    return FcmAccount(ServiceAccount(**{name: credentials[name].strip() for name in ServiceAccount.__struct_fields__}))


def _describe_fcm(account: FcmAccount) -> dict[str, Any]:
    key = account.service_account
    return {"project_id": key.project_id, "client_email": key.client_email, "key_id": key.private_key_id}


def _place_fcm(account: FcmAccount, emulated: Emulated | None) -> FcmAccount:
    if emulated is None:
        check_token_uri(account.service_account)
        return account
    base_url = emulated.base_urls["fcm"]
    same_origin(account.service_account.token_uri, base_url, "token_uri of the service account")
    return msgspec.structs.replace(
        account, base_url=base_url, ca_pem=emulated.ca_pem, emulated=True, retry_floor_s=emulated.retry_s
    )


def _describe_apns(account: ApnsAccount) -> dict[str, Any]:
    return {
        "kind": "certificate" if account.certificate else "key",
        "key_id": account.key_id,
        "team_id": account.team_id,
        "topic": account.topic,
        "more_topics": list(account.more_topics),
        "environment": account.environment,
    }


def _place_apns(account: ApnsAccount, emulated: Emulated | None) -> ApnsAccount:
    if emulated is None:
        return account
    base_url = emulated.base_urls["apns"]
    return msgspec.structs.replace(
        account, base_url=base_url, ca_pem=emulated.ca_pem, emulated=True, unavailable_wait_s=emulated.retry_s
    )


class _WebPush(Discreet, frozen=True, forbid_unknown_fields=True):
    """What of a Web Push account is the project's to choose: not where subscriptions may lead."""

    private_key: str
    subject: str


def _read_webpush(credentials: Credentials) -> WebPushAccount:
    try:
        given = msgspec.convert(dict(credentials), _WebPush)
    except msgspec.ValidationError as error:
        raise ValueError(f"the Web Push account: {error}") from error
    account = WebPushAccount(given.private_key.strip(), given.subject.strip())
    check_account(account)
    return account


def _describe_webpush(account: WebPushAccount) -> dict[str, Any]:
    return {"public_key": public_key_of(account), "subject": account.subject}


def _place_webpush(account: WebPushAccount, emulated: Emulated | None) -> WebPushAccount:
    if emulated is None:
        return account
    return msgspec.structs.replace(account, ca_pem=emulated.ca_pem, emulated=True, retry_floor_s=emulated.retry_s)


def _read_smtp(credentials: Credentials) -> SmtpAccount:
    """`reports`: what proves the reports of the relay's vendor; no part of sending, but stored and checked with it."""
    account = parse_smtp_account({name: value for name, value in credentials.items() if name != "reports"})
    if "reports" in credentials:
        if not account.vendor:
            raise ValueError("reports of the SMTP account need its vendor: ses, sendgrid, mailgun or postmark")
        parse_report_secrets(msgspec.json.encode({account.vendor: credentials["reports"]}))
    return account


def _describe_smtp(account: SmtpAccount) -> dict[str, Any]:
    return {
        "host": account.host,
        "port": account.at_port,
        "security": account.security,
        "sender": account.sender,
        "vendor": account.vendor,
        "dkim_domain": account.dkim.domain if account.dkim else "",
    }


def _place_smtp(account: SmtpAccount, emulated: Emulated | None) -> SmtpAccount:
    if emulated is None:
        return account
    same_origin(f"smtp://{account.host}:{account.at_port}", emulated.base_urls["smtp"], "host of the SMTP account")
    return msgspec.structs.replace(account, ca_pem=emulated.ca_pem, emulated=True, retry_floor_s=emulated.retry_s)


async def _reach_smtp(account: SmtpAccount, outside: Outside) -> SmtpAccount:
    """The provider looks again, with the same guard, at each connection, and connects to what it has looked at."""
    if account.at_port not in MAIL_PORTS:
        raise ValueError(f"port of the SMTP account must be one of {', '.join(map(str, sorted(MAIL_PORTS)))}")
    guard = Guard(ports=MAIL_PORTS, networks=outside.networks)
    async with asyncio.timeout(LOOKUP_TIMEOUT_S):
        found = await system_lookup(account.host, account.at_port)
    for address in found:
        check_address(address, guard)
    return msgspec.structs.replace(account, guard=guard)


def describe_sender(*names: str) -> Callable[[Any], dict[str, Any]]:
    """These fields, and the vendor's host."""

    def describe(account: Any) -> dict[str, Any]:
        shown = {name.rstrip("_"): getattr(account, name) for name in names}
        return {**shown, "host": urlsplit(account.base_url).hostname}

    return describe


def place_by_url(provider: str) -> Callable[[Any, Emulated | None], Any]:
    """For accounts that differ at the emulator in nothing but the URL."""

    def place(account: Any, emulated: Emulated | None) -> Any:
        if emulated is None:
            return account
        base_url = emulated.base_urls[provider]
        return msgspec.structs.replace(account, base_url=base_url, ca_pem=emulated.ca_pem, emulated=True)

    return place


KINDS: Mapping[str, Kind] = {
    "fcm": Kind(read=_read_fcm, describe=_describe_fcm, place=_place_fcm, open=open_fcm, reread=_reread_fcm),
    "apns": Kind(
        read=parse_apns_account,
        describe=_describe_apns,
        place=_place_apns,
        open=open_apns,
        expires_at=lambda account: account.expires_at,
    ),
    "webpush": Kind(read=_read_webpush, describe=_describe_webpush, place=_place_webpush, open=open_webpush),
    "smtp": Kind(read=_read_smtp, describe=_describe_smtp, place=_place_smtp, open=open_smtp, reach=_reach_smtp),
    "twilio": Kind(
        read=parse_twilio_account,
        describe=describe_sender("account_sid", "api_key_sid", "from_", "messaging_service_sid"),
        place=place_by_url("twilio"),
        open=open_twilio,
    ),
    "vonage": Kind(
        read=parse_vonage_account,
        describe=describe_sender("api_key", "from_"),
        place=place_by_url("vonage"),
        open=open_vonage,
    ),
}
