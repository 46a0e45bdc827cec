"""Where the links in emails lead that unsubscribe. The signed address is the proof; no key is needed.

RFC 8058: mail programs POST to it without asking anybody else (one click), and a GET must change nothing, because
scanners follow every link. So GET shows a page with a button, and the button does what one click does.
"""

from html import escape
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from tidings import preferences
from tidings.api.auth import OPEN
from tidings.api.services import Call, Services, services
from tidings.errors import NotFound
from tidings.signing import EVERYTHING, BadToken, Unsubscription, verify_unsubscribe

PATH = "/api/unsubscribe/"

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address is a secret of its reader
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_STYLE = (
    ":root{color-scheme:light dark}body{font:1.1rem/1.6 system-ui,sans-serif;max-width:32rem;margin:15vh auto;"
    "padding:0 1rem}button{font:inherit;padding:.5em 1.2em;cursor:pointer}"
)


@get(PATH + "{token:str}", opt=OPEN, include_in_schema=False)
async def show_unsubscribe(request: Call, token: FromPath[str]) -> Response[str]:
    """A page that asks; it changes nothing."""
    wish = _read(services(request), token)
    return _page(
        "Unsubscribe",
        f"<h1>Unsubscribe</h1><p>Do you want to get no more {_what(wish)}?</p>"
        '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        "<button>Unsubscribe</button></form>",
    )


@post(PATH + "{token:str}", status_code=200, opt=OPEN, include_in_schema=False)
async def unsubscribe(request: Call, token: FromPath[str]) -> Response[str]:
    """Turns the email off. The body is ignored, the address says all. Twice is safe."""
    api = services(request)
    wish = _read(api, token)
    await preferences.set_one(api.db, wish.project_id, wish.user_id, wish.category, "email", False)
    return _page("Unsubscribed", f"<h1>Done</h1><p>You will get no more {_what(wish)}.</p>")


def _read(api: Services, token: str) -> Unsubscription:
    if not api.unsubscribe_key:
        raise NotFound(code="unsubscribe_invalid")
    try:
        return verify_unsubscribe(api.unsubscribe_key, token)
    except BadToken:
        raise NotFound(code="unsubscribe_invalid") from None


def _what(wish: Unsubscription) -> str:
    return "emails of this sender" if wish.category == EVERYTHING else f"emails about <b>{escape(wish.category)}</b>"


def _page(title: str, content: str) -> Response[str]:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>{content}</body></html>"
    )
    return Response(text, media_type="text/html", headers=_HEADERS)


ROUTES: list[Any] = [show_unsubscribe, unsubscribe]
