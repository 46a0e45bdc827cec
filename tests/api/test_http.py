"""What holds for every path: methods, ids, request ids, sizes, encodings, slow and broken clients."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.api.operations import OPERATIONS, WITH_BODY, Operation, rows
from tests.conftest import Project, client_of
from tidings.api import bodies
from tidings.app import App
from tidings.errors import CODES

MIB = 1_048_576
METHODS: dict[str, set[str]] = {}
for _operation in OPERATIONS:
    METHODS.setdefault(_operation.path, set()).add(_operation.method)
STRANGE_IDS = ["0", "-1", "+1", "1_0", "%201", str(2**63), str(2**64), "9" * 40, "%D9%A1"]
NO_PATHS = [
    "/",
    "/api",
    "/api/nope",
    "/api/users/abc",
    "/api/users/1.0",
    "/api/users/1%00",
    "/api/users/%ff",
    "/..",
]
NO_PATHS += ["/api/users/" + "9" * 5000, "/api/notifications/nope", "/API/users", "/%2e%2e/etc/passwd"]


@pytest.mark.parametrize("path", METHODS)
async def test_methods(app: App, project: Project, path: str) -> None:
    """405 names the methods there are, OPTIONS as well, and HEAD is GET without the body."""
    allowed = METHODS[path] | {"OPTIONS"} | ({"HEAD"} if "GET" in METHODS[path] else set())
    url = re.sub(r"\{\w+\}", "1", path)
    told = await project.client.options(url)
    assert (told.status_code, told.content) == (204, b"")
    assert told.headers["allow"] == ", ".join(sorted(allowed))
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"):
        if method not in allowed:
            answer = await project.client.request(method, url, json={})
            assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
            assert answer.headers["allow"] == told.headers["allow"]
    head = await project.client.head(url)
    assert head.content == b""
    if "GET" in allowed:
        got = await project.client.get(url)
        assert head.status_code == got.status_code
        # Of a problem the request id differs, but not in length.
        assert head.headers["content-length"] == got.headers["content-length"]
        assert head.headers["content-type"] == got.headers["content-type"]
    else:
        assert head.status_code == 405


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if "_id}" in op.path], ids=str)
@pytest.mark.parametrize("strange", STRANGE_IDS)
async def test_ids_that_nobody_can_have(project: Project, operation: Operation, strange: str) -> None:
    url = re.sub(r"\{\w+\}", strange, operation.path)
    answer = await project.client.request(operation.method, url, json=operation.body)
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"].endswith("_not_found")


@pytest.mark.parametrize("path", NO_PATHS)
async def test_paths_that_do_not_exist(app: App, path: str) -> None:
    async with client_of(app) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")


@pytest.mark.parametrize("receipt", ["x", "%00", "%ff", "a" * 5000, "..", "a.b.c", "%F0%9F%98%80"])
async def test_receipts_that_nobody_made(app: App, receipt: str) -> None:
    async with client_of(app) as client:
        answer = await client.post(f"/api/receipts/{receipt}", content=b"\x00" * 100)
    assert answer.status_code == 404
    assert answer.json()["code"] in ("receipt_invalid", "route_not_found", "method_not_allowed")


@pytest.mark.parametrize("given", ["my-own-id.0_1", "x" * 64])
async def test_the_callers_request_id_is_used(app: App, given: str) -> None:
    async with client_of(app) as client:
        problem = await client.get("/api/users", headers={"X-Request-ID": given})
        fine = await client.get("/api/healthcheck", headers={"X-Request-ID": given})
    assert (problem.headers["x-request-id"], problem.json()["request_id"]) == (given, given)
    assert fine.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "with space", "caf\u00e9-caf\u00e9", "a" * 9 + "\t\t" + "b"])
async def test_other_request_ids_are_not(app: App, given: str) -> None:
    async with client_of(app) as client:
        answers = [await client.get("/api/users", headers={b"X-Request-ID": given.encode("latin-1")}) for _ in range(2)]
    made = [answer.headers["x-request-id"] for answer in answers]
    assert made == [answer.json()["request_id"] for answer in answers]
    assert all(re.fullmatch("[0-9a-f]{16}", ident) for ident in made)
    assert made[0] != made[1]


async def test_strange_keys_are_unknown(app: App) -> None:
    for key in ("\xff\xfe", "tk_" + "x" * 6000, "' OR 1=1 --"):
        async with httpx.AsyncClient(base_url=app.api_url, trust_env=False) as client:
            answer = await client.get("/api/users", headers={b"X-API-Key": key.encode("latin-1")})
        assert (answer.status_code, answer.json()["code"]) == (401, "key_unknown")


async def test_every_problem_type_leads_somewhere(app: App) -> None:
    async with client_of(app) as client:
        page = (await client.get("/docs")).text
    for code in CODES:
        assert f'id="error-{code}"' in page


def limit_of(app: App, operation: Operation) -> int:
    return app.settings.max_body_bytes * (bodies.BATCH_FACTOR if operation.name == "send_batch" else 1)


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
async def test_bodies_up_to_the_limit(app: App, project: Project, operation: Operation) -> None:
    """Exactly as many bytes are read, one more is too many: told by Content-Length, or found while reading.

    The client gets to hear it although it was still sending, and the connection goes on.
    """
    url = operation.url(user_id=await project.user())
    before = await rows(app, project.id)
    most = limit_of(app, operation)

    async def chunks(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, MIB):
            yield b" " * min(MIB, size - start)

    for content in (b" " * (most + 1), chunks(most + 1)):
        answer = await project.client.request(operation.method, url, content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large"), answer.text
        assert str(most) in answer.json()["detail"]
    for content in (b" " * most, chunks(most)):
        answer = await project.client.request(operation.method, url, content=content)
        assert answer.status_code in (400, 201), answer.text
    if operation.required:
        assert await rows(app, project.id) == before


async def raw(app: App, request: bytes, then: bytes = b"") -> bytes:
    """Send bytes, then some more while the answer comes; all that is answered until the other side closes."""
    port = int(app.api_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            await writer.drain()
            got = await reader.readuntil(b"\r\n\r\n")
            if then:
                writer.write(then)
            return got + await reader.read()
    finally:
        writer.close()


def head(project: Project, *lines: str) -> bytes:
    common = ("POST /api/users HTTP/1.1", "Host: x", f"X-API-Key: {project.key}")
    return "\r\n".join([*common, *lines, "", ""]).encode()


async def test_a_body_that_is_said_to_be_too_large_is_not_waited_for(app: App, project: Project) -> None:
    for length in (MIB + 1, 10**15, 10**30):
        got = await raw(app, head(project, f"Content-Length: {length}", "Expect: 100-continue"))
        if length < 10**18:
            assert got.startswith(b"HTTP/1.1 413 ")
            assert b"body_too_large" in got
        else:  # the HTTP parser's own bound
            assert got.startswith(b"HTTP/1.1 400 ")


async def test_an_endless_body_is_cut_off(app: App, project: Project) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    got = await raw(app, head(project, "Transfer-Encoding: chunked") + chunk * 17)  # a little too much, and no end
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in got
    try:
        got = await raw(app, head(project, "Transfer-Encoding: chunked") + chunk * 400)
    except ConnectionError:
        return  # closed under a client who would not stop
    assert got.startswith(b"HTTP/1.1 413 ")


async def test_nobody_without_a_key_makes_us_read_a_body(app: App, project: Project) -> None:
    lines = ("POST /api/users HTTP/1.1", "Host: x", f"Content-Length: {MIB}", "Connection: close", "", "")
    got = await raw(app, "\r\n".join(lines).encode())
    assert got.startswith(b"HTTP/1.1 401 ")


async def test_a_body_that_does_not_come(app: App, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.2)
    got = await raw(app, head(project, "Content-Length: 100") + b'{"name": ')
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b"body_too_slow" in got
    assert (await rows(app, project.id))["users"] == 0


async def test_a_client_that_leaves_in_the_middle(app: App, project: Project) -> None:
    port = int(app.api_url.rsplit(":", 1)[1])
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(project, "Content-Length: 100") + b'{"name": ')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await project.client.get("/api/users")).json() == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x", "identity, gzip"])
@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
async def test_encoded_bodies(app: App, project: Project, operation: Operation, encoding: str) -> None:
    url = operation.url(user_id=await project.user())
    before = await rows(app, project.id)
    headers = {"Content-Encoding": encoding}
    answer = await project.client.request(operation.method, url, json=operation.body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "encoding_unsupported")
    assert await rows(app, project.id) == before


async def test_a_body_that_is_encoded_as_itself(project: Project) -> None:
    answer = await project.client.post("/api/users", json={}, headers={"Content-Encoding": "identity"})
    assert answer.status_code == 201


BROKEN = [
    b"GET /api/users HTTP/1.1\r\nHost: x\r\nX-API-Key: a\x00b\r\n\r\n",
    b"GET /api/users HTTP/1.1\r\nHost: x\r\nX-API-Key: a\r\n b\r\n\r\n",
    b"GET /api/\x00users HTTP/1.1\r\nHost: x\r\n\r\n",
    b"FOO /api/users HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/users HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"hello\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", BROKEN)
async def test_what_is_not_http(app: App, request_bytes: bytes) -> None:
    got = await raw(app, request_bytes)
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ")), got[:100]
