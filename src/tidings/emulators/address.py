"""How to reach emulators that run in another process: the line that `python -m tidings.emulators` prints."""

from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from tidings.emulators.running import Emulators
from tidings.errors import SetupError


class Address(Struct, frozen=True):
    """`ca_pem`: the root certificate of all addresses with TLS. `plain_url`: what the phones received.

    `service_account` and the `_account` fields: what Tidings is configured with to send to them; `smtp_account` is
    JSON text, "" when there is no relay.
    """

    fcm_url: str
    plain_url: str
    ca_pem: str
    service_account: dict[str, str]
    apns_url: str = ""
    apns_account: dict[str, str] = {}
    twilio_url: str = ""
    twilio_account: dict[str, str] = {}
    vonage_url: str = ""
    vonage_account: dict[str, str] = {}
    smtp_account: str = ""

    @classmethod
    def of(cls, emulators: Emulators) -> Self:
        """The address of emulators that run in this process."""
        return cls(
            fcm_url=emulators.fcm_url,
            plain_url=emulators.plain_url,
            ca_pem=emulators.ca_pem.decode(),
            service_account=emulators.service_account,
            apns_url=emulators.apns.url,
            apns_account=emulators.apns.apns.account(),
            twilio_url=emulators.fcm_url,
            twilio_account=emulators.sms.twilio.account(),
            vonage_url=emulators.fcm_url,
            vonage_account=emulators.sms.vonage.account(),
            smtp_account=msgspec.json.encode(emulators.smtp.account()).decode(),
        )


def read(path: Path) -> Address:
    """The address in a file. Raises `SetupError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError) as error:
        raise SetupError(
            f"TIDINGS_EMULATORS ({path}) can't be used: {error}. "
            "It must hold the line that `python -m tidings.emulators` prints."
        ) from error
