"""Every row of the table in `magic_tokens.py`, over real HTTP/2: the documentation is the test."""

import itertools
import re
from datetime import timedelta

import msgspec
import pytest
from msgspec import Struct
from pyreqwest.exceptions import RequestError, RequestTimeoutError

from tests.emulators.conftest import Caller
from tidings.emulators import magic_tokens
from tidings.emulators.exchange import Response as Answered
from tidings.emulators.fcm import code_of

_unique = itertools.count()


class Row(Struct, frozen=True):
    word: str
    http: str
    code: str
    taken: bool
    remark: str

    def token(self) -> str:
        """The word with numbers for its places, and something of its own behind it."""
        numbers = {"<s>": "7", "<ms>": "30", "<n>": "2"}
        word = re.sub(r"<\w+>", lambda found: numbers[found[0]], self.word)
        return f"{word}-row{next(_unique)}"


def rows() -> list[Row]:
    rule, _header, *lines = (magic_tokens.__doc__ or "").split("\n\n", 2)[2].strip().splitlines()
    starts = [found.start() for found in re.finditer("=+", rule)]
    found = []
    for line in lines[1:-1]:
        cells = [line[at:until].strip() for at, until in itertools.pairwise([*starts, None])]
        found.append(Row(cells[0].strip("`"), cells[1], cells[2], cells[3] == "yes", cells[4]))
    return found


def test_the_table_is_whole() -> None:
    documented = {row.word.partition("<")[0] for row in rows()} - {"quota-retry-", "drop-once"}
    assert documented == set(magic_tokens._ANY)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.word)
async def test_a_row(caller: Caller, row: Row) -> None:
    token = row.token()
    for expected in row.http.split(", "):
        times = 2 if row.word.startswith("flaky") and expected == "503" else 1
        for _ in range(times):
            await _one(caller, row, token, expected)
    taken = len(caller.emulators.phones.messages(token))
    assert taken == row.taken


async def _one(caller: Caller, row: Row, token: str, expected: str) -> None:
    if expected == "never":
        request = caller.client.post(caller.url).header("authorization", f"Bearer {caller.access_token}")
        asked = {"message": {"token": token}}
        with pytest.raises(RequestTimeoutError):
            await request.body_json(asked).timeout(timedelta(milliseconds=150)).build().send()
        return
    if expected in ("cut", "reset"):
        with pytest.raises(RequestError):
            await caller.send(token)
        return
    response = await caller.send(token)
    body = bytes(await response.bytes())
    assert response.status == int(expected)
    if expected != "200" and row.code != "\\-":
        assert code_of(Answered(response.status, body)) == f"{expected} {row.code}"
        detail = msgspec.json.decode(body)["error"]["details"][0]
        assert detail["@type"].endswith("google.firebase.fcm.v1.FcmError")
    if row.code == "\\-":
        assert b"FcmError" not in body
    assert response.get_header("retry-after") == ("7" if "Retry-After" in row.remark else None)
    _remark(row, body)


def _remark(row: Row, body: bytes) -> None:
    if "HTML" in row.remark:
        assert body.startswith(b"<!DOCTYPE html>")
    elif "no body" in row.remark:
        assert body == b""
    elif "not JSON" in row.remark:
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(body)
    elif "QuotaFailure" in row.remark:
        subject = row.remark.rpartition(" ")[2]
        assert subject.encode() in body.partition(b"QuotaFailure")[2]
    elif "registration token" in row.remark:
        assert b"registration token" in body


async def test_a_goaway_token_makes_the_client_connect_again(caller: Caller) -> None:
    before = caller.emulators.tls_server.connections
    assert (await caller.send("goaway-1")).status == 200
    assert (await caller.send("after-goaway")).status == 200
    assert caller.emulators.tls_server.connections == before + 1


async def test_each_flaky_token_counts_for_itself(caller: Caller) -> None:
    first = [(await caller.send("flaky-1-a")).status for _ in range(3)]
    second = [(await caller.send("flaky-1-b")).status for _ in range(2)]
    assert (first, second) == ([503, 200, 200], [503, 200])


async def test_a_message_that_is_late_is_not_taken_from_a_caller_who_left(caller: Caller) -> None:
    request = caller.client.post(caller.url).header("authorization", f"Bearer {caller.access_token}")
    late = request.body_json({"message": {"token": "latency-300-left"}}).timeout(timedelta(milliseconds=50))
    with pytest.raises(RequestTimeoutError):
        await late.build().send()
    assert (await caller.send("latency-500-stayed")).status == 200
    assert caller.emulators.phones.messages("latency-300-left") == []
