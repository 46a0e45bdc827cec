"""The address guard: every spelling of an inner address is refused, and what was checked is what is
called."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings import http
from tidings.addresses import (
    BLOCKED,
    AddressRefused,
    Guard,
    Target,
    check_address,
    check_url,
    matches,
    open_pinned,
    resolve,
)
from tidings.emulators.exchange import Request, Response
from tidings.emulators.http_server import serve

ANY = Guard()

# One address of each range that a request of ours must never reach, with its edges.
INNER = [
    *("0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255"),
    *("127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255"),
    *("192.0.0.0", "192.0.0.255", "192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255"),
    *("198.18.0.0", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255"),
    *("240.0.0.0", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.1.2.3"),
    *("::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1"),
    *("2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::"),
    *("2002:a9fe:a9fe::", "3fff::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1"),
    *("ff02::1", "4000::1", "8000::1", "fe80::1%eth0"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.0.0.1"),
    *("128.0.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "192.167.0.1", "198.17.0.1", "198.20.0.1"),
    *("223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200a", "2001:4860:4860::8888", "::ffff:8.8.8.8"),
]


@pytest.mark.parametrize("address", INNER)
def test_inner_addresses_are_refused(address: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_address(address)
    assert address not in str(caught.value)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(("network", "why"), BLOCKED, ids=str)
def test_every_row_of_the_table_blocks_both_its_ends(network: object, why: str) -> None:
    block = ip_network(str(network))
    for end in (block[0], block[-1]):
        with pytest.raises(AddressRefused):
            check_address(end)
    assert why


@given(st.ip_addresses(v=4))
def test_an_address_is_judged_the_same_inside_an_ipv6_one(address: object) -> None:
    def refused(text: str) -> bool:
        try:
            check_address(text)
        except AddressRefused:
            return True
        return False

    assert refused(str(address)) == refused(f"::ffff:{address}")


@given(st.ip_addresses())
def test_what_python_calls_inner_never_passes(address: object) -> None:
    found = ip_address(str(address))
    if not found.is_global:
        with pytest.raises(AddressRefused):
            check_address(found)


def test_what_is_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        check_address("localhost")


SPELLINGS = [
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001"),
    *("127.0.0.1.", "①②⑦.0.0.1", "127。0。0。1", "%31%32%37.0.0.1", "0", "0.0.0.0", "[::1]", "[::]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]", "[::127.0.0.1]"),
    *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::1]", "[fe80::1]", "[fd00::1]"),
    *("169.254.169.254", "0xa9fea9fe", "2852039166", "10.0.0.1", "localhost", "LOCALHOST", "x.localhost"),
    *("localhost.", "[::ffff:169.254.169.254]"),
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_an_inner_host_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(f"https://{host}/x", ANY)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "https://",
        "https:///x",
        "//example.org/x",
        "https:example.org",
        "http://example.org/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "gopher://example.org/",
        "https://user@example.org/x",
        "https://user:password@example.org/x",
        "https://@example.org/x",
        "https://:@example.org/x",
        "https://example.org\\@127.0.0.1/",
        "https:\\\\example.org/x",
        "https://example.org /x",
        " https://example.org/x",
        "https://exam\tple.org/x",
        "https://example.org/x\r\nHost: inside",
        "https://example.org:22/x",
        "https://example.org:0/x",
        "https://example.org:80/x",
        "https://example.org:99999/x",
        "https://example.org./x",
        "https://example..org/x",
        "https://example.1/x",
        "https://256.1.1.1/x",
        "https://bücher.example/x",
        "https://8.8.8.8/x",
        "https://[2606:4700::1111]/x",
        "https://[fe80::1%25eth0]/x",
        "https://exa%00mple.org/x",
        "https://example.org/" + "x" * 2048,
    ],
)
def test_a_url_that_may_not_be_called_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_url(url, ANY)
    assert "example" not in str(caught.value)


def test_the_url_that_was_read_is_the_one_that_is_called() -> None:
    found = check_url("https://XN--BCHER-kva.example:443/a/../b?x=1", ANY)
    assert found == Target(
        "https://xn--bcher-kva.example/b?x=1",
        "https://xn--bcher-kva.example",
        "xn--bcher-kva.example",
        443,
        False,
    )
    assert check_url("https://example.org:8443/", ANY).origin == "https://example.org:8443"


def test_hosts_ports_and_networks_can_be_allowed() -> None:
    guard = Guard(hosts=("push.example.org", "*.example.net"), ports=frozenset({443, 9000}))
    for good in ("https://push.example.org/x", "https://a.b.example.net:9000/x"):
        check_url(good, guard)
    for bad in ("https://example.org/x", "https://example.net/x", "https://push.example.org.evil.example/x"):
        with pytest.raises(AddressRefused, match="not on the list"):
            check_url(bad, guard)
    inside = Guard(networks=(ip_network("10.1.0.0/16"),))
    check_address("10.1.2.3", inside)
    check_address("::ffff:10.1.2.3", inside)
    with pytest.raises(AddressRefused):
        check_address("10.2.0.1", inside)


def test_loopback_is_for_emulators_and_nothing_else_comes_with_it() -> None:
    guard = Guard(hosts=("localhost",), loopback=True)
    for good in ("https://127.0.0.1:5000/x", "http://localhost:5000/x", "http://[::1]:5000/x"):
        check_url(good, guard)
    for bad in ("http://10.0.0.1:5000/x", "https://example.org/x", "https://8.8.8.8/x", "ftp://localhost/x"):
        with pytest.raises(AddressRefused):
            check_url(bad, guard)


def test_a_star_is_for_names_below_only() -> None:
    assert matches("a.example.org", ["*.example.org"])
    assert not matches("example.org", ["*.example.org"])
    assert not matches(".example.org", ["*.example.org"])
    assert not matches("badexample.org", ["*.example.org"])


def lookup_of(*answers: Sequence[str] | OSError) -> tuple[list[str], object]:
    """A resolver that gives these answers one after the other, and the names that it was asked."""
    asked: list[str] = []
    left = list(answers)

    async def lookup(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        answer = left.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    return asked, lookup


async def test_all_addresses_of_a_name_must_be_public() -> None:
    target = check_url("https://example.org/x", ANY)
    _, lookup = lookup_of(["8.8.8.8", "2606:4700::1111", "8.8.8.8"])
    assert await resolve(target, ANY, lookup) == ("8.8.8.8", "2606:4700::1111")  # type: ignore[arg-type]
    for inner in ("127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::7f00:1"):
        _, lookup = lookup_of(["8.8.8.8", inner])
        with pytest.raises(AddressRefused):
            await resolve(target, ANY, lookup)  # type: ignore[arg-type]


async def test_a_name_that_can_not_be_resolved_is_an_error_of_the_network() -> None:
    target = check_url("https://example.org/x", ANY)
    answers: list[OSError | list[str]] = [socket.gaierror(8, "unknown"), []]
    for answer in answers:
        _, lookup = lookup_of(answer)
        with pytest.raises(OSError):
            await resolve(target, ANY, lookup)  # type: ignore[arg-type]
    long = check_url(f"https://{'a' * 64}.example/x", ANY)
    with pytest.raises(OSError):
        await resolve(long, ANY)


async def test_the_systems_resolver_is_asked_and_its_answer_checked() -> None:
    target = check_url("https://localhost:5000/x", Guard(loopback=True))
    found = await resolve(target, Guard(loopback=True))
    assert set(found) <= {"127.0.0.1", "::1"}
    with pytest.raises(AddressRefused):
        await resolve(target, ANY)


async def test_the_call_goes_to_the_checked_address_with_the_name_in_host() -> None:
    """A name that leads nowhere (or, by now, somewhere else) is called at the address that was checked."""
    seen: list[str] = []

    def app(request: Request) -> Response:
        seen.append(request.headers["host"])
        return Response(302, b"", (("location", "http://127.0.0.1:1/inside"),))

    server = await serve(app)
    client = open_pinned("127.0.0.1", timeout_s=5)
    answer = await client.send(http.request("POST", f"http://push.invalid:{server.port}/x", {}), b"x")
    assert isinstance(answer, http.Answer)
    assert answer.status == 302  # and not followed
    assert seen == [f"push.invalid:{server.port}"]
    await client.close()
    await server.close()
