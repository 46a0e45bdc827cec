"""Does the vendor take these credentials? One call that nobody notices, where a vendor has one.

FCM: an access token is fetched (RFC 7523). APNs: a push to a device token that no device has; Apple answers
BadDeviceToken only to who may push (Apple, "Handling notification responses from APNs"). SMTP: connection, TLS and
login, and no mail. Twilio: one page of the
messages is listed, which an API key may do that may send (Twilio, "API keys": standard ones read all but accounts and
keys). Web Push has nothing to ask: a push service learns of the key with the first message.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from tidings.clock import now
from tidings.http import Failure, basic_auth, open_client, request
from tidings.providers.account_kind import CredentialsError, Outside
from tidings.providers.apns import open_apns
from tidings.providers.apns_account import ApnsAccount
from tidings.providers.contract import Gone, Message, Outcome, Paused, Rejected, Retry, Sent
from tidings.providers.credentials import place
from tidings.providers.fcm import FcmAccount
from tidings.providers.fcm_oauth import Token, TokenSource
from tidings.providers.smtp import open_smtp
from tidings.providers.smtp_account import SmtpAccount
from tidings.providers.twilio_account import TwilioAccount

TIMEOUT_S = 10.0
NOBODY = "0" * 64
"""A device token of the right form that Apple gave to no device."""


class Verdict(StrEnum):
    GOOD = "good"  # the vendor took them
    REFUSED = "refused"  # the vendor said no
    UNKNOWN = "unknown"  # it could not be asked, or there is nothing to ask


class Checked(Struct, frozen=True):
    """What a vendor said about credentials. `detail`: a sentence, "" when there is nothing to add."""

    verdict: Verdict
    detail: str = ""


async def allowed(provider: str, account: Any, outside: Outside, *, emulated: bool) -> None:
    """Pass when the account may be stored, as far as can be told without the vendor. Raises `CredentialsError`.

    A name that can't be resolved now passes: it is looked at again whenever the account is opened.
    """
    with contextlib.suppress(OSError):
        await place(provider, account, outside, emulated=emulated)


async def check(provider: str, account: Any, outside: Outside, *, emulated: bool) -> Checked:
    """Ask the vendor, once, within `TIMEOUT_S`. Never raises for what the vendor or the network does. Twice is safe."""
    ask = _CHECKS.get(provider)
    if ask is None:
        return Checked(Verdict.UNKNOWN, "This vendor has no call that could tell.")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await ask(await place(provider, account, outside, emulated=emulated))
    except CredentialsError as error:
        return Checked(Verdict.REFUSED, str(error))
    except TimeoutError:
        return Checked(Verdict.UNKNOWN, f"The vendor gave no answer within {TIMEOUT_S:g} seconds.")
    except OSError:
        return Checked(Verdict.UNKNOWN, "The vendor's name can't be resolved now.")
    except ValueError as error:  # such as a certificate that has ended
        return Checked(Verdict.REFUSED, str(error))


def verdict_of(outcome: Outcome) -> Checked:
    """What becomes of a message for nobody says of the account that it is sent with, or would be."""
    match outcome:
        case Sent() | Gone():
            return Checked(Verdict.GOOD)
        case Paused():
            return Checked(Verdict.REFUSED, outcome.detail)
        case Retry() | Rejected():
            return Checked(Verdict.UNKNOWN, outcome.detail)


async def _check_fcm(account: FcmAccount) -> Checked:
    client = open_client(timeout_s=TIMEOUT_S, ca_pem=account.ca_pem, system_proxy=not account.emulated)
    tokens = TokenSource(account.service_account, client)
    try:
        token = await tokens.token()
    finally:
        await client.close()
        await tokens.close()
    return Checked(Verdict.GOOD) if isinstance(token, Token) else verdict_of(token)


async def _check_apns(account: ApnsAccount) -> Checked:
    provider = await open_apns(account)
    try:
        return verdict_of(await provider.send(_to_nobody("ios", NOBODY)))
    finally:
        await provider.close()


async def _check_smtp(account: SmtpAccount) -> Checked:
    provider = await open_smtp(account)
    try:
        met = await provider.log_in()
    finally:
        await provider.close()
    return Checked(Verdict.GOOD) if met is None else verdict_of(met)


async def _check_twilio(account: TwilioAccount) -> Checked:
    client = open_client(timeout_s=TIMEOUT_S, ca_pem=account.ca_pem, system_proxy=not account.emulated)
    user = account.api_key_sid or account.account_sid
    secret = account.api_key_secret or account.auth_token
    url = f"{account.base_url}/2010-04-01/Accounts/{account.account_sid}/Messages.json?PageSize=1"
    try:
        answer = await client.send(request("GET", url, {"authorization": basic_auth(user, secret)}))
    finally:
        await client.close()
    if isinstance(answer, Failure):
        return Checked(Verdict.UNKNOWN, answer.detail)
    if answer.status in (401, 403, 404):
        return Checked(Verdict.REFUSED, f"Twilio answered {answer.status}.")
    return (
        Checked(Verdict.GOOD) if answer.status == 200 else Checked(Verdict.UNKNOWN, f"Twilio answered {answer.status}.")
    )


def _to_nobody(device_type: str, address: str) -> Message:
    return Message(
        project_id=0,
        notification_id=0,
        user_id=0,
        device_id=0,
        device_type=device_type,
        address=address,
        title="",
        body="",
        data={},
        ttl_s=0,
        collapse_key="tidings-check",
        urgent=False,
        created_at=now(),
    )


_CHECKS: Mapping[str, Callable[[Any], Awaitable[Checked]]] = {
    "fcm": _check_fcm,
    "apns": _check_apns,
    "smtp": _check_smtp,
    "twilio": _check_twilio,
}
