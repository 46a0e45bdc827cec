"""The server against foreign clients: two HTTP libraries, both protocols, with TLS and without."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from msgspec import Struct
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from tidings.emulators import certificate
from tidings.emulators.exchange import Answer, Drop, GoAway, Request, Reset, Response
from tidings.emulators.http_server import RunningServer, serve

SIZES = (0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 300_000, 900_000)


class Place(Struct, frozen=True):
    """The same application behind TLS and without."""

    tls: RunningServer
    plain: RunningServer
    ca_pem: bytes

    def client(self) -> ClientBuilder:
        builder = ClientBuilder().no_proxy().timeout(timedelta(seconds=20)).http2_max_header_list_size(60_000)
        return builder.add_root_certificate_pem(self.ca_pem)

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.ca_pem.decode())

    def url(self, path: str, secure: bool = True) -> str:
        scheme, port = ("https", self.tls.port) if secure else ("http", self.plain.port)
        return f"{scheme}://127.0.0.1:{port}{path}"


async def _slow(request: Request) -> Answer:
    await asyncio.sleep(0.02)
    return Response(200, request.body)


async def _late_failure(request: Request) -> Answer:
    await asyncio.sleep(0)
    raise RuntimeError("late")


def app(request: Request) -> Any:
    match request.path:
        case "/echo":
            return Response(200, request.body, (("x-query", request.query),))
        case "/digest":
            return Response(200, hashlib.sha256(request.body).hexdigest().encode())
        case "/header":
            return Response(200, request.headers["x-asked"].encode())
        case "/big":
            return Response(200, b"a" * int(request.query))
        case "/many-headers":
            return Response(200, b"", tuple((f"x-{n}", "v" * 500) for n in range(40)))
        case "/slow":
            return _slow(request)
        case "/bug":
            raise RuntimeError("early")
        case "/late-bug":
            return _late_failure(request)
        case "/drop":
            return Drop()
        case "/reset":
            return Reset()
        case "/goaway":
            return GoAway(Response(200, b"bye"))
    return Response(404, b"nothing")


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Place]:
    pair = certificate.make()
    tls = await serve(app, tls=certificate.server_context(pair))
    plain = await serve(app)
    yield Place(tls, plain, pair.ca_pem)
    await asyncio.gather(tls.close(), plain.close())


@asynccontextmanager
async def foreign(place: Place, kind: str) -> AsyncIterator[tuple[Any, bool]]:
    """One of six clients and whether it speaks TLS."""
    secure = "tls" in kind
    if kind.startswith("httpx"):
        two = "h2" in kind
        async with httpx.AsyncClient(
            http1=not two, http2=two, verify=place.trust(), trust_env=False, timeout=20
        ) as client:
            yield client, secure
    else:
        builder = place.client().http2(True) if kind == "reqwest-h2-tls" else place.client().http1_only()
        async with builder.build() as client:
            yield client, secure


async def post(client: Any, url: str, body: bytes) -> tuple[int, bytes]:
    if isinstance(client, httpx.AsyncClient):
        answer = await client.post(url, content=body)
        return answer.status_code, answer.content
    response = await client.post(url).body_bytes(body).build().send()
    return response.status, bytes(await response.bytes())


KINDS = (
    "reqwest-h2-tls",
    "reqwest-h1-tls",
    "reqwest-h1",
    "httpx-h2-tls",
    "httpx-h2",
    "httpx-h1-tls",
    "httpx-h1",
)


@pytest.mark.parametrize("kind", KINDS)
async def test_bodies_of_all_sizes_pass_both_ways_unchanged(place: Place, kind: str) -> None:
    async with foreign(place, kind) as (client, secure):
        for size in SIZES:
            body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            assert await post(client, place.url("/echo", secure), body) == (200, body)


@pytest.mark.parametrize("kind", KINDS)
async def test_ordinary_faults_look_alike_everywhere(place: Place, kind: str) -> None:
    async with foreign(place, kind) as (client, secure):
        assert await post(client, place.url("/none", secure), b"") == (404, b"nothing")
        assert (await post(client, place.url("/bug", secure), b""))[0] == 500
        assert (await post(client, place.url("/late-bug", secure), b""))[0] == 500
        assert (await post(client, place.url("/echo", secure), b"still here")) == (200, b"still here")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_beyond_the_limit_is_refused_with_413(place: Place, kind: str) -> None:
    async with foreign(place, kind) as (client, secure):
        status, _ = await post(client, place.url("/echo", secure), b"x" * (1024 * 1024 + 1))
        assert status == 413
        assert await post(client, place.url("/echo", secure), b"next") == (200, b"next")


async def test_a_streamed_body_beyond_the_limit_is_refused_with_413(place: Place) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    for kind in ("httpx-h2-tls", "httpx-h1"):
        async with foreign(place, kind) as (client, secure):
            answer = await client.post(place.url("/echo", secure), content=pieces())
            assert answer.status_code == 413


async def test_exactly_the_limit_passes(place: Place) -> None:
    async with foreign(place, "reqwest-h2-tls") as (client, _):
        body = b"z" * (1024 * 1024)
        digest = hashlib.sha256(body).hexdigest().encode()
        assert await post(client, place.url("/digest"), body) == (200, digest)


async def test_five_hundred_streams_at_once(place: Place) -> None:
    async with foreign(place, "reqwest-h2-tls") as (client, _):
        before = place.tls.connections
        bodies = [b"%d" % number * 50 for number in range(500)]
        answers = await asyncio.gather(*(post(client, place.url("/slow"), body) for body in bodies))
        assert answers == [(200, body) for body in bodies]
        assert place.tls.connections - before <= 500
        again = await asyncio.gather(*(post(client, place.url("/echo"), body) for body in bodies))
        assert again == answers


async def test_big_answers_share_the_connection(place: Place) -> None:
    async with foreign(place, "httpx-h2-tls") as (client, _):
        urls = [place.url(f"/big?{size}") for size in (900_000, 70_000, 5, 400_000) * 3]
        answers = await asyncio.gather(*(client.get(url) for url in urls))
        assert [len(answer.content) for answer in answers] == [900_000, 70_000, 5, 400_000] * 3


@pytest.mark.parametrize("kind", KINDS)
async def test_headers_beyond_one_frame_arrive(place: Place, kind: str) -> None:
    async with foreign(place, kind) as (client, secure):
        url = place.url("/many-headers", secure)
        if isinstance(client, httpx.AsyncClient):
            headers: Any = (await client.get(url)).headers
        else:
            headers = (await client.get(url).build().send()).headers
        assert all(headers[f"x-{number}"] == "v" * 500 for number in range(40))


@pytest.mark.parametrize("kind", KINDS)
async def test_request_headers_arrive_and_change_between_requests(place: Place, kind: str) -> None:
    async with foreign(place, kind) as (client, secure):
        for asked in ("one", "two", "one", "w" * 3000, "one"):
            url = place.url("/header", secure)
            if isinstance(client, httpx.AsyncClient):
                seen = (await client.get(url, headers={"X-Asked": asked})).text
            else:
                seen = await (await client.get(url).header("X-Asked", asked).build().send()).text()
            assert seen == asked


async def test_head_has_a_length_and_no_body(place: Place) -> None:
    for kind in ("httpx-h2-tls", "httpx-h1"):
        async with foreign(place, kind) as (client, secure):
            answer = await client.head(place.url("/big?1234", secure))
            assert (answer.headers["content-length"], answer.content) == ("1234", b"")
            assert (await client.get(place.url("/echo?a=1", secure))).headers["x-query"] == "a=1"


@pytest.mark.parametrize("path", ["/drop", "/reset"])
@pytest.mark.parametrize("kind", ["reqwest-h2-tls", "reqwest-h1", "httpx-h2", "httpx-h1"])
async def test_a_cut_request_fails_and_the_next_one_passes(place: Place, kind: str, path: str) -> None:
    async with foreign(place, kind) as (client, secure):
        with pytest.raises((RequestError, httpx.TransportError)):
            await post(client, place.url(path, secure), b"x")
        assert await post(client, place.url("/echo", secure), b"next") == (200, b"next")


async def test_a_reset_leaves_the_other_streams_alone(place: Place) -> None:
    async with foreign(place, "reqwest-h2-tls") as (client, _):
        await post(client, place.url("/echo"), b"opens the connection")
        before = place.tls.connections
        slow = [post(client, place.url("/slow"), b"s") for _ in range(20)]
        results = await asyncio.gather(*slow, post(client, place.url("/reset"), b"x"), return_exceptions=True)
        assert results[:20] == [(200, b"s")] * 20
        assert isinstance(results[20], RequestError)
        assert place.tls.connections == before


@pytest.mark.parametrize("kind", ["reqwest-h2-tls", "reqwest-h1", "httpx-h1"])
async def test_goaway_answers_and_the_client_comes_back_on_a_new_connection(place: Place, kind: str) -> None:
    async with foreign(place, kind) as (client, secure):
        server = place.tls if secure else place.plain
        before = server.connections
        assert await post(client, place.url("/goaway", secure), b"") == (200, b"bye")
        assert await post(client, place.url("/echo", secure), b"back") == (200, b"back")
        assert server.connections == before + 2


async def test_goaway_finishes_what_is_open(place: Place) -> None:
    async with foreign(place, "reqwest-h2-tls") as (client, _):
        await post(client, place.url("/echo"), b"opens the connection")
        slow = [asyncio.ensure_future(post(client, place.url("/slow"), b"s")) for _ in range(50)]
        started = place.tls.requests + 50
        async with asyncio.timeout(10):
            while place.tls.requests < started:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert place.tls.goaway() >= 1
        assert await asyncio.gather(*slow) == [(200, b"s")] * 50


async def test_the_stream_limit_is_announced_and_kept() -> None:
    pair = certificate.make()
    open_now, most = 0, 0

    async def counted(request: Request) -> Answer:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.005)
        open_now -= 1
        return Response(200)

    server = await serve(counted, tls=certificate.server_context(pair), max_concurrent_streams=7)
    place = Place(server, server, pair.ca_pem)
    async with foreign(place, "reqwest-h2-tls") as (client, _):
        await post(client, place.url("/"), b"")
        answers = await asyncio.gather(*(post(client, place.url("/"), b"") for _ in range(60)))
    assert [status for status, _ in answers] == [200] * 60
    assert server.connections == 1
    assert most <= 7
    await server.close()


async def test_idle_connections_are_closed_and_busy_ones_are_not() -> None:
    release = asyncio.Event()

    async def waits(request: Request) -> Answer:
        await release.wait()
        return Response(200, b"done")

    server = await serve(waits, idle_s=0.05)
    _, idle = await asyncio.open_connection("127.0.0.1", server.port)
    reader, busy = await asyncio.open_connection("127.0.0.1", server.port)
    busy.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(10):
        while not (server.connections == 2 and server.open_connections == 1):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    release.set()
    answer = await asyncio.wait_for(reader.readuntil(b"done"), 10)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    for writer in (idle, busy):
        writer.close()
    await server.close()


async def test_connections_beyond_the_limit_are_cut() -> None:
    server = await serve(app, max_connections=2)
    kept = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    async with asyncio.timeout(10):
        while server.open_connections < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 10)
    for _, each in [*kept, (reader, writer)]:
        each.close()
    await server.close()


async def test_close_lets_open_requests_finish() -> None:
    server = await serve(_slow)
    place = Place(server, server, b"")
    builder: Client = ClientBuilder().no_proxy().timeout(timedelta(seconds=20)).build()
    async with builder as client:
        asked = asyncio.ensure_future(post(client, place.url("/", secure=False), b"last"))
        async with asyncio.timeout(10):
            while not server.requests:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await server.close()
        assert await asked == (200, b"last")
        with pytest.raises(RequestError):
            await post(client, place.url("/", secure=False), b"too late")
    await server.close()
