"""The operator's accounts at vendors: read from the settings, or those of the emulators until there are any."""

import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from tidings.account_limits import AccountLimits
from tidings.emulators.address import Address
from tidings.errors import SetupError
from tidings.providers.apns_account import ApnsAccount, parse_apns_account
from tidings.providers.apprise_account import ChatAccount
from tidings.providers.fcm import FcmAccount
from tidings.providers.fcm_account import parse_service_account
from tidings.providers.report_secrets import Secrets, parse_report_secrets
from tidings.providers.smtp_account import SmtpAccount, parse_smtp_account
from tidings.providers.twilio_account import TwilioAccount, parse_twilio_account
from tidings.providers.vonage_account import VonageAccount, parse_vonage_account
from tidings.providers.webpush_account import WebPushAccount, check_account
from tidings.providers.webpush_vapid import new_private_key
from tidings.settings import Settings

T = TypeVar("T")


class Accounts(Struct, frozen=True):
    """The operator's accounts, which projects without one of their own use. None: there is none.

    `reports`: what proves a report about them, by vendor. `limits`: how fast they may be used, by provider.
    """

    fcm: FcmAccount | None = None
    apns: ApnsAccount | None = None
    webpush: WebPushAccount | None = None
    smtp: SmtpAccount | None = None
    twilio: TwilioAccount | None = None
    vonage: VonageAccount | None = None
    chat: ChatAccount | None = None
    reports: dict[str, Secrets] = {}
    limits: Mapping[str, AccountLimits] = {}

    @property
    def ends(self) -> dict[str, datetime]:
        """By provider, when a certificate ends."""
        return {} if self.apns is None or self.apns.expires_at is None else {"apns": self.apns.expires_at}


def read_accounts(settings: Settings, vendors: Address | None) -> Accounts:
    """All of them. `vendors`: the emulators. Raises `SetupError`, which names the setting and says what to do."""
    vonage = _read("TIDINGS_VONAGE_CREDENTIALS", settings.vonage_credentials, parse_vonage_account)
    accounts = Accounts(
        fcm=fcm_account(settings, vendors),
        apns=apns_account(settings, vendors),
        webpush=webpush_account(settings, vendors),
        smtp=smtp_account(settings, vendors),
        twilio=twilio_account(settings, vendors, needed=vonage is None),
        vonage=vonage,
        chat=ChatAccount(
            allowed_networks=tuple(map(str, settings.networks())),
            emulated=vendors is not None,
            plain_http=vendors is not None,
            ca_pem=None if vendors is None else vendors.ca_pem.encode(),
        ),
        limits=settings.limits_by_provider(),
    )
    reports = dict(_read("TIDINGS_REPORT_SECRETS", settings.report_secrets, parse_report_secrets) or {})
    if accounts.twilio is not None:
        reports.setdefault("twilio", Secrets(accounts.twilio.auth_token))
    if accounts.vonage is not None and accounts.vonage.signature_secret:
        reports.setdefault("vonage", Secrets(accounts.vonage.signature_secret))
    return msgspec.structs.replace(accounts, reports=reports)


def fcm_account(settings: Settings, vendors: Address | None) -> FcmAccount | None:
    """The Firebase account."""
    given = _read("TIDINGS_FCM_CREDENTIALS", settings.fcm_credentials, parse_service_account)
    if given is not None or vendors is None:
        return None if given is None else FcmAccount(given)
    return FcmAccount(
        parse_service_account(vendors.service_account),
        vendors.fcm_url,
        vendors.ca_pem.encode(),
        emulated=True,
        retry_floor_s=settings.retry_base_s,
    )


def apns_account(settings: Settings, vendors: Address | None) -> ApnsAccount | None:
    """The Apple account for devices with APNs tokens; None: such tokens go to FCM."""
    given = _read("TIDINGS_APNS_CREDENTIALS", settings.apns_credentials, parse_apns_account)
    if given is not None or vendors is None or not vendors.apns_url:
        return given
    return msgspec.structs.replace(
        parse_apns_account(vendors.apns_account),
        base_url=vendors.apns_url,
        ca_pem=vendors.ca_pem.encode(),
        emulated=True,
        unavailable_wait_s=settings.retry_base_s,
    )


def smtp_account(settings: Settings, vendors: Address | None) -> SmtpAccount | None:
    """The mail relay and the sender."""
    given = _read("TIDINGS_SMTP_CREDENTIALS", settings.smtp_credentials, parse_smtp_account)
    if given is not None or vendors is None or not vendors.smtp_account:
        return given
    return msgspec.structs.replace(
        parse_smtp_account(vendors.smtp_account),
        ca_pem=vendors.ca_pem.encode(),
        emulated=True,
        retry_floor_s=settings.retry_base_s,
    )


def twilio_account(settings: Settings, vendors: Address | None, *, needed: bool) -> TwilioAccount | None:
    """The account for text messages. The emulator's only if it is `needed`: there is no other for them."""
    given = _read("TIDINGS_TWILIO_CREDENTIALS", settings.twilio_credentials, parse_twilio_account)
    if given is not None or vendors is None or not (vendors.twilio_url and needed):
        return given
    return msgspec.structs.replace(
        parse_twilio_account(vendors.twilio_account),
        base_url=vendors.twilio_url,
        ca_pem=vendors.ca_pem.encode(),
        emulated=True,
        retry_floor_s=settings.retry_base_s,
    )


def webpush_account(settings: Settings, vendors: Address | None) -> WebPushAccount | None:
    """The VAPID account for browsers; None: there is none. Embedded mode makes a key once and keeps it."""
    try:
        if settings.vapid_key:
            key = Path(settings.vapid_key).read_text()
            if not key:
                return None
        elif settings.embedded:
            key = keep(settings.data_dir / "vapid.pem", new_private_key)
        else:
            return None
    except OSError as error:
        raise SetupError(f"TIDINGS_VAPID_KEY ({settings.vapid_key}) can't be read: {error}") from error
    account = WebPushAccount(key, settings.vapid_subject)
    if vendors is not None:
        account = msgspec.structs.replace(
            account, ca_pem=vendors.ca_pem.encode(), emulated=True, retry_floor_s=settings.retry_base_s
        )
    try:
        check_account(account)
    except ValueError as error:
        raise SetupError(f"TIDINGS_VAPID_KEY or TIDINGS_VAPID_SUBJECT can't be used: {error}") from error
    return account


def _read(name: str, path: str, parse: Callable[[bytes], T]) -> T | None:
    """What a setting names, parsed; None: it names nothing, or an empty file, which is what Compose mounts for none."""
    if not path:
        return None
    try:
        text = Path(path).read_bytes()
        return parse(text) if text else None
    except (OSError, ValueError) as error:
        raise SetupError(f"{name} ({path}) can't be used: {error}") from error


def keep(path: Path, make: Callable[[], str]) -> str:
    """A secret text that is made once and kept in a file that only we can read."""
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        with open(path, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(make())
    return path.read_text("ascii")
