"""The ceiling of `deliver`: the worker's own FCM messages, posted by pyreqwest, and nothing else.

The worker itself calls by libcurl (docs/decisions/0012); the ceiling is the client that it was measured against from
the beginning, so that figures of different times can be compared.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.request import RequestBody, StreamRequest

from tidings import signing
from tidings.bench import bodies
from tidings.bench.commands import Push, Pushed
from tidings.emulators import address
from tidings.errors import SetupError
from tidings.http import open_client
from tidings.providers import fcm_message
from tidings.providers.fcm_account import parse_service_account
from tidings.providers.fcm_oauth import Token, TokenSource

TIMEOUT_S = 30.0


async def push(command: Push) -> Pushed:
    """See `commands.Push`. The messages are made and the token is fetched before the clock starts."""
    where = address.read(Path(command.emulators))
    account = parse_service_account(where.service_account)
    key = signing.derive(command.secret.encode(), signing.RECEIPTS)
    texts = [
        fcm_message.build(bodies.message(command.first_id + n, n + 1, n + 1, key, command.receipts))
        for n in range(command.count)
    ]
    ca_pem = where.ca_pem.encode()
    url = f"{where.fcm_url}/v1/projects/{account.project_id}/messages:send"
    clients = [_client(ca_pem) for _ in range(command.connections)]
    token_client = open_client(timeout_s=TIMEOUT_S, ca_pem=ca_pem, system_proxy=False)
    tokens = TokenSource(account, token_client)
    try:
        token = await tokens.token()
        if not isinstance(token, Token):
            raise SetupError(f"the emulator gives no access token: {token}")
        requests = [
            client.post(url).header("authorization", f"Bearer {token.value}").build_streamed() for client in clients
        ]
        left = iter(texts)
        began = time.monotonic()
        refused = await asyncio.gather(*(_sender(requests[n % len(requests)], left) for n in range(command.in_flight)))
        return Pushed(command.count, time.monotonic() - began, sum(refused))
    finally:
        for client in clients:
            await client.close()
        await token_client.close()
        await tokens.close()


def _client(ca_pem: bytes) -> Client:
    return (
        ClientBuilder()
        .user_agent("tidings")
        .no_proxy()
        .follow_redirects(False)
        .timeout(timedelta(seconds=TIMEOUT_S))
        .tcp_nodelay(True)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .http2(True)
        .http2_prior_knowledge()
        .default_headers({"content-type": "application/json"})
        .add_root_certificate_pem(ca_pem)
        .build()
    )


async def _sender(prepared: StreamRequest, left: Iterator[bytes]) -> int:
    """One after the other until none is left; how many were not taken."""
    refused = 0
    for text in left:
        request = prepared.copy()
        request.body = RequestBody.from_bytes(text)
        async with request as response:
            await response.body_reader.read(4096)
            refused += response.status != 200
    return refused
