"""Google's own package sends to the emulated FCM, and understands what it refuses."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import firebase_admin  # type: ignore[import-untyped]
import msgspec
import pytest
from firebase_admin import credentials, exceptions, messaging

from tidings.emulators import Emulators

# The package would rather have Firebase installation ids; FCM takes both.
pytestmark = pytest.mark.filterwarnings("ignore:Message.token is deprecated:DeprecationWarning")


@pytest.fixture
def google(emulators: Emulators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An app of firebase-admin that trusts the emulators and sends to them."""
    roots = tmp_path / "roots.pem"
    roots.write_text(emulators.ca_pem if isinstance(emulators.ca_pem, str) else emulators.ca_pem.decode())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(roots))
    url = emulators.fcm_url + "/v1/projects/{0}/messages:send"
    monkeypatch.setattr(messaging._MessagingService, "FCM_URL", url)  # it has no public way to be pointed elsewhere
    app = firebase_admin.initialize_app(credentials.Certificate(dict(emulators.service_account)), name="emulated")
    yield app
    firebase_admin.delete_app(app)


async def test_firebase_admin_sends(google: Any, emulators: Emulators) -> None:
    message = messaging.Message(
        token="firebase-admin-phone",
        notification=messaging.Notification(title="Hello", body="from Google's package"),
        data={"order": "7"},
    )
    name = await asyncio.to_thread(messaging.send, message, app=google)
    assert name.startswith("projects/tidings-emulator/messages/")
    (received,) = emulators.phones.messages("firebase-admin-phone")
    got = msgspec.json.decode(received.body)["message"]
    assert (got["notification"]["title"], got["data"]["order"]) == ("Hello", "7")


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ("unregistered-firebase-admin", messaging.UnregisteredError),
        ("quota-firebase-admin", messaging.QuotaExceededError),
        ("invalid-token-firebase-admin", exceptions.InvalidArgumentError),
    ],
)
async def test_firebase_admin_understands_refusals(google: Any, token: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await asyncio.to_thread(messaging.send, messaging.Message(token=token), app=google)
