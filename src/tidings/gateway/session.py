"""What a client may do, as a pure state machine: a message and the time go in, actions come out.

There are two states. `Unauthenticated` can only become a `Session` or close:
there is no way to write down an acknowledgement or a subscription before a
token was verified. `hub.py` and `sockets.py` carry the actions out.
"""

from datetime import datetime

from msgspec import Struct

from tidings import signing
from tidings.bus import Position, read_position
from tidings.discreet import Discreet
from tidings.gateway import protocol
from tidings.gateway.protocol import CloseCode, ErrorCode
from tidings.signing import BadToken, Fault, UserToken

COMMAND_BURST = 50.0
COMMANDS_PER_S = 20.0
ERROR_BURST = 10.0
ERRORS_PER_S = 0.2


class Join(Struct, frozen=True):
    """Subscribe the socket to the streams of this user and project, from these positions on."""

    project_id: int
    user_id: int
    notifications: Position | None
    broadcasts: Position | None


class Send(Discreet, frozen=True):
    """Write this text to the socket."""

    text: bytes


class Close(Struct, frozen=True):
    """Close the socket. Nothing may follow."""

    code: CloseCode


class Acknowledge(Struct, frozen=True):
    ids: list[int]


class MarkRead(Struct, frozen=True):
    ids: list[int]


Action = Send | Close | Acknowledge | MarkRead


class Session:
    """One authenticated socket. Not shared, not a value: it holds two
    leaky buckets and when the token expires."""

    __slots__ = ("_commands", "_errors", "_token_key", "_topped_up_at", "expires_at", "project_id", "user_id")

    def __init__(self, token_key: bytes, token: UserToken, now: datetime) -> None:
        self._token_key = token_key
        self.project_id = token.project_id
        self.user_id = token.user_id
        self.expires_at = token.expires_at
        self._commands = COMMAND_BURST
        self._errors = ERROR_BURST
        self._topped_up_at = now

    def on_text(self, payload: bytes, now: datetime) -> list[Action]:
        """Obey one message, or say why not. More errors than the client is allowed close the socket."""
        if not self.allows_one(now):
            return self._refuse(ErrorCode.RATE_LIMITED, f"At most {COMMANDS_PER_S:.0f} messages a second.")
        try:
            command = protocol.decode_command(payload)
        except protocol.NotACommand as error:
            return self._refuse(ErrorCode.INVALID_COMMAND, str(error))
        match command:
            case protocol.Acknowledge(ids):
                return [Acknowledge(ids)]
            case protocol.Read(ids):
                return [MarkRead(ids)]
            case protocol.Ping():
                return [Send(protocol.encode_event(protocol.Pong()))]
            case protocol.Refresh(token):
                return self._refresh(token, now)
            case protocol.Authenticate():
                return self._refuse(ErrorCode.ALREADY_AUTHENTICATED, "Use refresh for a newer token.")

    def allows_one(self, now: datetime) -> bool:
        """Take one from the budget of commands (also for WebSocket pings). False: it is used up."""
        elapsed = max(0.0, (now - self._topped_up_at).total_seconds())
        self._topped_up_at = now
        self._commands = min(COMMAND_BURST, self._commands + elapsed * COMMANDS_PER_S)
        self._errors = min(ERROR_BURST, self._errors + elapsed * ERRORS_PER_S)
        if self._commands < 1:
            return False
        self._commands -= 1
        return True

    def on_flood(self) -> list[Action]:
        """The budget of commands was used up by WebSocket pings or pongs."""
        return self._refuse(ErrorCode.RATE_LIMITED, f"At most {COMMANDS_PER_S:.0f} messages a second.")

    def is_expired(self, now: datetime) -> bool:
        """True when the token's time is over and no refresh came."""
        return self.expires_at <= now

    def _refresh(self, text: str, now: datetime) -> list[Action]:
        try:
            token = signing.verify_user_token(self._token_key, text, now)
        except BadToken as error:
            return self._refuse(ErrorCode.TOKEN_REFUSED, f"The token is refused: {error.fault}.")
        if (token.project_id, token.user_id) != (self.project_id, self.user_id):
            return [Close(CloseCode.WRONG_USER)]
        self.expires_at = token.expires_at
        return [Send(protocol.encode_event(protocol.Refreshed(protocol.RefreshedData(token.expires_at))))]

    def _refuse(self, code: ErrorCode, detail: str) -> list[Action]:
        self._errors -= 1
        if self._errors < 0:
            return [Close(CloseCode.TOO_MANY_ERRORS)]
        return [Send(error_text(code, detail))]


class Admitted(Struct, frozen=True):
    """The token was good: this is the session, and this is what to subscribe to."""

    session: Session
    join: Join


class Unauthenticated:
    """A socket that has not said who it is. It obeys one message: a valid `authenticate`."""

    __slots__ = ("_token_key",)

    def __init__(self, token_key: bytes) -> None:
        self._token_key = token_key

    def on_text(self, payload: bytes, now: datetime) -> Admitted | Close:
        """The first message of the socket."""
        try:
            command = protocol.decode_command(payload)
        except protocol.NotACommand:
            return Close(CloseCode.NOT_AUTHENTICATED)
        if not isinstance(command, protocol.Authenticate):
            return Close(CloseCode.NOT_AUTHENTICATED)
        asked = command.positions or protocol.AskedPositions()
        return self.on_token(command.token, asked, now)

    def on_token(self, text: str, asked: protocol.AskedPositions, now: datetime) -> Admitted | Close:
        """A token that came with the message or as a subprotocol of the handshake."""
        try:
            token = signing.verify_user_token(self._token_key, text, now)
        except BadToken as error:
            expired = error.fault is Fault.EXPIRED
            return Close(CloseCode.TOKEN_EXPIRED if expired else CloseCode.TOKEN_REFUSED)
        join = Join(
            token.project_id,
            token.user_id,
            _read_asked(asked.notification),
            _read_asked(asked.broadcast),
        )
        return Admitted(Session(self._token_key, token, now), join)


def error_text(code: ErrorCode, detail: str, ids: list[int] | None = None) -> bytes:
    """The text of an error event."""
    return protocol.encode_event(protocol.Error(protocol.ErrorData(code, detail, ids)))


def _read_asked(text: str | None) -> Position | None:
    """A position that can't be read is one that can't be met: the
    client is told so, as for a lost history."""
    return None if text is None else read_position(text) or Position("", 0)
