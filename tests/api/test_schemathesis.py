"""Schemathesis against a service in a process of its own: what the OpenAPI document says is what the service does."""

import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.api.serving import Ended, run, served
from tests.conftest import open_folder

KEY = "schemathesis-key-0123456789-0123456789"
HERE = Path(__file__).parent
EXAMPLES = "20"  # for each operation and phase
FUZZED = 600  # at least so many calls: fewer would mean that it looked away


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data directory of its own."""
    with open_folder() as path:
        yield path


@pytest.fixture(scope="module")
async def url(folder: Path) -> AsyncIterator[str]:
    async with served(folder, TIDINGS_API_KEY=KEY) as service:
        yield service.url


async def schemathesis(location: str, url: str, folder: Path, *options: str, **env: str) -> Ended:
    """Run it, always with the same calls; its report, if it found something, is the message of the failure."""
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or "schemathesis"
    ended = await run(
        *(program, "run", location, "--url", url, "--header", f"X-API-Key: {KEY}"),
        *("--seed", "1", "--generation-deterministic", "--max-examples", EXAMPLES, "--continue-on-failure"),
        *("--request-timeout", "10", "--no-color", "--checks", "all", *options),
        env={"PYTHONPATH": str(HERE), **env},
        cwd=folder,
    )
    assert ended.code == 0, ended.out[-20_000:] + ended.err
    calls = re.search(r"(\d+) generated", ended.out)
    assert calls, ended.out
    assert int(calls[1]) >= FUZZED, ended.out
    return ended


async def test_what_is_answered(url: str, tmp_path: Path) -> None:
    """No 5xx, no undocumented status, media type, header or body; what is bad is refused; every route needs the key."""
    await schemathesis(f"{url}/docs/openapi.json", url, tmp_path, "--exclude-checks", "positive_data_acceptance")


async def test_what_is_accepted(url: str, tmp_path: Path) -> None:
    """Whatever fits the document is taken.

    Some things no schema can say, and they are kept from the calls here: that a key of an earlier call with another
    body is refused, that parts of FCM, APNs and Web Push exclude or need each other, as do channels and fallback, what
    a chat URL and an address to reply to are, that a redrive must name something, that a bounce is a mail, what a
    vendor takes for credentials, that NUL can't be stored, that quiet hours end at another time than they begin at,
    that a time zone exists, that a burst needs a rate, and what the hooks mend: past times, and integers that are
    written with a point.
    """
    async with httpx.AsyncClient(trust_env=False) as client:
        document: dict[str, Any] = (await client.get(f"{url}/docs/openapi.json")).json()
    del document["paths"]["/api/dead-letters/redrive"]
    del document["paths"]["/api/reports/mail"]
    del document["paths"]["/api/providers"]["post"]
    for operations in document["paths"].values():
        for operation in operations.values():
            told = operation.get("parameters", [])
            operation["parameters"] = [parameter for parameter in told if parameter["name"] != "Idempotency-Key"]
    for schema in document["components"]["schemas"].values():
        for name in ("fcm", "apns", "webpush", "fallback", "burst"):
            schema.get("properties", {}).pop(name, None)
        schema.get("properties", {}).get("chat_url", {}).update({"enum": ["ntfys://example.com/room", None]})
        schema.get("properties", {}).get("timezone", {}).update({"enum": ["Europe/Zurich", None]})
    document["components"]["schemas"]["EmailOverrides"]["properties"]["reply_to"] = {"enum": ["ann@example.com", None]}
    night = {"from": ["22:00"], "until": ["07:00"]}
    quiet_hours = document["components"]["schemas"]["QuietHours"]["properties"]
    quiet_hours.update({name: {"enum": values} for name, values in night.items()})
    path = tmp_path / "openapi.json"
    path.write_bytes(msgspec.json.encode(document))
    options = ("--mode", "positive", "--generation-allow-x00", "false")
    await schemathesis(str(path), url, tmp_path, *options, SCHEMATHESIS_HOOKS="schemathesis_hooks")
