"""The emulators as a process of their own: announced on one line, ended by a signal or by stdin's end."""

import asyncio
import os
import signal
import sys

import msgspec
import pytest
from pyreqwest.client import ClientBuilder


async def started(*options: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tidings.emulators",
        *options,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "stdin"])
async def test_it_announces_itself_serves_and_ends(end: str) -> None:
    process = await started("--until-stdin-closes")
    assert process.stdout and process.stdin and process.stderr
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    told = msgspec.json.decode(line)
    assert told["service_account"]["token_uri"] == told["fcm_url"] + "/token"
    builder = ClientBuilder().http2(True).no_proxy().add_root_certificate_pem(told["ca_pem"].encode())
    async with builder.build() as client:
        for url in (told["fcm_url"], told["plain_url"]):
            assert (await client.get(f"{url}/control/stats").build().send()).status == 200
        if end == "stdin":
            process.stdin.close()
        else:
            process.send_signal(getattr(signal, end))
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert await process.stdout.read() == b""
    assert await process.stderr.read() == b""


async def test_a_taken_port_is_an_error_and_not_a_hang() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await started("--plain-port", str(port))
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode not in (0, None)
    assert b"ddress already in use" in errors
    server.close()
    await server.wait_closed()
