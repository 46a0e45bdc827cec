"""Which chat URLs are taken, which are refused, and that none is quoted."""

import subprocess
import sys

import pytest

from tidings.addresses import Guard
from tidings.providers.apprise_account import ChatAccount, check_account, guard_of
from tidings.providers.apprise_services import SERVICES
from tidings.providers.apprise_url import ChatUrlError, load, parse_chat_url, scheme_of

EMULATED = guard_of(ChatAccount(emulated=True))

GOOD = [
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
    "discord://1234567890123456789/abcdefghijklmnopqrstuvwxyz0123456789",
    "tgram://123456789:abcdefg_hijklmnop/12315544/?silent=yes",
    "gchat://workspace/key/token",
    "workflows://prod-01.westeurope.logic.azure.com:443/0123456789abcdef0123456789abcdef/signature-signature-signature",
    "zulip://bot@organization/abcdefghijklmnopqrstuvwxyz012345/general",
    "ntfy://parcels",
    "ntfys://ntfy.example.org/parcels?priority=high",
    "gotifys://gotify.example.org/abcdefghijklmnop",
    "mmosts://chat.example.org/abcdefghijklmnopqrstuvwxyz",
    "rockets://abcdefghijklmnopq/abcdefghijklmnopqrstuvwxyz@chat.example.org",
    "jsons://user:password@hooks.example.org/a/b?format=markdown",
    "forms://hooks.example.org/a",
    "xmls://hooks.example.org:8443/a",
]


@pytest.mark.parametrize("text", GOOD)
def test_taken(text: str) -> None:
    url = parse_chat_url(text)
    assert url.scheme == text.partition(":")[0]
    assert repr(url) == f"ChatUrl({url.scheme!r})"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must be an Apprise URL"),
        ("T1JJ3T3L2/A1BRTD4JD", "must be an Apprise URL"),
        ("dbus://", "no chat service"),
        ("gnome://", "no chat service"),
        ("macosx://", "no chat service"),
        ("windows://", "no chat service"),
        ("syslog://local", "no chat service"),
        ("rsyslog://logs.example.org", "no chat service"),
        ("glib://", "no chat service"),
        ("mqtt://broker.example.org/topic", "no chat service"),
        ("mailto://user:pw@example.org", "no chat service"),
        ("file:///etc/passwd", "no chat service"),
        ("https://example.org/config.yml", "no chat service"),
        ("apprise://example.org/token", "no chat service"),
        ("msteams://x", "called workflows"),
        ("slack://nothing", "not as Apprise describes"),
        ("jsons://hooks.example.org/a?template=/etc/passwd", "template can't stand"),
        ("workflows://h.example.org/a/b?template=/etc/passwd", "template can't stand"),
        ("discord://1234567890123456789/abcdefghijklmnopqrstuvwxyz?avatar_url=http://10.0.0.1/", "avatar_url can't"),
        ("ntfys://ntfy.example.org/a?attach=http://10.0.0.1/", "attach can't stand"),
        ("jsons://hooks.example.org/a?verify=no", "verify can't stand"),
        ("jsons://hooks.example.org/a?redirect=yes", "redirect can't stand"),
        ("jsons://hooks.example.org/a?rto=600", "rto can't stand"),
        ("jsons://hooks.example.org/a?%2BHost=inside", "can't stand"),
        ("jsons://hooks.example.org/a?:key=value", "can't stand"),
        ("ntfys://ntfy.example.org/one/two", "exactly one place"),
        ("json://hooks.example.org/a", "can't be called"),
        ("jsons://localhost/a", "can't be called"),
        ("jsons://127.0.0.1/a", "can't be called"),
        ("jsons://10.1.2.3/a", "can't be called"),
        ("jsons://[::1]/a", "can't be called"),
        ("jsons://169.254.169.254/latest/meta-data", "can't be called"),
        ("jsons://hooks.example.org:22/a", "can't be called"),
        ("jsons://hooks.example.org/a b", "blank"),
        ("jsons://" + "a" * 2100, "at most"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(ChatUrlError, match=why) as caught:
        parse_chat_url(text)
    assert "passwd" not in str(caught.value)
    assert "example.org" not in str(caught.value)


def test_the_operator_allows_what_is_not_public() -> None:
    inside = ChatAccount(allowed_networks=("10.1.0.0/16",), allowed_ports=(8080,), plain_http=True)
    assert parse_chat_url("json://10.1.2.3:8080/a", check_account(inside)).scheme == "json"
    with pytest.raises(ChatUrlError, match="can't be called"):
        parse_chat_url("json://10.2.2.3:8080/a", check_account(inside))
    assert parse_chat_url("json://127.0.0.1:8080/a", EMULATED).scheme == "json"


def test_the_operator_names_the_only_hosts() -> None:
    only = Guard(hosts=("*.example.org",))
    assert parse_chat_url("jsons://hooks.example.org/a", only).scheme == "jsons"
    with pytest.raises(ChatUrlError, match="not on the list"):
        parse_chat_url("jsons://hooks.example.net/a", only)


@pytest.mark.parametrize(
    "account",
    [
        ChatAccount(timeout_s=0),
        ChatAccount(timeout_s=121),
        ChatAccount(threads=0),
        ChatAccount(allowed_networks=("x",)),
    ],
)
def test_an_account_that_can_not_work(account: ChatAccount) -> None:
    with pytest.raises(ValueError, match="must be"):
        check_account(account)


@pytest.mark.parametrize("scheme", sorted(SERVICES))
def test_every_service_is_there_and_its_http_is_guarded(scheme: str) -> None:
    kind = load(SERVICES[scheme])
    assert scheme in (*_schemes(kind.protocol), *_schemes(kind.secure_protocol))
    with pytest.raises(LookupError):  # there is no message on whose behalf it could be
        sys.modules[SERVICES[scheme].module].requests.post("https://example.org/")


def _schemes(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def test_apprise_is_loaded_only_when_it_is_needed() -> None:
    code = (
        "import sys, tidings.providers.apprise as it; it.scheme_of_loaded = 'apprise' in sys.modules; "
        "print('apprise' in sys.modules, 'requests' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_scheme_may_be_written_in_capitals() -> None:
    assert scheme_of("JSONS://hooks.example.org/a").scheme == "jsons"
