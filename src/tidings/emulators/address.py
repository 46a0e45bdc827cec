"""How to reach emulators that run in another process: the line that `python -m tidings.emulators` prints."""

from pathlib import Path

import msgspec
from msgspec import Struct

from tidings.errors import SetupError


class Address(Struct, frozen=True):
    """`ca_pem`: the root certificate that `fcm_url` is signed with. `plain_url`: what the phones received."""

    fcm_url: str
    plain_url: str
    ca_pem: str
    service_account: dict[str, str]


def read(path: Path) -> Address:
    """The address in a file. Raises `SetupError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError) as error:
        raise SetupError(
            f"TIDINGS_EMULATORS ({path}) can't be used: {error}. "
            "It must hold the line that `python -m tidings.emulators` prints."
        ) from error
