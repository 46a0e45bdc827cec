"""The emulators' own API: set faults, look at phones, read the ledger. For tests, the console and the
curious.

| call | does |
|---|---|
| `GET /control/stats` | counters: accepted, duplicates, refused by code, tokens, requests, connections,
confirmations | | `GET`, `POST`, `DELETE /control/faults` | the plans in force (`faults.Plan` per vendor),
set some, end all | | `POST /control/tokens/revoke` | every OAuth access token given so far stops working |
| `POST /control/connections` | `{"action": "goaway"}` or `"drop"`: every connection but the caller's |
| `GET /control/accepted?since=&limit=` | how often each `tidings_id` was taken, from a position on |
| `POST`, `DELETE /control/record` | `{"path": "/….jsonl"}`: write every accepted id to a file; stop |
| `GET /phones?limit=`, `DELETE /phones` | phones that received something; forget all, counters too |
| `POST /phones` | `{"token": "…", "confirms": true}`: this phone calls receipts |
| `GET /phones/{token}/messages` | what one phone received |
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Struct

from tidings.emulators.accepted import Accepted
from tidings.emulators.confirmations import Confirmations, is_loopback
from tidings.emulators.exchange import Request, Response
from tidings.emulators.faults import Faults, Plan
from tidings.emulators.fcm import Fcm
from tidings.emulators.http_server import RunningServer
from tidings.emulators.oauth import OAuth
from tidings.emulators.phones import Phones

_JSON = (("content-type", "application/json"),)
_MAX_LISTED = 1000
_MAX_COUNTED = 100_000


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    path: str


class _Phone(Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    confirms: bool = True


class _Connections(Struct, frozen=True, forbid_unknown_fields=True):
    action: Literal["goaway", "drop"]


class Control:
    """`servers` is filled by whoever starts them; `local_only`: callers must have named this machine as
    host."""

    def __init__(
        self,
        *,
        faults: Faults,
        oauth: OAuth,
        fcm: Fcm,
        phones: Phones,
        accepted: Accepted,
        confirmations: Confirmations,
        servers: Sequence[RunningServer],
        local_only: bool,
    ) -> None:
        self._faults = faults
        self._oauth = oauth
        self._fcm = fcm
        self._phones = phones
        self._accepted = accepted
        self._confirmations = confirmations
        self._servers = servers
        self._local_only = local_only
        self._routes: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "/control/stats"): self._stats,
            ("GET", "/control/faults"): lambda request: faults.plans,
            ("POST", "/control/faults"): self._set_faults,
            ("DELETE", "/control/faults"): lambda request: faults.clear(),
            ("POST", "/control/tokens/revoke"): lambda request: {"revoked": oauth.revoke()},
            ("POST", "/control/connections"): self._break_connections,
            ("GET", "/control/accepted"): self._counts,
            ("POST", "/control/record"): self._record,
            ("DELETE", "/control/record"): lambda request: accepted.stop_recording(),
            ("GET", "/phones"): self._list_phones,
            ("POST", "/phones"): self._register_phone,
            ("DELETE", "/phones"): self._clear,
        }

    def answer(self, request: Request) -> Response:
        """Any call of the table above; 404 for others, 204 where there is nothing to say."""
        refused = self._guard(request)
        if refused is not None:
            return refused
        route = self._routes.get((request.method, request.path))
        path = request.path
        if route is None and request.method == "GET" and path.startswith("/phones/") and path.endswith("/messages"):
            route = self._messages
        if route is None:
            return _problem(404, "no such call")
        try:
            result = route(request)
        except (ValueError, KeyError, OSError) as error:  # msgspec's errors are ValueErrors.
            return _problem(400, str(error))
        return Response(204) if result is None else Response(200, msgspec.json.encode(result), _JSON)

    def _guard(self, request: Request) -> Response | None:
        # A web page in a browser on this machine can reach us. It can't send JSON across origins without
        # asking first, which we never grant, and a page that rebinds its own name to us still sends that
        # name as host.
        if self._local_only and not is_loopback(f"http://{request.headers.get('host', '')}"):
            return _problem(421, "this emulator answers to localhost only")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and kind != "application/json":
            return _problem(415, "send application/json")
        return None

    def _stats(self, request: Request) -> dict[str, Any]:
        confirmations = self._confirmations
        return {
            "accepted": self._accepted.total,
            "duplicates": self._accepted.duplicates,
            "refused": dict(self._fcm.refused),
            "tokens_issued": self._oauth.issued,
            "phones": len(self._phones),
            "requests": sum(server.requests for server in self._servers),
            "connections": sum(server.connections for server in self._servers),
            "open_connections": sum(server.open_connections for server in self._servers),
            "confirmations": {
                "confirmed": confirmations.confirmed,
                "failed": confirmations.failed,
                "dropped": confirmations.dropped,
            },
        }

    def _set_faults(self, request: Request) -> dict[str, Plan]:
        self._faults.set(msgspec.json.decode(request.body, type=dict[str, Plan]))
        return self._faults.plans

    def _break_connections(self, request: Request) -> dict[str, int]:
        action = msgspec.json.decode(request.body, type=_Connections).action
        own = request.connection
        ends = [server.goaway if action == "goaway" else server.drop for server in self._servers]
        return {"connections": sum(end(own) for end in ends)}

    def _counts(self, request: Request) -> dict[str, Any]:
        return self._accepted.counts(_number(request, "since", 0), _number(request, "limit", _MAX_COUNTED))

    def _record(self, request: Request) -> dict[str, str]:
        path = Path(msgspec.json.decode(request.body, type=_Record).path)
        self._accepted.record(path)
        return {"path": str(path)}

    def _list_phones(self, request: Request) -> dict[str, Any]:
        limit = _number(request, "limit", _MAX_LISTED)
        return {"phones": self._phones.listing(min(limit, _MAX_LISTED)), "total": len(self._phones)}

    def _register_phone(self, request: Request) -> dict[str, Any]:
        phone = msgspec.json.decode(request.body, type=_Phone)
        self._phones.register(phone.token, phone.confirms)
        return {"token": phone.token, "confirms": phone.confirms}

    def _messages(self, request: Request) -> dict[str, Any]:
        token = unquote(request.path.removeprefix("/phones/").removesuffix("/messages"))
        return {"token": token, "messages": self._phones.shown(token)}

    def _clear(self, request: Request) -> None:
        self._phones.clear()
        self._accepted.clear()
        self._fcm.clear()


def _number(request: Request, name: str, default: int) -> int:
    text = parse_qs(request.query).get(name, [str(default)])[0]
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number")
    return int(text)


def _problem(status: int, detail: str) -> Response:
    return Response(status, msgspec.json.encode({"error": detail}), _JSON)
