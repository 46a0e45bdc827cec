"""What pages and apps ask for themselves, and where the browsers of a project may subscribe."""

from typing import Any

from litestar import Response, get
from msgspec import Struct

from tidings import accounts
from tidings.addresses import Guard
from tidings.api.auth import OPEN, counted, identify
from tidings.api.problems import problems
from tidings.api.services import Call, Services, services
from tidings.clock import now
from tidings.errors import NotFound, Unauthenticated
from tidings.providers.webpush_account import WebPushAccount, guard_of
from tidings.providers.webpush_subscription import VENDORS
from tidings.signing import BadToken, verify_user_token

EVERYBODY = {"Cache-Control": "public, max-age=300"}
# Not kept: a page that got the operator's key a minute ago must not subscribe with it once its project has its own.
ONE_PROJECT = {"Cache-Control": "private, no-store"}
VARY = {"Vary": "X-API-Key, Authorization"}

EMULATOR = guard_of(WebPushAccount(private_key="", subject="", emulated=True))  # the key says nothing about the place


class VapidPublicKey(Struct, frozen=True):
    """`public_key`: for `pushManager.subscribe({applicationServerKey: …})`, 65 bytes in base64url."""

    public_key: str


class WebPush(Struct, frozen=True):
    """What the browsers of a project subscribe with, and where their subscriptions may lead."""

    public_key: str
    subscriptions: Guard


async def web_push_of(api: Services, project_id: int | None) -> WebPush | None:
    """By the project's own account if it has one, as workers do; else by the operator's. None: by neither.

    `project_id` None: nobody's in particular, so the operator's. Raises what the database raises.
    """
    own = None if project_id is None else await accounts.for_browsers(api.db, project_id)
    if own is not None:
        return WebPush(own.public_key, EMULATOR if own.emulated else VENDORS)
    if api.vapid_public_key is None or api.subscriptions is None:
        return None
    return WebPush(api.vapid_public_key, api.subscriptions)


@get(
    "/client/vapid-public-key",
    opt=OPEN,
    tags=["Client"],
    summary="The key that browsers subscribe with",
    responses=problems(401, 404, 429, key=False),
)
async def read_vapid_public_key(request: Call) -> Response[VapidPublicKey]:
    """A subscription is bound to this key for life. An API key in `X-API-Key`, or from a page a user token
    (`Authorization: Bearer …`), says whose is meant: that of the project's own account, or the operator's if it has
    none. Who says nothing gets the operator's. 404 when Web Push is not configured."""
    project_id = await _project_of(request)
    found = await web_push_of(services(request), project_id)
    if found is None:
        raise NotFound("Web Push is not configured.", headers=VARY)
    headers = VARY | (EVERYBODY if project_id is None else ONE_PROJECT)
    return Response(VapidPublicKey(found.public_key), headers=headers)


async def _project_of(request: Call) -> int | None:
    """Of the API key or the user token that was presented; None: of neither. Raises `Unauthenticated` for a bad one."""
    if request.headers.get("x-api-key"):
        principal = await identify(request)
        await counted(request, principal)
        return principal.project_id
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":  # a proxy's own, perhaps
        return None
    try:
        return verify_user_token(services(request).token_key, token.strip(), now()).project_id
    except BadToken:
        raise Unauthenticated(code="token_invalid") from None


ROUTES: list[Any] = [read_vapid_public_key]
