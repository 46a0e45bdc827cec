"""Bad bodies against every operation that takes one: a clear problem, never a 500, never a row."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from tests.api.operations import WITH_BODY, Operation, rows
from tests.conftest import Project
from tidings.app import App
from tidings.errors import CODES

DEEP = 100_000
LONE = b"\\ud800"
Case = tuple[str, bytes, int, str, str]  # what it is, the body, the status, the code, the pointer ("": none)

NOT_JSON: list[tuple[str, bytes]] = [
    ("spaces", b" \n"),
    ("cut off", b'{"a": '),
    ("not json", b"hello"),
    ("form", b"title=Hello&user_id=1"),
    ("two values", b"{} {}"),
    ("comma at the end", b'{"a": 1,}'),
    ("comment", b"{} // and more"),
    ("single quotes", b"{'a': 1}"),
    ("NaN", b'{"a": NaN}'),
    ("Infinity", b'{"a": -Infinity}'),
    ("bare control character", b'{"a": "\x01"}'),
    ("bare NUL", b"\x00"),
    ("byte order mark", b"\xef\xbb\xbf{}"),
    ("UTF-16", '{"a": 1}'.encode("utf-16")),
]
# At the top level even of a body whose items are judged alone.
NOT_AN_OBJECT: list[tuple[str, bytes]] = [
    ("null", b"null"),
    ("true", b"true"),
    ("number", b"1"),
    ("string", b'"{}"'),
    ("array", b"[]"),
    ("array of objects", b'[{"title": "x"}]'),
]


def general() -> Iterator[Case]:
    """Bad for whatever takes a body."""
    for what, body in NOT_JSON:
        yield what, body, 400, "bad_json", ""
    for what, body in NOT_AN_OBJECT:
        yield what, body, 422, "invalid_body", ""
    yield "deep arrays", b"[" * DEEP + b"]" * DEEP, 400, "bad_json", ""
    yield "deep objects", b'{"data":' * DEEP + b"1" + b"}" * DEEP, 400, "bad_json", ""
    yield "unknown field", b'{"nope": 1}', 422, "unknown_field", "/nope"
    yield "unknown field with slashes", b'{"a/b~c": 1}', 422, "unknown_field", "/a~1b~0c"
    yield "empty key", b'{"": 1}', 422, "unknown_field", "/"
    yield (
        "NUL in a key",
        b'{"a\\u0000": 1}',
        0,
        "*",
        "",
    )  # unknown, when the items of a batch are looked at alone
    yield "half a pair in a key", b'{"a' + LONE + b'": 1}', 0, "*", ""


def mutations(operation: Operation) -> Iterator[Case]:
    """The documented example with one thing wrong."""
    encode = msgspec.json.encode
    good: dict[str, Any] = operation.body
    yield "one field too many", encode({**good, "extra": None}), 422, "unknown_field", "/extra"
    for name, value in good.items():
        pointer = f"/{name}"

        def changed(to: bytes, name: str = name) -> bytes:
            rest = {other: kept for other, kept in good.items() if other != name}
            return encode({**rest, name: msgspec.Raw(to)})

        wrong: list[bytes] = [
            b"[1]",
            b"1e999",
            b"-1e999",
            b"1.5",
            b"9223372036854775808",
            b"18446744073709551616",
        ]
        if isinstance(value, str):
            yield f"NUL in {name}", changed(b'"a\\u0000b"'), 400, "bad_encoding", ""
            yield f"NUL after backslashes in {name}", changed(b'"\\\\\\\\\\u0000"'), 400, "bad_encoding", ""
            for half in (
                LONE,
                b"\\udc00",
                b"\\ud800\\ud800\\udc00",
                b"\\ud800\\n",
                b"\\ud800x",
                b"\\\\\\udfff",
            ):
                yield f"{half!r} in {name}", changed(b'"' + half + b'"'), 400, "bad_encoding", ""
            for raw in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
                yield f"{raw!r} in {name}", changed(b'"' + raw + b'"'), 400, "bad_encoding", ""
            wrong += [b"7", b"true", b'{"a": 1}']
            yield f"very long {name}", changed(encode("x" * 20_000)), 422, "*", pointer
        elif isinstance(value, dict):
            wrong += [b'"text"', b"true", b"7"]
        else:
            wrong += [b'"7"', b"true", b"0", b"-1", b"{}"]
        for to in wrong:
            inside = "/0" if isinstance(value, list) and to == b"[1]" else ""
            yield f"{to!r} as {name}", changed(to), 422, "*", pointer + inside


async def refused(client: httpx.AsyncClient, operation: Operation, url: str, case: Case) -> str:
    """What is wrong with the answer; empty: nothing."""
    what, body, status, code, pointer = case
    answer = await client.request(operation.method, url, content=body, headers={"Content-Type": "application/json"})
    problem = answer.json()
    pointers = [error["pointer"] for error in problem.get("errors", ())]
    fits = (
        answer.status_code == problem["status"]
        and problem["status"] in ((status,) if status else (400, 422))
        and problem["code"] in CODES
        and code in ("*", problem["code"])
        and answer.headers["content-type"] == "application/problem+json"
        and problem["request_id"] == answer.headers["x-request-id"]
        and problem["type"] == f"/docs#error-{problem['code']}"
        and (not pointer or pointers == [pointer])
    )
    return "" if fits else f"{what}: {answer.status_code} {answer.text[:300]}"


async def all_refused(app: App, project: Project, operation: Operation, cases: list[Case]) -> None:
    user_id = await project.user()
    before = await rows(app, project.id)
    at_once = asyncio.Semaphore(16)
    url = operation.url(user_id=user_id)

    async def one(case: Case) -> str:
        async with at_once:
            return await refused(project.client, operation, url, case)

    found = await asyncio.gather(*(one(case) for case in cases))
    assert [said for said in found if said] == []
    assert await rows(app, project.id) == before


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
async def test_what_is_bad_for_all(app: App, project: Project, operation: Operation) -> None:
    cases = list(general())
    if operation.required:
        cases.append(("nothing", b"", 400, "bad_json", ""))
    else:
        cases = [case for case in cases if case[0] != "spaces"]
    await all_refused(app, project, operation, cases)


@pytest.mark.parametrize("operation", [op for op in WITH_BODY if op.name != "send_batch"], ids=str)
async def test_good_bodies_gone_bad(app: App, project: Project, operation: Operation) -> None:
    await all_refused(app, project, operation, list(mutations(operation)))


DATA: list[tuple[str, bytes, int, str]] = [
    ("half a pair in a value", b'{"a": "' + LONE + b'"}', 400, "bad_encoding"),
    ("half a pair deep inside", b'{"a": [[{"b": "x' + LONE + b'"}]]}', 400, "bad_encoding"),
    ("half a pair in a key", b'{"' + LONE + b'": 1}', 400, "bad_encoding"),
    ("NUL in a key", b'{"\\u0000": 1}', 400, "bad_encoding"),
    ("NUL deep inside", b'{"a": [{"b": ["\\u0000"]}]}', 400, "bad_encoding"),
    ("bad UTF-8", b'{"a": "\xff"}', 400, "bad_encoding"),
    ("bad UTF-8 in a key", b'{"\xc3": 1}', 400, "bad_encoding"),
    ("33 levels", b'{"a": ' * 33 + b"1" + b"}" * 33, 422, "invalid_field"),
    ("500 levels", b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", 422, "invalid_field"),
    ("100,000 levels", b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}", 400, "bad_json"),
    ("beyond a double", b'{"a": 1e999}', 422, "*"),
    ("a number of 400 digits", b'{"a": ' + b"9" * 400 + b"}", 422, "*"),
]


@pytest.mark.parametrize("path", ["/api/notifications", "/api/notifications/schedule", "/api/broadcasts"])
async def test_bad_data(app: App, project: Project, path: str) -> None:
    operation = next(op for op in WITH_BODY if op.path == path and op.method == "POST")
    good = {**operation.body, "user_id": await project.user()} if "user_id" in operation.body else operation.body
    cases: list[Case] = [
        (
            what,
            msgspec.json.encode({**good, "data": msgspec.Raw(data)}),
            status,
            code,
            "/data" if status == 422 else "",
        )
        for what, data, status, code in DATA
    ]
    await all_refused(app, project, operation, cases)


GOOD_DATA: list[bytes] = [
    b'{"a": "\\\\u0000"}',  # an escaped backslash, then plain text
    b'{"a": "\\\\\\\\u0000"}',
    b'{"a": "\\ud83d\\ude00"}',  # a whole pair
    b'{"\\ud83d\\ude00": "\xf0\x9f\x98\x80"}',
    b'{"a": [0, -0.5, 1.0, 1e22, 9223372036854775807, 18446744073709551616, 5e-324, 1.7e308, -1e308]}',
    b'{"a": {"b": [[[[{"c": null}]]]], "": "empty key", "~/": true}}',
    b'{"a": ' + b"[" * 31 + b"]" * 31 + b"}",
]


def doubles(value: Any) -> Any:
    """Numbers as most readers of JSON hold them: PostgreSQL writes 1e22 as 10000000000000000000000."""
    if isinstance(value, dict):
        return {key: doubles(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [doubles(inner) for inner in value]
    return float(value) if type(value) in (int, float) else value


@pytest.mark.parametrize("data", GOOD_DATA)
async def test_unusual_data_comes_back_as_it_was(project: Project, data: bytes) -> None:
    body = {"user_id": await project.user(), "title": "x", "data": msgspec.Raw(data)}
    sent = await project.client.post("/api/notifications", content=msgspec.json.encode(body))
    assert sent.status_code == 202, sent.text
    assert doubles(sent.json()["data"]) == doubles(msgspec.json.decode(data))
    assert doubles((await project.get(sent.json()["id"]))["data"]) == doubles(msgspec.json.decode(data))
    await project.until(sent.json()["id"], "suppressed", "failed")


async def test_of_a_key_given_twice_the_last_counts(project: Project) -> None:
    answer = await project.client.post("/api/users", content=b'{"name": "First", "name": "Last"}')
    assert answer.json()["name"] == "Last"


async def test_the_content_type_does_not_matter(project: Project) -> None:
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "nonsense",
    ):
        answer = await project.client.post("/api/users", content=b'{"name": "A"}', headers={"Content-Type": kind})
        assert answer.status_code == 201, kind


async def test_a_long_unknown_field_is_not_thrown_back(project: Project) -> None:
    answer = await project.client.post("/api/users", json={"x" * 100_000: 1})
    assert answer.json()["code"] == "unknown_field"
    assert len(answer.content) < 2000


FCM_BAD: list[tuple[bytes, str]] = [
    (b'{"nope": 1}', "/fcm/nope"),
    (b'{"android": {"ttl": "soon"}}', "/fcm/android/ttl"),
    (b'{"android": {}, "android_v2": {"background_sync": {}}}', "/fcm"),
    (b'{"apns": {"payload": {"a": ' + b"9" * 310 + b"}}}", "/fcm"),
    (b'{"apns": {"payload": {"a": ' + b"[" * 500 + b"]" * 500 + b"}}}", "/fcm"),
    (b'{"apns": {"payload": {"a": ' + b"[" * 960 + b"]" * 960 + b"}}}", "/fcm"),
    (b'{"apns": {"headers": {"apns-id": 7}}}', "/fcm/apns/headers"),
]


@pytest.mark.parametrize(("fcm", "pointer"), FCM_BAD)
async def test_bad_parts_for_fcm(app: App, project: Project, fcm: bytes, pointer: str) -> None:
    user_id = await project.user()
    before = await rows(app, project.id)
    body = msgspec.json.encode({"user_id": user_id, "title": "x", "fcm": msgspec.Raw(fcm)})
    answer = await project.client.post("/api/notifications", content=body)
    problem = answer.json()
    assert answer.status_code in (400, 422), problem
    if answer.status_code == 422:
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert await rows(app, project.id) == before


async def test_data_keys_that_a_vendor_reserves(project: Project) -> None:
    body = {
        "user_id": await project.user(),
        "title": "x",
        "data": {"google.a": "1", "from": "2", "fine": "3"},
    }
    answer = await project.client.post("/api/notifications", json=body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/data/google.a", "/data/from"]
