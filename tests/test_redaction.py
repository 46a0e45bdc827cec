"""What a traceback with locals or a debug line shows of our values: no secret, no address, nothing that was said."""

import importlib
import pkgutil
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from rich.pretty import pretty_repr

import tidings
from tests.conftest import Project
from tidings.app import App
from tidings.discreet import Discreet
from tidings.providers.contract import Fate, Message, Reason, Report
from tidings.providers.quoted import LEAST, PIECE, hide, quotable
from tidings.providers.smtp_account import SmtpAccountError, parse_smtp_account

# Fields that hold a key, an address, or what is said to somebody.
_NAMES = """
access_token address api_key_secret api_secret auth auth_token body certificate chat_url credentials data device_token
email endpoint external_id given headers html idempotency_key key new_key overrides p256dh password payload phone
plaintext private_key raw receipt_key receipt_url recipient reference return_path sealed secret signature
signature_secret text title token token_key unsubscribe_key unsubscribe_url user_token username value
"""
SECRET = frozenset(_NAMES.split())
# Where a field of that name holds none of these.
HARMLESS = {
    "ProblemBody": {"title"},  # of the kind of problem
    "Script": {"text"},  # of Lua
    "Lines": {"address"},  # of a push service
    "Welcome": {"data"},
    "Refreshed": {"data"},
    "Error": {"data"},
    "Planned": {"address"},  # a Discreet itself
}
# Tools that run beside the service, with keys of their own making.
BESIDE = ("tidings.bench", "tidings.emulators", "tidings.sql", "tidings.__main__")


def modules(path: list[str], prefix: str) -> Iterator[str]:
    """All modules of the service."""
    for found in pkgutil.iter_modules(path, prefix):
        if not found.name.startswith(BESIDE):
            yield found.name
            if found.ispkg:
                yield from modules([*importlib.import_module(found.name).__path__], f"{found.name}.")


def structs() -> list[type[Struct]]:
    """All structs with such a field."""
    found = [
        value
        for name in modules([*tidings.__path__], "tidings.")
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type) and issubclass(value, Struct) and value.__module__ == name
    ]
    return [each for each in found if SECRET & {*each.__struct_fields__} - HARMLESS.get(each.__name__, set())]


STRUCTS = structs()


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_secrets_are_not_shown(kind: type[Struct]) -> None:
    assert issubclass(kind, Discreet)
    secret = SECRET - HARMLESS.get(kind.__name__, set())
    # What checks the fields has no part in this.
    unchecked = msgspec.defstruct(kind.__name__, [], bases=(kind,), namespace={"__post_init__": lambda self: None})
    for wrap in (str, str.encode, lambda text: {"a": text}, lambda text: (text,)):
        fields = {name: f"canary-{name}!" for name in kind.__struct_fields__}
        made = unchecked(**{name: wrap(text) if name in secret else text for name, text in fields.items()})
        for shown in (repr(made), str(made), f"{made}", f"{[made]}", pretty_repr(made), pretty_repr({"local": made})):
            assert [name for name in secret if f"canary-{name}!" in shown] == []


def test_there_are_such_structs() -> None:
    names = {each.__name__ for each in STRUCTS}
    assert {"Services", "Message", "Address", "Subject", "Device", "NewDevice", "NewUser", "Composing"} <= names
    assert {"TwilioAccount", "VonageAccount", "SmtpAccount", "ServiceAccount", "Report", "Mail", "App"} <= names
    assert {name for name in HARMLESS if name in names} == set(), "exceptions that are none"


def test_what_is_shown() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    message = Message(1, 2, 3, 4, "ios", "token", "Hi", "", {}, 60, "key", True, at)
    assert repr(message) == (
        "Message(project_id=1, notification_id=2, user_id=3, device_id=4, device_type='ios', address=…, title=…, "
        f"body='', data={{}}, ttl_s=60, collapse_key=…, urgent=True, created_at={at!r}, overrides=None, "
        "receipt_url=None, reference='', reports_url=None, unsubscribe_url=None)"
    )
    report = Report(Fate.BOUNCED, address="jane@example.com", reason=Reason.INVALID_ADDRESS)
    assert repr(report) == (
        f"Report(fate={Fate.BOUNCED!r}, reference='', address=…, provider_message_id=None,"
        f" reason={Reason.INVALID_ADDRESS!r}, detail='')"
    )
    assert "jane" not in pretty_repr(report)


