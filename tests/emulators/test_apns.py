"""What the emulated APNs takes and what it refuses; `aioapns` sends to it as to Apple."""

import asyncio
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import jwt
import msgspec
import pytest
from aioapns import APNs, NotificationRequest, PushType
from aioapns.common import NotificationResult
from aioapns.connection import APNsProductionClientProtocol
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError
from pyreqwest.response import Response

from tidings.emulators import apns_server, certificate
from tidings.emulators.accepted import Accepted
from tidings.emulators.apns import TOPICS, Apns
from tidings.emulators.apns_reasons import REASONS, for_status
from tidings.emulators.apns_server import ApnsServers
from tidings.emulators.confirmations import Confirmations
from tidings.emulators.faults import Faults, Plan
from tidings.emulators.phones import Phones

TOKEN = "5e" * 32
PAYLOAD = {"aps": {"alert": {"title": "Hi", "body": "there"}}, "tidings_id": "7"}
ID = "0f5cbd1e-8f4f-4a5b-9d7e-1c2b3a4d5e6f"


class Sender:
    """Sends to the emulated APNs over HTTP/2 and TLS, each with a connection of its own."""

    def __init__(self, servers: ApnsServers, faults: Faults, phones: Phones) -> None:
        self.servers = servers
        self.faults = faults
        self.phones = phones
        self.client = self.connect()
        self.token = self.sign()

    def connect(self) -> Client:
        builder = ClientBuilder().http2(True).http2_prior_knowledge().no_proxy().timeout(timedelta(seconds=10))
        return builder.add_root_certificate_pem(self.servers.ca_pem).build()

    def sign(self, key: str | None = None, **changed: Any) -> str:
        """A provider token, right or with some of it changed."""
        account = self.servers.apns.account()
        key_id = changed.pop("kid", account["key_id"])
        claims = {"iss": account["team_id"], "iat": int(time.time())} | changed
        pem = key or account["private_key"]
        return jwt.encode(claims, pem, algorithm="ES256", headers={"kid": key_id})

    async def post(self, path: str = f"/3/device/{TOKEN}", body: bytes | None = None, **headers: Any) -> Response:
        """One push; header names with underscores, None leaves one out."""
        given = {"authorization": f"bearer {self.token}", "apns-topic": TOPICS[0], "apns-push-type": "alert"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        builder = self.client.post(self.servers.url + path)
        for name, value in given.items():
            for each in value if isinstance(value, list) else [value]:
                builder = builder.header(name, each) if each is not None else builder
        return await builder.body_bytes(msgspec.json.encode(PAYLOAD) if body is None else body).build().send()

    async def reason(self, path: str = f"/3/device/{TOKEN}", body: bytes | None = None, **headers: Any) -> str:
        response = await self.post(path, body, **headers)
        return f"{response.status} {(await response.json())['reason']}"

    async def control(self, call: str, **body: Any) -> Response:
        builder = self.client.post(f"{self.servers.plain_url}/control/apns/{call}").body_json(body)
        return await builder.build().send()


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    faults, phones = Faults({"apns": for_status}), Phones(Accepted(), Confirmations())
    servers = await apns_server.listen(Apns(faults, phones), certificate.make())
    sending = Sender(servers, faults, phones)
    yield sending
    await sending.client.close()
    await servers.close()


async def test_a_push_is_taken_and_reaches_its_phone(sender: Sender) -> None:
    response = await sender.post(apns_id=ID)
    assert (response.status, response.get_header("apns-id"), await response.text()) == (200, ID, "")
    [received] = sender.phones.messages(TOKEN)
    assert received.message_id == ID
    assert msgspec.json.decode(received.body) == PAYLOAD


async def test_a_missing_id_is_made(sender: Sender) -> None:
    response = await sender.post()
    assert uuid.UUID(response.get_header("apns-id"))
    assert response.get_header("apns-unique-id") is None


async def test_only_the_development_environment_has_a_unique_id() -> None:
    faults, phones = Faults({"apns": for_status}), Phones(Accepted(), Confirmations())
    servers = await apns_server.listen(Apns(faults, phones, "development"), certificate.make())
    sending = Sender(servers, faults, phones)
    assert uuid.UUID((await sending.post()).get_header("apns-unique-id"))
    await sending.client.close()
    await servers.close()


BAD: list[tuple[str, dict[str, Any]]] = [
    ("400 BadCollapseId", {"apns_collapse_id": "x" * 65}),
    ("400 BadDeviceToken", {"path": "/3/device/not-hexadecimal"}),
    ("400 BadExpirationDate", {"apns_expiration": "tomorrow"}),
    ("400 BadMessageId", {"apns_id": "7"}),
    ("400 BadMessageId", {"apns_id": ID.upper()}),
    ("400 BadPriority", {"apns_priority": "7"}),
    ("400 BadPriority", {"apns_priority": "10", "apns_push_type": "background"}),
    ("400 BadTopic", {"apns_topic": "a/b"}),
    ("400 BadTopic", {"apns_push_type": "voip"}),
    ("400 DuplicateHeaders", {"apns_priority": ["5", "10"]}),
    ("400 DuplicateHeaders", {"apns_id": [ID, ID]}),
    ("400 InvalidPushType", {"apns_push_type": "pager"}),
    ("400 MissingDeviceToken", {"path": "/3/device/"}),
    ("400 MissingTopic", {"apns_topic": None}),
    ("400 PayloadEmpty", {"body": b""}),
    ("400 PayloadEmpty", {"body": b"{}"}),
    ("400 TopicDisallowed", {"apns_topic": "com.example.other"}),
    ("403 MissingProviderToken", {"authorization": None}),
    ("403 MissingProviderToken", {"authorization": "basic x"}),
    ("403 InvalidProviderToken", {"authorization": "bearer x.y.z"}),
    ("404 BadPath", {"path": "/3/devices/5e"}),
    ("413 PayloadTooLarge", {"body": b'{"aps":"' + b"x" * 4087 + b'"}'}),
]


@pytest.mark.parametrize(("expected", "changes"), BAD)
async def test_a_bad_request_is_refused(sender: Sender, expected: str, changes: dict[str, Any]) -> None:
    assert await sender.reason(**changes) == expected
    assert sender.phones.messages(TOKEN) == []
    assert sender.servers.apns.refused == {expected: 1}


async def test_the_limits_themselves_are_taken(sender: Sender) -> None:
    most = b'{"aps":"' + b"x" * 4086 + b'"}'
    assert (await sender.post(body=most, apns_collapse_id="x" * 64, apns_expiration="0")).status == 200
    voip = {"apns_push_type": "voip", "apns_topic": f"{TOPICS[0]}.voip"}
    assert (await sender.post(body=b'{"aps":"' + b"x" * 5110 + b'"}', **voip)).status == 200
    assert await sender.reason(body=b'{"aps":"' + b"x" * 5111 + b'"}', **voip) == "413 PayloadTooLarge"


async def test_another_method_is_refused(sender: Sender) -> None:
    response = await sender.client.get(f"{sender.servers.url}/3/device/{TOKEN}").build().send()
    assert (response.status, await response.json()) == (405, {"reason": "MethodNotAllowed"})


async def test_every_reason_can_be_provoked_by_a_token(sender: Sender) -> None:
    for status, names in REASONS.items():
        for place, name in enumerate(names, 1):
            response = await sender.post(f"/3/device/{f'facade{status}{place:02}'.ljust(64, '0')}")
            told = await response.json()
            assert (response.status, told.pop("reason")) == (status, name)
            assert list(told) == (["timestamp"] if status == 410 else [])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"iat": time.time() - 3700}, "403 ExpiredProviderToken"),
        ({"iat": time.time() + 3700}, "403 ExpiredProviderToken"),
        ({"iat": "now"}, "403 InvalidProviderToken"),
        ({"iss": "OTHERTEAM1"}, "403 InvalidProviderToken"),
        ({"kid": "OTHERKEY01"}, "403 InvalidProviderToken"),
    ],
)
async def test_a_token_that_is_not_good(sender: Sender, changed: dict[str, Any], expected: str) -> None:
    sender.token = sender.sign(**changed)
    assert await sender.reason() == expected


