"""The emulated vendors, and a key file that no vendor knows."""

from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.api.providers.calls import GOOGLE
from tidings.app import App
from tidings.emulators import Emulators


@pytest.fixture
async def vendors(app: App) -> AsyncIterator[Emulators]:
    assert app.emulators is not None
    yield app.emulators
    app.emulators.faults.clear()


@pytest.fixture(scope="module")
def key_file() -> dict[str, str]:
    """A service account of the right form, which Google never saw."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return {
        "type": "service_account",
        "project_id": "shop-1",
        "private_key_id": "a1b2c3",
        "private_key": pem,
        "client_email": "push@shop-1.iam.gserviceaccount.com",
        "token_uri": GOOGLE,
    }
