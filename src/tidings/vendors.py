"""Which vendors are used, with which accounts: the operator's, or the emulators until there are any."""

from contextlib import AsyncExitStack
from pathlib import Path

from tidings.emulators import Emulators, address
from tidings.emulators import start as start_emulators
from tidings.emulators.address import Address
from tidings.errors import SetupError
from tidings.providers.fcm import FcmAccount
from tidings.providers.fcm_account import ServiceAccountError, parse_service_account
from tidings.settings import Settings


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
    return emulators, Address(
        emulators.fcm_url, emulators.plain_url, emulators.ca_pem.decode(), emulators.service_account
    )


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
