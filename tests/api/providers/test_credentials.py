"""Credentials over HTTP, with the real emulators: what is taken, and what is refused, with which words."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.providers.calls import GOOGLE, PATH, add, emulated, refused
from tests.conftest import Project
from tidings import accounts
from tidings.app import App
from tidings.emulators import Emulators, apns_certificates
from tidings.emulators.faults import Plan
from tidings.providers.webpush_vapid import new_private_key

BAD_FCM: list[tuple[str, Any, str]] = [
    ("private_key", None, "private_key is missing"),
    ("private_key", "-----BEGIN PRIVATE KEY-----\nnope\n-----END PRIVATE KEY-----\n", "unencrypted PEM"),
    ("private_key", 7, "must be a text"),
    ("project_id", "../../etc", "not a Google Cloud project id"),
    ("token_uri", "https://169.254.169.254/latest", "googleapis.com"),
    ("token_uri", "https://internal.example.com/token", "googleapis.com"),
    ("token_uri", "http://oauth2.googleapis.com/token", "https"),
    ("type", "authorized_user", "type is not service_account"),
]


@pytest.mark.parametrize(("field", "value", "said"), BAD_FCM)
async def test_a_bad_key_file_is_refused_with_a_reason(
    project: Project, key_file: dict[str, str], field: str, value: Any, said: str
) -> None:
    credentials = {name: kept for name, kept in {**key_file, field: value}.items() if kept is not None}
    body = {"provider": "fcm", "name": "Firebase", "credentials": credentials}
    assert said in await refused(project, body, check="false")


async def test_bad_apple_accounts(project: Project, vendors: Emulators) -> None:
    good = vendors.apns.apns.account()
    for change, said in (
        ({"key_id": "short"}, "key_id"),
        ({"private_key": "nope"}, "PEM"),
        ({"private_key": ""}, "either private_key or certificate"),
        ({"base_url": "https://10.0.0.1"}, "base_url"),
        ({"topic": "no/topic"}, "bundle id"),
    ):
        body = {"provider": "apns", "name": "Apple", "credentials": {**good, **change}}
        assert said in await refused(project, body, check="false")


async def test_the_end_of_a_certificate_is_known(project: Project) -> None:
    pem = apns_certificates.make("com.example.shop").pem
    body = {"provider": "apns", "name": "Apple", "credentials": {"certificate": pem}}
    made = await add(project, body, check="false")
    assert made["expires_at"] is not None
    assert (made["summary"]["kind"], made["summary"]["topic"]) == ("certificate", "com.example.shop")


INSIDE = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "localhost", "::1", "::ffff:127.0.0.1"]


@pytest.mark.parametrize("host", INSIDE)
async def test_no_account_leads_inside(project: Project, host: str) -> None:
    relay = {"host": host, "sender": "a@example.com", "username": "u", "password": "hunter2", "security": "tls"}
    body = {"provider": "smtp", "name": "Relay", "credentials": relay}
    assert "not public" in await refused(project, body)
    await refused(project, body, check="false")


@pytest.mark.parametrize("port", [22, 80, 5432, 6379])
async def test_a_relay_has_a_port_for_mail(project: Project, port: int) -> None:
    relay = {"host": "8.8.8.8", "port": port, "sender": "a@example.com"}
    assert "port" in await refused(project, {"provider": "smtp", "name": "Relay", "credentials": relay}, check="false")


async def test_what_proves_reports_is_stored_with_the_relay(project: Project) -> None:
    relay = {"host": "8.8.8.8", "sender": "a@example.com", "reports": {"secret": "its signing key"}}
    body = {"provider": "smtp", "name": "Relay", "credentials": relay}
    assert "need its vendor" in await refused(project, body, check="false")
    body["credentials"] = {**relay, "vendor": "ses"}
    assert "topics" in await refused(project, body, check="false")
    body["credentials"] = {**relay, "vendor": "mailgun"}
    made = await add(project, body, check="false")
    assert made["summary"]["vendor"] == "mailgun"
    assert "signing" not in str(made)


async def test_an_emulated_account_leads_to_the_emulator_and_nowhere_else(
    project: Project, vendors: Emulators, key_file: dict[str, str]
) -> None:
    for token_uri in (GOOGLE, "http://127.0.0.1:5432/token", "https://127.0.0.1:1/token"):
        body = emulated("fcm", {**vendors.service_account, "token_uri": token_uri})
        assert "does not lead to the emulator" in await refused(project, body)
    relay = {"host": "127.0.0.1", "port": 22, "sender": "a@example.com", "security": "none"}
    assert "does not lead to the emulator" in await refused(project, emulated("smtp", relay))


async def test_the_vendor_is_asked(project: Project, vendors: Emulators) -> None:
    for provider, credentials in (
        ("fcm", vendors.service_account),
        ("apns", vendors.apns.apns.account()),
        ("twilio", vendors.sms.twilio.account()),
        ("smtp", vendors.smtp.account()),
    ):
        made = await add(project, emulated(provider, credentials, provider))
        assert made["check"] == {"verdict": "good", "detail": ""}, provider
        assert made["emulated"] is True
        again = await project.client.post(f"{PATH}/{made['id']}/check")
        assert (again.status_code, again.json()) == (200, {"verdict": "good", "detail": ""})


async def test_what_the_vendor_refuses_is_not_stored(
    project: Project, vendors: Emulators, key_file: dict[str, str]
) -> None:
    stranger = {**key_file, "token_uri": vendors.service_account["token_uri"]}
    assert "invalid_grant" in await refused(project, emulated("fcm", stranger), "credentials_refused")
    apple = {**vendors.apns.apns.account(), "private_key": new_private_key()}
    assert "InvalidProviderToken" in await refused(project, emulated("apns", apple), "credentials_refused")
    sms = {**vendors.sms.twilio.account(), "auth_token": "0" * 32}
    assert "401" in await refused(project, emulated("twilio", sms), "credentials_refused")
    relay = {**vendors.smtp.account(), "password": "not the password"}
    assert "535" in await refused(project, emulated("smtp", relay), "credentials_refused")
    made = await add(project, emulated("fcm", stranger), check="false")
    found = (await project.client.post(f"{PATH}/{made['id']}/check")).json()
    assert found["verdict"] == "refused"


async def test_rotation_asks_the_vendor_too(
    app: App, project: Project, vendors: Emulators, key_file: dict[str, str]
) -> None:
    made = await add(project, emulated("fcm", vendors.service_account))
    one = f"{PATH}/{made['id']}"
    stranger = {**key_file, "token_uri": vendors.service_account["token_uri"]}
    answer = await project.client.patch(one, json={"credentials": stranger})
    assert (answer.status_code, answer.json()["code"]) == (422, "credentials_refused")
    assert (await project.client.post(f"{one}/check")).json()["verdict"] == "good", "the old ones are still there"


async def test_a_vendor_that_is_away_keeps_nobody_from_storing(project: Project, vendors: Emulators) -> None:
    vendors.faults.set({"oauth": Plan(status=503)})
    made = await add(project, emulated("fcm", vendors.service_account))
    assert made["check"]["verdict"] == "unknown"
    assert "503" in made["check"]["detail"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS = ("private_key", "project_id", "token_uri", "key_id", "certificate", "host", "port", "account_sid", "dkim")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    provider=st.sampled_from(sorted(accounts.WAYS)),
    credentials=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=10), JSON, min_size=1, max_size=5),
)
async def test_whatever_credentials_hold_they_are_refused_with_a_sentence(
    project: Project, provider: str, credentials: dict[str, Any]
) -> None:
    body = {"provider": provider, "name": "fuzz", "credentials": credentials}
    answer = await project.client.post(PATH, content=msgspec.json.encode(body), params={"check": "false"})
    assert answer.status_code in (400, 422), answer.text