async def test_a_connection_is_bound_to_its_first_push(sender: Sender) -> None:
    authority = sender.servers.apns.authority
    team = sender.servers.apns.key.team_id
    assert (await sender.post()).status == 200
    for key, expected in (
        (authority.make_key("SECONDKEY1", team), "403 UnrelatedKeyIdInToken"),
        (authority.make_key("FOREIGNKEY", "OTHERTEAM1"), "403 Forbidden"),
        (authority.make_key("SANDBOXKEY", team, "development"), "403 BadEnvironmentKeyIdInToken"),
    ):
        sender.token = sender.sign(key.pem, kid=key.key_id, iss=key.team_id)
        assert await sender.reason() == expected


async def test_tokens_may_not_change_too_often_on_one_connection(sender: Sender) -> None:
    assert (await sender.post()).status == 200
    sender.token = sender.sign(iat=int(time.time()) - 5)
    assert await sender.reason() == "429 TooManyProviderTokenUpdates"
    assert (await sender.control("clock", ahead_s=1300)).status == 204
    assert (await sender.post()).status == 200


async def test_devices_are_registered_by_a_control_call(sender: Sender) -> None:
    assert (await sender.control("devices", token=TOKEN, state="unregistered", since_ms=1234)).status == 204
    response = await sender.post()
    assert (response.status, await response.json()) == (410, {"reason": "Unregistered", "timestamp": 1234})
    await sender.control("devices", token=TOKEN, state="expired")
    assert await sender.reason() == "410 ExpiredToken"
    await sender.control("devices", token=TOKEN, topic=TOPICS[1])
    assert await sender.reason() == "400 DeviceTokenNotForTopic"
    await sender.control("devices", token=TOKEN, environment="development")
    assert await sender.reason() == "400 BadDeviceToken"
    await sender.control("devices", token=TOKEN)
    assert (await sender.post()).status == 200


