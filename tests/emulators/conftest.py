"""Real emulators and real clients: everything here goes over sockets."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.response import Response

from tidings import clock
from tidings.emulators import Emulators, start
from tidings.emulators.oauth import GRANT

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


class Caller:
    """Sends to the emulated FCM as Tidings would: HTTP/2 over TLS, with an access token."""

    def __init__(self, emulators: Emulators, client: Client) -> None:
        self.emulators = emulators
        self.client = client
        self.access_token = ""
        project = emulators.service_account["project_id"]
        self.url = f"{emulators.fcm_url}/v1/projects/{project}/messages:send"

    async def authenticate(self, **changed: Any) -> Response:
        """Ask for an access token with a right assertion, or with some claims changed."""
        account = self.emulators.service_account
        now = int(clock.now().timestamp())
        claims = {
            "iss": account["client_email"],
            "scope": SCOPE,
            "aud": account["token_uri"],
            "iat": now,
            "exp": now + 3600,
        }
        key = changed.pop("key", account["private_key"])
        headers = {"kid": account["private_key_id"]}
        assertion = jwt.encode(claims | changed, key, algorithm="RS256", headers=headers)
        form = [("grant_type", GRANT), ("assertion", assertion)]
        response = await self.client.post(account["token_uri"]).form(form).build().send()
        if response.status == 200:
            self.access_token = (await response.json())["access_token"]
        return response

    async def post(self, body: Any, **headers: str) -> Response:
        """Send a raw send-request body (an object, or bytes as they are)."""
        builder = self.client.post(self.url).header("authorization", f"Bearer {self.access_token}")
        for name, value in headers.items():
            builder = builder.header(name, value)
        if isinstance(body, bytes):
            builder = builder.header("content-type", "application/json").body_bytes(body)
        else:
            builder = builder.body_json(body)
        return await builder.build().send()

    async def send(self, token: str, **message: Any) -> Response:
        return await self.post({"message": {"token": token, **message}})

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """A control call over the plain listener; answers the decoded body."""
        builder = self.client.request(method, self.emulators.plain_url + path)
        if body is not None:
            builder = builder.body_json(body)
        response = await builder.build().send()
        assert response.status in (200, 204), await response.text()
        return await response.json() if response.status == 200 else None


@pytest.fixture(scope="package")
async def emulators() -> AsyncIterator[Emulators]:
    running = await start()
    yield running
    await running.close()


@pytest.fixture
async def caller(emulators: Emulators) -> AsyncIterator[Caller]:
    builder = ClientBuilder().http2(True).no_proxy().timeout(timedelta(seconds=10))
    async with builder.add_root_certificate_pem(emulators.ca_pem).build() as client:
        calling = Caller(emulators, client)
        await calling.authenticate()
        yield calling
    emulators.faults.clear()
    emulators.accepted.stop_recording()
