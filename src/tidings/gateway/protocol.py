"""Every word that a client and the gateway say to each other. Nothing else in the gateway knows JSON.

The specification for readers is `docs/websocket.md`; a test checks
that it names every command, event and code.
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tidings.discreet import Discreet

SUBPROTOCOL = "tidings.v1"
TOKEN_SUBPROTOCOL = "tidings.token."  # noqa: S105 - a prefix, not a secret

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Ids = Annotated[list[Id], Meta(min_length=1, max_length=100)]
TokenText = Annotated[str, Meta(min_length=1, max_length=4096)]
PositionText = Annotated[str, Meta(max_length=64)]


class CloseCode(IntEnum):
    """Why the gateway closed a socket. 4000 to 4499: come back. 4500 to 4999: not with the same credentials
    or code.

    The standard codes (RFC 6455 §7.4.1) are said where the WebSocket
    layer itself was broken: not to come back.
    """

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011

    SHUTTING_DOWN = 4000
    TOKEN_EXPIRED = 4001
    PING_TIMEOUT = 4002
    AUTHENTICATION_TIMEOUT = 4003
    BUS_UNAVAILABLE = 4004
    TOO_MANY_CONNECTIONS = 4005
    TOO_SLOW = 4008

    TOKEN_REFUSED = 4500
    NOT_AUTHENTICATED = 4501
    WRONG_USER = 4502
    NOT_TEXT = 4503
    TOO_MANY_ERRORS = 4504


REASONS: dict[CloseCode, str] = {
    CloseCode.NORMAL: "Goodbye.",
    CloseCode.PROTOCOL_ERROR: "That is not valid WebSocket.",
    CloseCode.MESSAGE_TOO_BIG: "The message is larger than this gateway takes.",
    CloseCode.INTERNAL_ERROR: "Our fault. Connect again after a pause.",
    CloseCode.SHUTTING_DOWN: "This gateway is stopping. Connect again after a random pause.",
    CloseCode.TOKEN_EXPIRED: "The token has expired. Get a new one and connect again.",
    CloseCode.PING_TIMEOUT: "No answer to a ping. Connect again.",
    CloseCode.AUTHENTICATION_TIMEOUT: "No authenticate command in time. Connect again.",
    CloseCode.BUS_UNAVAILABLE: "Subscriptions are away for the moment. Connect again after a pause.",
    CloseCode.TOO_MANY_CONNECTIONS: "This user has too many open sockets. Close one, then connect again.",
    CloseCode.TOO_SLOW: "Frames were not read fast enough. Connect again with your positions.",
    CloseCode.TOKEN_REFUSED: "The token is not valid. Get a new one from your server.",
    CloseCode.NOT_AUTHENTICATED: "The first message must be a valid authenticate command.",
    CloseCode.WRONG_USER: "The new token is for another user. Open another socket for them.",
    CloseCode.NOT_TEXT: "Send text messages only.",
    CloseCode.TOO_MANY_ERRORS: "Too many refused messages. The client needs mending.",
}


class ErrorCode(StrEnum):
    """What was wrong with a command. The socket stays open."""

    INVALID_COMMAND = "invalid_command"
    ALREADY_AUTHENTICATED = "already_authenticated"
    RATE_LIMITED = "rate_limited"
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a code, not a secret
    NOT_RECORDED = "not_recorded"


class AskedPositions(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the client stood in its two streams: `epoch:offset` each."""

    notification: PositionText | None = None
    broadcast: PositionText | None = None


class Authenticate(Discreet, frozen=True, tag_field="command", tag="authenticate", forbid_unknown_fields=True):
    """The first message, unless the token came as a subprotocol."""

    token: TokenText
    positions: AskedPositions | None = None


class Acknowledge(Struct, frozen=True, tag_field="command", tag="acknowledge", forbid_unknown_fields=True):
    """These notifications have arrived. Twice is safe."""

    ids: Ids


class Read(Struct, frozen=True, tag_field="command", tag="read", forbid_unknown_fields=True):
    """The person has read these notifications. Twice is safe."""

    ids: Ids


class Refresh(Discreet, frozen=True, tag_field="command", tag="refresh", forbid_unknown_fields=True):
    """A newer token for the same user, before the old one expires."""

    token: TokenText


class Ping(Struct, frozen=True, tag_field="command", tag="ping", forbid_unknown_fields=True):
    """Is anyone there? For clients that can't see WebSocket pings, such as browsers."""


Command = Authenticate | Acknowledge | Read | Refresh | Ping


class StreamStart(Struct, frozen=True):
    """Where a stream stands at the welcome, before the frames of the gap.

    `recovered`: True, the exact gap follows; False, it can't be told,
    page the inbox; None, no position was given.
    """

    recovered: bool | None
    position: str


class Streams(Struct, frozen=True):
    notification: StreamStart
    broadcast: StreamStart


class WelcomeData(Struct, frozen=True):
    user_id: int
    session_id: str
    expires_at: datetime
    ping_interval_s: float
    streams: Streams
    inbox: str


class RefreshedData(Struct, frozen=True):
    expires_at: datetime


class ErrorData(Struct, frozen=True, omit_defaults=True):
    code: ErrorCode
    detail: str
    ids: list[int] | None = None


class Welcome(Struct, frozen=True, tag_field="event", tag="welcome"):
    """The socket is authenticated and subscribed."""

    data: WelcomeData


class NotificationFrame(Discreet, frozen=True, tag_field="event", tag="notification"):
    """One notification for this user. The bus writes it (`encode_frame`)."""

    position: str
    data: dict[str, Any]


class BroadcastFrame(Discreet, frozen=True, tag_field="event", tag="broadcast"):
    """One broadcast to everyone of the project. The bus writes it (`encode_frame`)."""

    position: str
    data: dict[str, Any]


class Refreshed(Struct, frozen=True, tag_field="event", tag="refreshed"):
    """The newer token holds from now on."""

    data: RefreshedData


class Pong(Struct, frozen=True, tag_field="event", tag="pong"):
    """The answer to a ping command."""


class Error(Struct, frozen=True, tag_field="event", tag="error"):
    """A message was not obeyed. `ids`: the ones to send again, when the code is not_recorded."""

    data: ErrorData


Event = Welcome | NotificationFrame | BroadcastFrame | Refreshed | Pong | Error

_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_encoder = msgspec.json.Encoder()


class NotACommand(Exception):
    """The message is not one of the commands. The text says where, in words for the client's developer."""


def decode_command(payload: bytes) -> Command:
    """Raises NotACommand for anything else: bad UTF-8, bad JSON, unknown command or field, too many ids."""
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotACommand(str(error)[:200]) from error


def encode_event(event: Welcome | Refreshed | Pong | Error) -> bytes:
    """The JSON text of an event."""
    return _encoder.encode(event)
