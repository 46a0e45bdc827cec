"""What a traceback with locals or a debug line would show of our values: no secret, no address, nothing that was said."""

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from msgspec import Struct
from rich.pretty import pretty_repr

import tidings
from tidings.discreet import Discreet
from tidings.providers.contract import Fate, Message, Reason, Report

# Fields that hold a key, an address, or what is said to somebody.
SECRET = frozenset(
    """access_token address api_key_secret api_secret auth auth_token body certificate chat_url credentials data
    device_token email endpoint external_id given headers html idempotency_key key new_key overrides p256dh password
    payload phone plaintext private_key raw receipt_key receipt_url recipient reference return_path sealed secret
    signature signature_secret text title token token_key unsubscribe_key unsubscribe_url user_token username
    value""".split()
)
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
    unchecked = type(kind)(kind.__name__, (kind,), {"__post_init__": lambda self: None})
    for wrap in (str, str.encode, lambda text: {"a": text}, lambda text: (text,)):
        made = unchecked(**{name: wrap(f"canary-{name}!") for name in kind.__struct_fields__})
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
        "Message(project_id=1, notification_id=2, user_id=3, device_id=4, device_type='ios', address=…, title=…, body='',"
        f" data={{}}, ttl_s=60, collapse_key=…, urgent=True, created_at={at!r}, overrides=None, receipt_url=None,"
        " reference='', reports_url=None, unsubscribe_url=None)"
    )
    report = Report(Fate.BOUNCED, address="jane@example.com", reason=Reason.INVALID_ADDRESS)
    assert repr(report) == (
        f"Report(fate={Fate.BOUNCED!r}, reference='', address=…, provider_message_id=None,"
        f" reason={Reason.INVALID_ADDRESS!r}, detail='')"
    )
    assert "jane" not in pretty_repr(report)
