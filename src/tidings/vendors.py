"""Which vendors are used, with which accounts: the operator's, or the emulators until there are any."""

import contextlib
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from msgspec import Struct

from tidings.emulators import Emulators, address
from tidings.emulators import start as start_emulators
from tidings.emulators.address import Address
from tidings.errors import SetupError
from tidings.providers.apns import open_apns
from tidings.providers.apns_account import ApnsAccount, ApnsAccountError, parse_apns_account
from tidings.providers.contract import Provider
from tidings.providers.fcm import FcmAccount, open_fcm
from tidings.providers.fcm_account import ServiceAccountError, parse_service_account
from tidings.providers.webpush import open_webpush
from tidings.providers.webpush_account import WebPushAccount, check_account
from tidings.providers.webpush_vapid import new_private_key
from tidings.settings import Settings


class Accounts(Struct, frozen=True):
    """The accounts to send with. Without one of Apple or for Web Push, such devices are reached through FCM."""

    fcm: FcmAccount
    apns: ApnsAccount | None = None
    webpush: WebPushAccount | None = None


async def open_providers(accounts: Accounts, connections: int, stack: AsyncExitStack) -> dict[str, Provider]:
    """A provider by each way (`worker.plan.Address.via`), with connections of its own."""
    providers: dict[str, Provider] = {}
    fcm = await open_fcm(msgspec.structs.replace(accounts.fcm, connections=connections))
    stack.push_async_callback(fcm.close)
    providers["fcm"] = providers["apns"] = providers["webpush"] = fcm
    if accounts.apns is not None:
        apns = await open_apns(msgspec.structs.replace(accounts.apns, connections=connections))
        stack.push_async_callback(apns.close)
        providers["apns"] = apns
    if accounts.webpush is not None:
        webpush = await open_webpush(msgspec.structs.replace(accounts.webpush, connections=connections))
        stack.push_async_callback(webpush.close)
        providers["webpush"] = webpush
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


def fcm_account(settings: Settings, vendors: Address | None) -> FcmAccount:
    """The Firebase account to send with. Raises `SetupError` when there is none, or none that can be used."""
    if vendors is not None:
        return FcmAccount(
            parse_service_account(vendors.service_account),
            vendors.fcm_url,
            vendors.ca_pem.encode(),
            emulated=True,
            retry_floor_s=settings.retry_base_s,
        )
    if not settings.fcm_credentials:
        raise SetupError("TIDINGS_FCM_CREDENTIALS must name a Firebase service-account JSON file.")
    try:
        return FcmAccount(parse_service_account(Path(settings.fcm_credentials).read_bytes()))
    except (OSError, ServiceAccountError) as error:
        raise SetupError(f"TIDINGS_FCM_CREDENTIALS ({settings.fcm_credentials}) can't be used: {error}") from error


def apns_account(settings: Settings, vendors: Address | None) -> ApnsAccount | None:
    """The Apple account for devices with APNs tokens; None: there is none, and such tokens go to FCM."""
    if vendors is not None and vendors.apns_url:
        account = parse_apns_account(vendors.apns_account)
        return msgspec.structs.replace(
            account,
            base_url=vendors.apns_url,
            ca_pem=vendors.ca_pem.encode(),
            emulated=True,
            unavailable_wait_s=settings.retry_base_s,
        )
    if not settings.apns_credentials:
        return None
    try:
        text = Path(settings.apns_credentials).read_bytes()
        return parse_apns_account(text) if text else None  # Compose mounts an empty file for none
    except (OSError, ApnsAccountError) as error:
        raise SetupError(f"TIDINGS_APNS_CREDENTIALS ({settings.apns_credentials}) can't be used: {error}") from error


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


def keep(path: Path, make: Callable[[], str]) -> str:
    """A secret text that is made once and kept in a file that only we can read."""
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        with open(path, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(make())
    return path.read_text("ascii")
