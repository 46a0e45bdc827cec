"""Which vendors are used, with which accounts: the operator's, or the emulators until there are any."""

from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import msgspec

from tidings.accounts import Account
from tidings.emulators import Emulators, address
from tidings.emulators import start as start_emulators
from tidings.emulators.address import Address
from tidings.errors import SetupError
from tidings.operators import Accounts
from tidings.providers.apns import open_apns
from tidings.providers.apprise import open_apprise
from tidings.providers.contract import Provider
from tidings.providers.credentials import Emulated, Outside, open_provider
from tidings.providers.fcm import open_fcm
from tidings.providers.smtp import open_smtp
from tidings.providers.smtp_account import parse_smtp_account
from tidings.providers.twilio import open_twilio
from tidings.providers.vonage import open_vonage
from tidings.providers.webpush import open_webpush
from tidings.routing import CHAT, EMAIL, SMS
from tidings.settings import Settings

T = TypeVar("T")


async def open_providers(accounts: Accounts, connections: int, stack: AsyncExitStack) -> dict[str, Provider]:
    """The operator's provider for each way (`worker.plan.Address.via`) that has one, with connections of its own.

    Without an account of Apple or for Web Push, such devices are reached through Firebase, which has tokens for both.
    """
    providers: dict[str, Provider] = {}

    async def add(via: str, opening: Awaitable[Provider]) -> None:
        provider = await opening
        stack.push_async_callback(provider.close)
        providers[via] = provider

    def own(account: T) -> T:
        return msgspec.structs.replace(account, connections=connections)  # type: ignore[type-var] # structs, all of them

    if accounts.fcm is not None:
        await add("fcm", open_fcm(own(accounts.fcm)))
        providers["apns"] = providers["webpush"] = providers["fcm"]
    if accounts.apns is not None:
        await add("apns", open_apns(own(accounts.apns)))
    if accounts.webpush is not None:
        await add("webpush", open_webpush(own(accounts.webpush)))
    if accounts.smtp is not None:
        await add(EMAIL, open_smtp(accounts.smtp))
    if accounts.twilio is not None:
        await add(SMS, open_twilio(own(accounts.twilio)))
    elif accounts.vonage is not None:
        await add(SMS, open_vonage(own(accounts.vonage)))
    if accounts.chat is not None:
        await add(CHAT, open_apprise(accounts.chat))
    return providers


async def find_emulators(settings: Settings, stack: AsyncExitStack) -> tuple[Emulators | None, Address | None]:
    """The emulators to use instead of vendors, if any: those of another process, or our own."""
    if settings.emulators:
        return None, address.read(Path(settings.emulators))
    if settings.fcm_credentials or not settings.embedded:
        return None, None
    try:
        emulators = await start_emulators("127.0.0.1", plain_port=settings.emulator_port)
    except OSError as error:
        raise SetupError(
            f"The emulators can't listen on port {settings.emulator_port}: {error.strerror}. "
            "Set TIDINGS_EMULATOR_PORT to another port."
        ) from error
    stack.push_async_callback(emulators.close)
    return emulators, Address.of(emulators)


def outside_of(settings: Settings, vendors: Address | None) -> Outside:
    """Where accounts of projects may lead: to the real vendors, and to the emulators if there are any."""
    networks = settings.networks()
    if vendors is None:
        return Outside(networks)
    base_urls = {
        "fcm": vendors.fcm_url,
        "apns": vendors.apns_url,
        "webpush": vendors.fcm_url,
        "twilio": vendors.twilio_url,
        "vonage": vendors.vonage_url,
    }
    if vendors.smtp_account:
        relay = parse_smtp_account(vendors.smtp_account)
        base_urls["smtp"] = f"smtp://{relay.host}:{relay.at_port}"
    known = {provider: url for provider, url in base_urls.items() if url}
    return Outside(networks, Emulated(known, vendors.ca_pem.encode(), settings.retry_base_s))


async def open_account(account: Account, outside: Outside, connections: int) -> Provider:
    """A provider for a project's account, with connections of its own. Raises `CredentialsError`, OSError."""
    return await open_provider(
        account.provider, account.credentials, outside, emulated=account.emulated, connections=connections
    )
