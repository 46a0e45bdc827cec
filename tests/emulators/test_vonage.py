"""The emulated Vonage, used by Vonage's own package, and what it refuses."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from vonage_http_client.auth import Auth  # type: ignore[import-untyped]
from vonage_http_client.http_client import HttpClient, HttpClientOptions  # type: ignore[import-untyped]
from vonage_sms import Sms, SmsMessage  # type: ignore[import-untyped]
from vonage_sms.errors import SmsError  # type: ignore[import-untyped]

from tests.emulators.conftest import Caller

NUMBER = "447700900124"


@pytest.fixture
def root(caller: Caller, tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(caller.emulators.ca_pem)
    return path


def foreign(caller: Caller, root: Path, **changes: str) -> Sms:
    """Vonage's client over TLS, with the host of its requests replaced."""
    emulated = caller.emulators.sms.vonage
    account = {"api_key": emulated.api_key, "api_secret": emulated.api_secret} | changes
    host = caller.emulators.fcm_url.removeprefix("https://")
    client = HttpClient(Auth(**account), HttpClientOptions(rest_host=host, timeout=10))
    client._session.trust_env = False  # the environment may name roots and proxies of its own
    client._session.verify = str(root)
    return Sms(client)


async def send(sms: Sms, **fields: Any) -> Any:
    whole = {"to": NUMBER, "from_": "Parcels", "text": "Hi"} | fields
    return await asyncio.to_thread(lambda: sms.send(SmsMessage(**whole)))


async def test_vonages_package_sends(caller: Caller, root: Path) -> None:
    got = await send(foreign(caller, root), text="Hi 😀" * 30, type="unicode", client_ref="ref-1")
    assert got.message_count == "3"
    assert [part.status for part in got.messages] == ["0", "0", "0"]
    [received] = caller.emulators.sms.inboxes.messages(f"+{NUMBER}")
    assert (received.text, received.segments, received.sender) == ("Hi 😀" * 30, 3, "Parcels")


async def test_a_request_that_vonages_package_signed(caller: Caller) -> None:
    emulated = caller.emulators.sms.vonage
    for secret, status in ((emulated.signature_secret, "0"), ("another", "14")):
        fields = {"api_key": emulated.api_key, "to": NUMBER, "from": "Parcels", "text": "a=b & c"}
        fields["sig"] = Auth(emulated.api_key, signature_secret=secret, signature_method="sha256").sign_params(fields)
        form = [(name, str(value)) for name, value in fields.items()]
        response = await caller.client.post(f"{caller.emulators.fcm_url}/sms/json").form(form).build().send()
        assert (await response.json())["messages"][0]["status"] == status


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"to": "15005570001"}, "1"),
        ({"to": "15005570009"}, "9"),
        ({"to": "15005570029"}, "29"),
        ({"to": "1234"}, "3"),
        ({"text": ""}, "2"),
        ({"text": "x" * 3201}, "12"),
        ({"callback": "ftp://example.org"}, "23"),
    ],
)
async def test_refusals_as_vonages_package_reads_them(
    caller: Caller, root: Path, fields: dict[str, Any], status: str
) -> None:
    with pytest.raises(SmsError, match=rf"\b{status}\b"):
        await send(foreign(caller, root), **fields)


async def test_strangers_are_told_so_with_200(caller: Caller, root: Path) -> None:
    with pytest.raises(SmsError, match="4"):
        await send(foreign(caller, root, api_secret="wrong"))


async def test_without_unicode_foreign_letters_are_lost(caller: Caller, root: Path) -> None:
    await send(foreign(caller, root), to="447700900125", text="日 é")
    assert caller.emulators.sms.inboxes.messages("+447700900125")[0].text == "? é"


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"[]", b'{"to":1}', b"to=%00", b"&" * 300])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
async def test_any_body_is_an_answer(caller: Caller, body: bytes, kind: str) -> None:
    url = f"{caller.emulators.fcm_url}/sms/json"
    response = await caller.client.post(url).header("content-type", kind).body_bytes(body).build().send()
    assert response.status == 200
    assert (await response.json())["messages"][0]["status"] == "2"
    assert (await caller.client.get(url).build().send()).status == 405
