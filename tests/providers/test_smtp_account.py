"""SMTP accounts and email addresses: what is taken, and that a refusal names the field and never a secret."""

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from tidings.providers.smtp_account import SmtpAccountError, check, parse_smtp_account
from tidings.providers.smtp_address import AddressError, read_address

SAID = "a-very-secret-word"
PLAIN = {"host": "smtp.example.org", "sender": "shop@example.org", "username": "shop", "password": SAID}
KEY = rsa.generate_private_key(65537, 1024)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
LOCKED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
CURVE = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_an_account_is_read_and_shows_no_secret() -> None:
    dkim = {"domain": "Example.org", "selector": "s1", "private_key": PEM}
    account = parse_smtp_account(msgspec.json.encode({**PLAIN, "host": " SMTP.example.org ", "dkim": dkim}))
    assert (account.host, account.at_port, account.security) == ("smtp.example.org", 587, "starttls")
    assert SAID not in repr(account)
    assert "PRIVATE" not in repr(account) + repr(account.dkim)


@pytest.mark.parametrize(("security", "port"), [("tls", 465), ("starttls", 587), ("none", 25)])
def test_the_usual_ports(security: str, port: int) -> None:
    assert parse_smtp_account({**PLAIN, "security": security, "host": "localhost"}).at_port == port


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": "smtp.example.org:587"}, "host"),
        ({"host": "smtp.example.org\r\nEHLO x"}, "host"),
        ({"host": ""}, "host"),
        ({"port": 70000}, "port"),
        ({"port": "587"}, "port"),
        ({"security": "none"}, "security none"),
        ({"security": "ssl"}, "security"),
        ({"password": ""}, "username and password"),
        ({"username": ""}, "username and password"),
        ({"username": "a\0b"}, "username and password"),
        ({"sender": "Shop <shop@example.org>"}, "sender"),
        ({"sender": "shop@example.org\n"}, None),
        ({"sender": "größe@example.org"}, "sender"),
        ({"return_path": "bounces"}, "return_path"),
        ({"sender_name": "Shop\r\nBcc: all@example.org"}, "sender_name"),
        ({"message_id_domain": "exa mple"}, "message_id_domain"),
        ({"vendor": "gmail"}, "vendor"),
        ({"configuration_set": "x"}, "configuration_set"),
        ({"guard": None}, "guard"),
        ({"emulated": True}, "emulated"),
        ({"dkim": {"domain": "example.org", "selector": "s1", "private_key": "no"}}, "dkim.private_key"),
        ({"dkim": {"domain": "example.org", "selector": "s1", "private_key": LOCKED}}, "encrypted"),
        ({"dkim": {"domain": "example.org", "selector": "s1", "private_key": CURVE.decode()}}, "RSA or Ed25519"),
        ({"dkim": {"domain": "example.org", "selector": "s 1", "private_key": PEM}}, "dkim.selector"),
        ({"dkim": {"domain": "x", "selector": "s1", "private_key": PEM}}, "dkim.domain"),
        ({"dkim": {"domain": "example.org"}}, "selector"),
    ],
)
def test_an_account_that_can_not_work(changes: dict[str, Any], said: str | None) -> None:
    if said is None:
        assert parse_smtp_account({**PLAIN, **changes}).sender == "shop@example.org"  # blanks around it are forgiven
        return
    with pytest.raises(SmtpAccountError, match=said) as caught:
        parse_smtp_account({**PLAIN, **changes})
    assert SAID not in str(caught.value)
    assert "PRIVATE KEY-----" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", "null"])
def test_what_is_no_json_object(raw: bytes | str) -> None:
    with pytest.raises(SmtpAccountError):
        parse_smtp_account(raw)


@pytest.mark.parametrize(
    "changes", [{"connections": 0}, {"timeout_s": 0}, {"timeout_s": 10, "connect_timeout_s": 6}, {"idle_s": -1}]
)
def test_bounds_of_connections_and_time(changes: dict[str, Any]) -> None:
    with pytest.raises(SmtpAccountError):
        check(msgspec.structs.replace(parse_smtp_account(PLAIN), **changes))


@pytest.mark.parametrize(
    ("text", "expected", "wide"),
    [
        ("Jane.Doe+x@Example.ORG", "Jane.Doe+x@example.org", False),
        ("o'neil@example.org", "o'neil@example.org", False),
        ("jane@bücher.example", "jane@xn--bcher-kva.example", False),
        ("jane@BÜCHER.example", "jane@xn--bcher-kva.example", False),
        ("größe@bücher.example", "größe@xn--bcher-kva.example", True),
        ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v", True),
    ],
)
def test_addresses(text: str, expected: str, wide: bool) -> None:
    address = read_address(text)
    assert (address.text, address.wide) == (expected, wide)
    assert expected not in repr(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jane",
        "@example.org",
        "jane@",
        "jane@localhost",
        "jane@@example.org",
        "jane@exa_mple.org",
        "jane@-x.org",
        "jane@x..org",
        "jane@[127.0.0.1]",
        "jane..doe@example.org",
        ".jane@example.org",
        "ja ne@example.org",
        '"ja ne"@example.org',
        "Jane <jane@example.org>",
        "jane@example.org\n",
        "jane@example.org\r\nRCPT TO:<x@example.org>",
        "größe\r\n@example.org",
        "gr\u2028ße@example.org",
        "jane\0@example.org",
        "jane>@example.org",
        "a" * 65 + "@example.org",
        "a@" + "b" * 64 + ".org",
        "a@" + ".".join(["b" * 60] * 5),
        "ü" * 33 + "@example.org",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        read_address(text)
    assert len(text) < 4 or text not in str(caught.value)


@given(st.text(max_size=300))
def test_no_text_becomes_two_lines_or_a_bracket(text: str) -> None:
    try:
        address = read_address(text)
    except AddressError:
        return
    assert address.text.isprintable()
    assert not set(address.text) & set("<> \r\n")
