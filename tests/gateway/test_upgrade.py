"""Who may open a socket."""

import msgspec
import pytest

from tidings.gateway.upgrade import Accept, Answer, decide, read_origin, read_origins

LISTED = ("https://app.example.com", "http://intern.example.com:8080")


def request(
    target: str = "/ws",
    *,
    origins: tuple[str, ...] = LISTED,
    full: bool = False,
    draining: bool = False,
    **headers: str | list[str],
) -> Accept | Answer:
    given = {"upgrade": ["websocket"], "sec-websocket-version": ["13"]}
    given |= {name.replace("_", "-"): value if isinstance(value, list) else [value] for name, value in headers.items()}
    return decide(target, given, read_origins(origins), full, draining)


def status(decision: Accept | Answer) -> int:
    return decision.status.value if isinstance(decision, Answer) else 101


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "https://app.example.com:443",
        "HTTPS://APP.EXAMPLE.COM",
        "http://intern.example.com:8080",
    ],
)
def test_listed_origins_may(origin: str) -> None:
    assert status(request(origin=origin)) == 101


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "*",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://evil.example/https://app.example.com",
        "https://evil.example?https://app.example.com",
        "https://app.example.com@evil.example",
        "https://evil.example@app.example.com",
        "https://app.example.com/",
        "https://app.example.com#x",
        "https://app.example.com:",
        "https://app.example.com:99999",
        "https://app.example.com:x",
        "https://xapp.example.com",
        "https://example.com",
        "https://app.example.com.",
        "https://app%2eexample.com",
        "https://app.example.com\\@evil.example",
        "https://app.example.com evil",
        " https://app.example.com",
        "https:app.example.com",
        "//app.example.com",
        "app.example.com",
        "file://",
        "chrome-extension://abcdef",
        "http://[::1",
        "http://localhost",
        "https://app.example.com, https://evil.example",
    ],
)
def test_all_others_may_not(origin: str) -> None:
    assert status(request(origin=origin)) == 403


def test_two_origins_are_none() -> None:
    assert status(request(origin=["https://app.example.com", "https://app.example.com"])) == 403


def test_no_origin_is_no_browser() -> None:
    assert status(request()) == 101


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost", 101),
        ("http://localhost:3000", 101),
        ("https://127.0.0.1:8443", 101),
        ("http://[::1]:5173", 101),
        ("http://localhost.evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("https://app.example.com", 403),
        ("null", 403),
    ],
)
def test_by_default_only_pages_of_this_machine(origin: str, expected: int) -> None:
    assert status(request(origins=(), origin=origin)) == expected


@pytest.mark.parametrize("origin", ["https://anything.example", "null", "chrome-extension://abcdef"])
def test_a_star_is_every_page(origin: str) -> None:
    assert status(request(origins=("*",), origin=origin)) == 101


@pytest.mark.parametrize("wrong", ["app.example.com", "https://", "ftp://a.example", "https://a.example/path"])
def test_a_setting_that_is_no_origin_stops_the_start(wrong: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        read_origins((wrong,))


def test_a_slash_at_the_end_of_a_setting_is_forgiven() -> None:
    assert read_origins(("https://a.example/",)).allow("https://a.example")
    assert read_origin("https://a.example") == read_origin("https://A.example:443")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", 101),
        ("/ws", 101),
        ("/ws?x=1", 101),
        ("/ws/", 404),
        ("//", 404),
        ("/metrics", 404),
        ("/%2e", 404),
    ],
)
def test_paths(target: str, expected: int) -> None:
    assert status(request(target)) == expected


def test_livez_is_answered_whatever_happens() -> None:
    assert status(request("/livez", upgrade="", full=True, draining=True)) == 200


def test_not_a_websocket() -> None:
    plain = request(upgrade="")
    assert isinstance(plain, Answer)
    assert (plain.status, plain.headers["Upgrade"]) == (426, "websocket")
    old = request(sec_websocket_version="8")
    assert isinstance(old, Answer)
    assert (old.status, old.headers["Sec-WebSocket-Version"]) == (426, "13")


@pytest.mark.parametrize("name", ["token", "access_token", "jwt", "auth", "authorization", "TOKEN", "%74oken"])
def test_a_token_in_the_address_is_refused_and_not_repeated(name: str) -> None:
    answer = request(f"/ws?a=1&{name}=eyJsecret")
    assert isinstance(answer, Answer)
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = msgspec.json.decode(answer.body)
    assert (problem["code"], problem["status"]) == ("token_in_query", 400)
    assert b"eyJsecret" not in answer.body


def test_a_long_query_is_refused() -> None:
    assert status(request("/ws?" + "&" * 600)) == 400


def test_the_token_comes_as_a_subprotocol_and_positions_in_the_query() -> None:
    decision = request(
        "/ws?notification=ab%3A5&broadcast=x:1", sec_websocket_protocol=["tidings.v1", "tidings.token.a.b.c"]
    )
    assert isinstance(decision, Accept)
    assert (decision.token, decision.subprotocol) == ("a.b.c", "tidings.v1")
    assert (decision.asked.notification, decision.asked.broadcast) == ("ab:5", "x:1")
    one_line = request(sec_websocket_protocol="tidings.token.a.b.c , tidings.v1")
    assert isinstance(one_line, Accept)
    assert (one_line.token, one_line.subprotocol) == ("a.b.c", "tidings.v1")


def test_a_token_alone_is_no_subprotocol() -> None:
    answer = request(sec_websocket_protocol="tidings.token.a.b.c")
    assert isinstance(answer, Answer)
    assert answer.status == 400
    assert b"a.b.c" not in answer.body


def test_no_room_is_a_503_that_says_when_to_come_back() -> None:
    for answer in (request(full=True), request(draining=True)):
        assert isinstance(answer, Answer)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
