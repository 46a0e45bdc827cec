"""One WebSocket: what picows hears becomes calls of the session, what the session decides becomes frames.

There is no task, timer or buffer of its own here. Writes of one turn of the event loop leave together;
deadlines are asked by the wheel; how much may wait for a slow reader is bounded by `limit`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from tidings import clock
from tidings.gateway import session
from tidings.gateway.protocol import REASONS, CloseCode, ErrorCode
from tidings.gateway.session import Admitted, Close, Session, Unauthenticated
from tidings.gateway.upgrade import Accept

if TYPE_CHECKING:
    from tidings.gateway.hub import Hub

TEXT_HEADER = 0x81
PONG_HEADER = 0x8A
PING_FRAME = b"\x89\x00"
MAX_FRAGMENTS = 64
NEVER_SENT = 1006  # RFC 6455 §7.4.1: how libraries report a connection that broke
UNAUTHENTICATED_LIMIT = 4096


def encode_websocket_frame(payload: bytes, header: int = TEXT_HEADER) -> bytes:
    """One whole, unmasked frame from a server (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (header, size, payload)
    if size < 65536:
        return b"%c\x7e%b%b" % (header, size.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (header, size.to_bytes(8), payload)


class Socket(WSListener):
    """Made at the handshake, known to the hub from `on_ws_connected` to `on_ws_disconnected`."""

    __slots__ = (
        "_accept",
        "_awaiting_pong",
        "_fragments",
        "_hub",
        "_limit",
        "_next_ping",
        "_pending",
        "_queued",
        "_transport",
        "_write",
        "abort_at",
        "closing",
        "due_tick",
        "joining",
        "state",
    )
    _transport: WSTransport
    _write: Callable[[bytes], object]

    def __init__(self, hub: "Hub", accept: Accept) -> None:
        self._hub = hub
        self._accept: Accept | None = accept
        self._awaiting_pong = False
        self._fragments: list[bytes] | None = None
        self._limit = UNAUTHENTICATED_LIMIT
        self._next_ping = 0.0
        self._pending: list[bytes] = []
        # Bytes pending and unsent, at most: what the transport sends
        # is only subtracted when the limit is near.
        self._queued = 0
        self.abort_at = 0.0
        self.closing = False
        self.due_tick = 0
        self.joining = False  # admitted, and not yet welcomed: frames wait behind the welcome
        self.state: Unauthenticated | Session = hub.unauthenticated

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        # Straight to the transport under picows: the frame is built once for all sockets, not once for each.
        self._write = transport.underlying_transport.write
        # Headers hold the token and a kilobyte or two for as long as the socket lives: let them go.
        transport.request.headers.clear()
        transport.response.headers.clear()
        accept, self._accept = self._accept, None
        self._next_ping = self._hub.opened(self)
        if accept is not None and accept.token is not None:
            self._admit(self._hub.unauthenticated.on_token(accept.token, accept.asked, clock.now()))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        was_awaiting_pong, self._awaiting_pong = self._awaiting_pong, False  # any frame is a sign of life
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._on_close(frame.payload_size > 0)
        elif self.closing:
            return
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self.close(CloseCode.PROTOCOL_ERROR)
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._on_fragment(frame.get_payload_as_bytes(), kind == WSMsgType.TEXT, bool(frame.fin))
        elif kind == WSMsgType.BINARY:
            self.close(CloseCode.NOT_TEXT)
        elif kind == WSMsgType.PING:
            if self._allows_control_frame():
                self._enqueue(encode_websocket_frame(frame.get_payload_as_bytes(), PONG_HEADER))
        elif not was_awaiting_pong:  # a pong nobody asked for is free to send, so it is paid for like a command
            self._allows_control_frame()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.closing = True
        self._hub.count("closes", str(_closed_with(transport)), 1)
        self._pending.clear()
        self._hub.closed(self)

    def pause_writing(self) -> None:
        """The bound is kept in `_enqueue`; nothing to do, and nothing to log."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    # What the bus and the hub call

    def push(self, text: bytes) -> bool:
        """The bus's sink. False: the socket is closed, perhaps just now because it reads too slowly."""
        hub = self._hub
        return self._enqueue(hub.last_frame if text is hub.last_text else hub.frame_of(text))

    def welcome(self, texts: list[bytes], room: int) -> None:
        """Write the welcome and the gap, then what came meanwhile. `room`: bytes that this client may lag
        behind beyond the usual, because the gap itself is ours to send."""
        self.joining = False
        later, self._pending = self._pending, [encode_websocket_frame(text) for text in texts]
        self._pending += later
        self._queued += sum(map(len, self._pending))
        self._limit += room
        self._hub.mark_dirty(self)

    def not_recorded(self, ids: list[int]) -> None:
        """Tell the client to confirm these again (see `confirmations.Confirmer`)."""
        self.push(session.error_text(ErrorCode.NOT_RECORDED, "Not recorded. Send these ids again later.", ids))

    def flush(self) -> int:
        """Write what is pending with one call; how many frames that were."""
        pending = self._pending
        count = len(pending)
        if count == 0:
            return 0
        if self.closing:
            pending.clear()
            return 0
        self._write(pending[0] if count == 1 else b"".join(pending))
        pending.clear()
        return count

    def on_due(self, now: float) -> float | None:
        """See `deadlines.Timed`: the one place where this socket's time passes."""
        if self.closing or self._transport.is_disconnected:
            if now >= self.abort_at:
                self._transport.disconnect(graceful=False)
                return None
            return self.abort_at
        if self._transport.is_close_frame_sent:  # picows closed it, for a frame that is not WebSocket
            self._begin_end()
        elif isinstance(self.state, Unauthenticated):
            self.close(CloseCode.AUTHENTICATION_TIMEOUT)
        else:
            return self._on_session_due(self.state, now)
        return self.abort_at

    def lost(self) -> None:
        """The bus can't vouch for what this socket got: have the client come back and recover."""
        self.close(CloseCode.BUS_UNAVAILABLE)

    def close(self, code: CloseCode) -> None:
        """Say why, wait a moment for the client's own close, then cut. Twice is safe."""
        if self.closing:
            return
        if code != CloseCode.TOO_SLOW and not self.joining:
            self.flush()
        # picows types the codes of the RFC; the range 4000 to 4999 is
        # ours (RFC 6455 §7.4.2) and passes as it is.
        self._transport.send_close(cast(WSCloseCode, code.value), REASONS[code].encode())
        self._begin_end()

    # The inside

    def _on_session_due(self, state: Session, now: float) -> float:
        wall = clock.now()
        config = self._hub.config
        pong_due = self._next_ping - config.ping_interval_s + config.pong_timeout_s
        if state.is_expired(wall):
            self.close(CloseCode.TOKEN_EXPIRED)
            return self.abort_at
        if self._awaiting_pong and now >= pong_due:
            self.close(CloseCode.PING_TIMEOUT)
            return self.abort_at
        if not self._awaiting_pong and now >= self._next_ping:
            self._enqueue(PING_FRAME)
            self._awaiting_pong = True
            self._next_ping = now + config.ping_interval_s
            pong_due = now + config.pong_timeout_s
        next_look = pong_due if self._awaiting_pong else self._next_ping
        return min(next_look, now + (state.expires_at - wall).total_seconds())

    def _on_close(self, with_code: bool) -> None:
        if not self.closing:
            code = _closed_with(self._transport) if with_code else CloseCode.NORMAL.value
            if not 1000 <= code < 5000 or code == NEVER_SENT:  # picows lets these pass
                code = CloseCode.PROTOCOL_ERROR.value
            self.flush()
            self._transport.send_close(cast(WSCloseCode, code))
            self._begin_end()
        self._transport.disconnect()

    def _on_fragment(self, payload: bytes, first: bool, last: bool) -> None:
        fragments = self._fragments
        if first != (fragments is None):
            self.close(CloseCode.PROTOCOL_ERROR)
            return
        if fragments is not None or not last:
            fragments = fragments or []
            fragments.append(payload)
            if len(fragments) > MAX_FRAGMENTS or sum(map(len, fragments)) > self._hub.config.max_message_bytes:
                self.close(CloseCode.MESSAGE_TOO_BIG)
                return
            self._fragments = None if last else fragments
            payload = b"".join(fragments) if last else b""
        if last:
            self._on_text(payload)

    def _on_text(self, payload: bytes) -> None:
        if isinstance(self.state, Session):
            expires_at = self.state.expires_at
            self._carry_out(self.state, self.state.on_text(payload, clock.now()))
            if self.state.expires_at is not expires_at:
                self._hub.look_again(self)
        else:
            self._admit(self.state.on_text(payload, clock.now()))

    def _allows_control_frame(self) -> bool:
        """WebSocket pings are paid from the budget of commands;
        before authentication `limit` is the bound."""
        if isinstance(self.state, Session) and not self.state.allows_one(clock.now()):
            self._carry_out(self.state, self.state.on_flood())
            return False
        return True

    def _admit(self, decision: Admitted | Close) -> None:
        if isinstance(decision, Close):
            self.close(decision.code)
        elif not self._hub.has_room_for(decision.join):
            self.close(CloseCode.TOO_MANY_CONNECTIONS)
        else:
            self.state = decision.session
            self.joining = True
            self._limit = self._hub.config.max_queue_bytes
            self._hub.join(self, decision.session, decision.join)

    def _carry_out(self, state: Session, actions: list[session.Action]) -> None:
        for action in actions:
            match action:
                case session.Send(text):
                    self.push(text)
                case session.Close(code):
                    self.close(code)
                case session.Acknowledge(ids):
                    if not self._hub.acknowledgements.add(self, state.project_id, state.user_id, ids):
                        self.not_recorded(ids)
                case session.MarkRead(ids):
                    if not self._hub.reads.add(self, state.project_id, state.user_id, ids):
                        self.not_recorded(ids)

    def _enqueue(self, frame: bytes) -> bool:
        if self.closing:
            return False
        if self._transport.is_close_frame_sent:  # picows closed it, for a frame that is not WebSocket
            self._begin_end()
            return False
        pending = self._pending
        queued = self._queued + len(frame)
        if queued > self._limit:
            unsent = self._transport.underlying_transport.get_write_buffer_size()
            queued = unsent + sum(map(len, pending)) + len(frame)
            if queued > self._limit:
                self.close(CloseCode.TOO_SLOW)
                return False
        self._queued = queued
        if not pending and not self.joining:
            self._hub.mark_dirty(self)
        pending.append(frame)
        return True

    def _begin_end(self) -> None:
        self.closing = True
        self._pending.clear()
        self.abort_at = self._hub.ending(self)


def _closed_with(transport: WSTransport) -> int:
    """The code of who closed first: the peer's (0: it gave none) or ours; 1006 when nobody said a word."""
    handshake = transport.close_handshake
    if handshake is None:
        return NEVER_SENT
    first = handshake.recv if handshake.recv_then_sent else handshake.sent
    # picows types it as an enum of the standard codes, and holds any.
    return int(cast(int, first.code)) if first else NEVER_SENT