async def test_other_control_calls(sender: Sender) -> None:
    assert (await sender.control("devices", token="x")).status == 400
    assert (await sender.control("nothing")).status == 404
    await sender.control("topics", topics=["com.example.new"])
    assert (await sender.post(apns_topic="com.example.new")).status == 200
    await sender.control("keys/revoke")
    assert await sender.reason() == "403 InvalidProviderToken"
    assert (await sender.control("connections", action="goaway")).status == 204
    plain = sender.client.post(f"{sender.servers.plain_url}/control/apns/clock").body_bytes(b"{}")
    assert (await plain.build().send()).status == 415


async def test_faults_are_played(sender: Sender) -> None:
    sender.faults.set({"apns": Plan(status=503, count=1, retry_after_s=3)})
    response = await sender.post()
    assert (response.status, response.get_header("retry-after")) == (503, "3")
    sender.faults.set({"apns": Plan(dead_tokens=frozenset({TOKEN}))})
    assert await sender.reason() == "410 Unregistered"


async def test_only_http2_is_spoken(sender: Sender) -> None:
    builder = ClientBuilder().no_proxy().timeout(timedelta(seconds=10))
    async with builder.add_root_certificate_pem(sender.servers.ca_pem).build() as client:
        with pytest.raises(RequestError):
            await client.post(f"{sender.servers.url}/3/device/{TOKEN}").body_bytes(b"{}").build().send()


async def test_goaway_says_why_in_json(sender: Sender) -> None:
    token = "facade50302".ljust(64, "0")
    assert await sender.reason(f"/3/device/{token}") == "503 Shutdown"
    assert (await sender.post()).status == 200
    assert sender.servers.tls_server.connections == 2


@pytest.fixture
async def foreign(sender: Sender) -> AsyncIterator[APNs]:
    port = sender.servers.tls_server.port

    class Protocol(APNsProductionClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = port

    account = sender.servers.apns.account()
    context = ssl.create_default_context(cadata=sender.servers.ca_pem.decode())
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=account["private_key"],
        key_id=account["key_id"],
        team_id=account["team_id"],
        topic=account["topic"],
        ssl_context=context,
        max_connections=1,
    )
    client.pool.protocol_class = Protocol
    yield client
    connections = list(client.pool.connections)
    client.pool.close()
    async with asyncio.timeout(5):
        while any(each.transport and not each.transport.is_closing() for each in connections):  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.01)


async def aioapns_sends(client: APNs, token: str, **more: Any) -> NotificationResult:
    request = NotificationRequest(token, PAYLOAD, time_to_live=60, priority=10, **more)
    return await asyncio.wait_for(client.send_notification(request), 10)


async def test_aioapns_sends(sender: Sender, foreign: APNs) -> None:
    first = await aioapns_sends(foreign, TOKEN, push_type=PushType.ALERT, collapse_key="c")
    assert first.is_successful
    got = await asyncio.gather(*(aioapns_sends(foreign, f"{number:064x}") for number in range(100)))
    assert all(each.is_successful for each in got)
    [received] = sender.phones.messages(TOKEN)
    assert received.message_id == first.notification_id


async def test_aioapns_reads_a_refusal(foreign: APNs) -> None:
    got = await aioapns_sends(foreign, "facade41003".ljust(64, "0"))
    assert (got.status, got.description, got.timestamp) == ("410", "Unregistered", 1_577_836_800_000)
    got = await aioapns_sends(foreign, "beef", push_type=PushType.ALERT)
    assert (got.status, got.description) == ("400", "BadDeviceToken")
