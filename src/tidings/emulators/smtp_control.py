"""What one can ask and tell the emulated relay over HTTP, beside the phones.

| call | does |
|---|---|
| `GET /mailboxes?limit=`, `DELETE /mailboxes` | mailboxes that received something; forget all, counters too |
| `GET /mailboxes/{address}` | the mails of one: subject, text, html, headers, `dkim` (null: not signed), raw |
| `POST /mailboxes/records` | `{"name": "s1._domainkey.example.org", "record": "v=DKIM1; …"}`: into the emulated DNS |
| `POST /mailboxes/drop` | cut every connection to the relay |
"""

from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Struct

from tidings.emulators.confirmations import is_loopback
from tidings.emulators.exchange import Request, Response
from tidings.emulators.smtp import SmtpServers

MAILBOXES = "/mailboxes"
_JSON = (("content-type", "application/json"),)
_MAX_LISTED = 1000


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    record: str


class MailboxCalls:
    """The calls of the table above. `local_only`: callers must have named this machine as host."""

    def __init__(self, servers: SmtpServers, local_only: bool) -> None:
        self._servers = servers
        self._local_only = local_only

    def answer(self, request: Request) -> Response:
        """200 with JSON, 204 when there is nothing to say, 400 and 404 with an explanation."""
        # The same guard as `control.Control`: no page in a browser may reach this.
        if self._local_only and not is_loopback(f"http://{request.headers.get('host', '')}"):
            return _problem(421, "this emulator answers to localhost only")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            return _problem(415, "send application/json")
        try:
            return self._act(request)
        except ValueError as error:  # msgspec's errors are ValueErrors
            return _problem(400, str(error))

    def _act(self, request: Request) -> Response:
        smtp, boxes = self._servers.smtp, self._servers.smtp.mailboxes
        address = unquote(request.path.removeprefix(MAILBOXES).removeprefix("/"))
        match request.method, address:
            case "GET", "":
                limit = min(_number(request, "limit", _MAX_LISTED), _MAX_LISTED)
                return _shown({"mailboxes": boxes.listing(limit), "total": len(boxes)})
            case "GET", _:
                return _shown({"address": address, "messages": boxes.shown(address)})
            case "DELETE", "":
                smtp.clear()
                return Response(204)
            case "POST", "records":
                record = msgspec.json.decode(request.body, type=_Record)
                boxes.publish(record.name, record.record)
                return Response(204)
            case "POST", "drop":
                sessions = tuple(self._servers.sessions)
                for session in sessions:
                    session.drop()
                return _shown({"connections": len(sessions)})
        return _problem(404, "no such call")


def _number(request: Request, name: str, default: int) -> int:
    text = parse_qs(request.query).get(name, [str(default)])[0]
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number")
    return int(text)


def _shown(value: dict[str, Any]) -> Response:
    return Response(200, msgspec.json.encode(value), _JSON)


def _problem(status: int, detail: str) -> Response:
    return Response(status, msgspec.json.encode({"error": detail}), _JSON)
