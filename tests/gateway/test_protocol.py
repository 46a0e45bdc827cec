"""The protocol and its document say the same."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from tidings.bus import Position, encode_frame
from tidings.gateway import protocol
from tidings.gateway.hub import GatewayConfig
from tidings.gateway.protocol import REASONS, CloseCode, ErrorCode

DOCUMENT = (Path(__file__).parents[2] / "docs" / "websocket.md").read_text()


def tag_of(kind: type[msgspec.Struct]) -> str:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


@pytest.mark.parametrize("code", CloseCode)
def test_every_close_code_is_documented_and_says_why_in_few_bytes(code: CloseCode) -> None:
    assert f"| {code.value} | `{code.name}` |" in DOCUMENT
    assert 0 < len(REASONS[code].encode()) <= 123  # RFC 6455 §5.5: 125 with the code


def test_the_document_names_no_close_code_that_does_not_exist() -> None:
    named = {int(number) for number in re.findall(r"^\| (\d{4}) \|", DOCUMENT, re.MULTILINE)}
    assert named == {code.value for code in CloseCode}


@pytest.mark.parametrize("kind", [*get_args(protocol.Command), *get_args(protocol.Event)])
def test_every_command_and_event_with_its_fields_is_documented(kind: type[msgspec.Struct]) -> None:
    row = re.search(rf"^\| `{tag_of(kind)}` \|(.*)$", DOCUMENT, re.MULTILINE)
    assert row is not None
    assert all(f"`{name}`" in row[1] for name in kind.__struct_fields__)


@pytest.mark.parametrize("data", [protocol.WelcomeData, protocol.RefreshedData, protocol.ErrorData])
def test_every_field_of_an_event_is_documented(data: type[msgspec.Struct]) -> None:
    assert all(f"`{name}`" in DOCUMENT for name in data.__struct_fields__)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_code_is_documented(code: ErrorCode) -> None:
    assert f"| `{code.value}` |" in DOCUMENT


def test_the_numbers_in_the_document_are_the_defaults() -> None:
    config = GatewayConfig()
    assert (config.auth_timeout_s, config.ping_interval_s, config.pong_timeout_s) == (10, 25, 10)
    assert (config.max_message_bytes, config.max_queue_bytes) == (64 * 1024, 1024 * 1024)
    assert config.max_connections_per_user == 20


@pytest.mark.parametrize("name", ["notification", "broadcast"])
def test_what_the_bus_writes_is_an_event_of_the_protocol(name: str) -> None:
    frame = encode_frame(name, Position("e", 5), b'{"id":1}')
    event = msgspec.json.decode(frame, type=protocol.NotificationFrame | protocol.BroadcastFrame)
    assert tag_of(type(event)) == name
    assert (event.position, event.data) == ("e:5", {"id": 1})


@pytest.mark.parametrize(
    "change",
    [{"pong_timeout_s": 26.0}, {"auth_timeout_s": 0.0}, {"close_timeout_s": -1.0}, {"bus_timeout_s": 0.0}],
)
def test_a_configuration_without_sense_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="times"):
        GatewayConfig(**change)  # type: ignore[arg-type]