SECRETS = ("Your code is 4711-0815, Jane", "jane+news@example.com", "tüür & <tor>\nis open", "abc")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("rejected: Your code is 4711-0815, Jane!", "rejected: <hidden>!"),
        ("rejected: YOUR CODE IS 4711-0815, JANE!", "rejected: <hidden>!"),
        ("Body=Your+code+is+4711-0815%2C+Jane&To=1", "Body=<hidden>&To=1"),
        ("/path/Your%20code%20is%204711-0815%2C%20Jane", "/path/<hidden>"),
        ("550 Your code is\r\n4711-0815,\n Jane", "550 <hidden>"),
        ("cut: Your code is 4711-08…", "cut: <hidden>…"),
        ("cut: …is 4711-0815, Jane.", "cut: …<hidden>."),
        ("t&uuml;r t\xfc\xfcr &amp; &lt;tor&gt; is open", "t&uuml;r <hidden>"),
        ('"t\\u00fc\\u00fcr & <tor>\\nis open"', '"<hidden>"'),
        ("no mailbox jane+news@example.com here; abc, Jane, code", "no mailbox <hidden> here; abc, Jane, code"),
        ("550 5.1.1 no such user", "550 5.1.1 no such user"),
        ("to =?utf-8?B?amFuZStuZXdzQGV4YW1wbGUuY29t?= here", "to <hidden> here"),
        ("to =?US-ASCII*en?q?jane=2Bnews=40example.com?=", "to <hidden>"),
        ("=?utf-8?Q?Your_code_is?=\r\n =?utf-8?B?IDQ3MTEtMDgxNSwgSmFuZQ==?= !", "<hidden> !"),
        ("cut: =?utf-8?B?WW91ciBjb2RlIGlzIDQ3MTEtMDgxNSwgSmFu", "cut: <hidden>"),
    ],
)
def test_what_a_vendor_quotes_is_hidden(said: str, kept: str) -> None:
    assert hide(said, SECRETS) == kept
    assert hide(kept, SECRETS) == kept


LETTERS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=PIECE, max_size=80)


@given(LETTERS, LETTERS, st.text(max_size=60), st.data())
def test_no_long_piece_is_left(secret: str, other: str, around: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(secret) - PIECE))
    piece = secret[start : start + data.draw(st.integers(PIECE, len(secret)))]
    kept = hide(f"{around}{piece}{around}{other[:7]} {secret}", (other, secret))
    pieces = {text[at : at + PIECE] for text in (secret, other) for at in range(len(text) - PIECE + 1)}
    assert not [one for one in pieces if one in kept]


@given(st.text(max_size=300), st.lists(st.text(max_size=40), max_size=5))
def test_any_text_may_be_said(said: str, secrets: list[str]) -> None:
    kept = hide(said, secrets)
    assert "\n" not in kept
    assert not [one for one in secrets if len(one) >= LEAST and one.strip() == one and one.isalnum() and one in kept]


def test_much_is_hidden_in_bounded_time() -> None:
    """Who writes the message and runs the server it goes to could make us busy."""
    secrets = ("ab" * 50_000, *(f"secret-{number:06}" for number in range(10_000)))
    assert "secret-" not in hide(" ".join(secrets[1:200]), secrets)
    assert hide("abababaX" * 8_000, secrets).startswith("abababaX")


def test_what_of_a_message_may_be_quoted() -> None:
    message = Message(
        1, 2, 3, 4, "", "jane@example.com", "Title", "The body", {"key": ["value", {"inner": 1}]}, 60, "collapse",
        True, datetime(2026, 1, 2, tzinfo=UTC), {"html": "<p>", "headers": {"X-Own": "mine"}}, "https://t/r/one",
        "1.2.e.0.signature", "https://t/reports/smtp/0", "https://t/u/two",
    )  # fmt: skip
    assert set(quotable(message)) == {
        "jane@example.com", "Title", "The body", "key", "value", "inner", "collapse", "<p>", "mine", "https://t/r/one",
        "one", "1.2.e.0.signature", "https://t/reports/smtp/0", "https://t/u/two", "two",
    }  # fmt: skip
    assert sorted(quotable(message), key=len, reverse=True) == list(quotable(message))


def test_what_is_wrong_is_said_without_the_value() -> None:
    for given_, told in (
        ({"host": "h", "sender": "s", "security": "hunter2 - at `x`"}, "Invalid enum value - at `$.security`"),
        ({"host": "h", "sender": "s", "port": "hunter2"}, "Expected `int`, got `str` - at `$.port`"),
        ({"host": "h"}, "Object missing required field `sender`"),
    ):
        with pytest.raises(SmtpAccountError) as refused:
            parse_smtp_account(given_)
        assert str(refused.value) == f"the SMTP account: {told}"
        assert "hunter2" not in "".join(traceback.format_exception(refused.value))


async def test_what_vendors_said_goes_with_the_user(app: App, project: Project) -> None:
    details = """SELECT 'delivery' AS kind, reason, detail FROM deliveries WHERE notification_id = ANY($1::bigint[])
        UNION ALL SELECT 'attempt', reason, detail FROM attempts WHERE notification_id = ANY($1::bigint[])"""
    sent: dict[int, list[int]] = {}
    for user in [await project.user(email=f"unknown-user-{number}@example.com") for number in (1, 2)]:
        await project.device(user, f"unregistered-{user}")
        sent[user] = [await project.send(user, channels=[channel]) for channel in ("email", "push")]
        for notification in sent[user]:
            await project.until(notification, "failed")
        before = await app.db.fetch(details, sent[user])
        assert len(before) == 4
        assert all(row["detail"] for row in before)
    gone, left = sent
    assert (await project.client.delete(f"/api/users/{gone}")).status_code == 204
    after = await app.db.fetch(details, sent[gone])
    assert [row["detail"] for row in after] == [None] * 4
    assert {row["reason"] for row in after} == {"invalid_address", "unregistered"}, "what became of it is kept"
    assert all(row["detail"] for row in await app.db.fetch(details, sent[left])), "others are not touched"
