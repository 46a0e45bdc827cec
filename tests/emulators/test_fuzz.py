"""Whatever a peer sends, the server goes on."""

import asyncio
import contextlib
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidings.emulators import frames
from tidings.emulators.exchange import Request, Response
from tidings.emulators.http_server import RunningServer, serve

FRAME = st.builds(
    frames.frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 1, 2, 3, 5, 2**31 - 1, 2**32 - 1]),
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"\x82\x86\x84\x41\x01x", b"\x83\x86\x84\x41\x01x", bytes(4), bytes(5), bytes(8)]),
    ),
)
HTTP2 = st.lists(FRAME, max_size=20).map(
    lambda sent: frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 7}) + b"".join(sent)
)
HTTP1 = st.lists(
    st.sampled_from(
        [
            *(
                b"GET / HTTP/1.1\r\n",
                b"POST /x HTTP/1.1\r\n",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"\r\n",
                b"\x00",
            ),
            *(
                b"content-length: 5\r\n",
                b"content-length: x\r\n",
                b"transfer-encoding: chunked\r\n",
                b"5\r\nabcde",
            ),
            *(
                b"upgrade: h2c\r\nconnection: upgrade\r\n",
                b"CONNECT x:1 HTTP/1.1\r\n",
                b"expect: 100-continue\r\n",
            ),
        ]
    ),
    max_size=12,
).map(b"".join)


async def _attack(server: RunningServer, data: bytes, cut: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with contextlib.suppress(ConnectionError):  # The server may have closed: that is one right answer.
        writer.write(data[:cut])
        await asyncio.sleep(0)
        writer.write(data[cut:])
        writer.write_eof()
        await asyncio.wait_for(reader.read(-1), 10)
    writer.close()


async def _well(server: RunningServer) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nalive")
    answer = await asyncio.wait_for(reader.read(-1), 10)
    writer.close()
    return answer.endswith(b"alive")


def test_raw_bytes_do_not_kill_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """One loop and one server for all examples: what an example leaves behind meets the next one."""
    errors: list[dict[str, object]] = []
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        server = runner.run(serve(_echo, linger_s=0.01))

        @settings(max_examples=400, deadline=None)
        @given(data=st.one_of(HTTP2, HTTP2, HTTP1, st.binary(max_size=300)), cut=st.integers(0, 200))
        def attack(data: bytes, cut: int) -> None:
            with caplog.at_level(logging.ERROR):
                runner.run(_attack(server, data, cut))
            assert runner.run(_well(server))
            assert not errors
            assert not caplog.records

        attack()
        runner.run(server.close())


def _echo(request: Request) -> Response:
    return Response(200, request.body)
