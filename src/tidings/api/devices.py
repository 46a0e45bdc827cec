"""Routes of devices."""

from typing import Any

from litestar import Response, delete, get, post
from litestar.params import FromPath

from tidings import devices, users
from tidings.api.auth import ADMIN, READ
from tidings.api.bodies import decode, raw_body, takes
from tidings.api.client import web_push_of
from tidings.api.idempotency import IdempotencyKey, once
from tidings.api.pages import MOST_ID, Cursor, Limit, last_of, next_link, read_cursor
from tidings.api.problems import invalid, problems
from tidings.api.services import Call, Services, services
from tidings.api.users import known
from tidings.db import Connection, Pool
from tidings.devices import Device, NewDevice
from tidings.errors import FieldError, NotFound
from tidings.providers.webpush_subscription import SubscriptionError, parse_subscription, subscription_text

TAGS = ["Devices"]
NO_WEB_PUSH = "Web Push is not configured: add an account of yours by POST /api/providers, or set TIDINGS_VAPID_KEY"


@post(
    "/api/users/{user_id:int}/devices",
    status_code=201,
    opt=ADMIN,
    tags=TAGS,
    summary="Register a device",
    operation_class=takes(NewDevice),
    responses=problems(404, body=True),
)
async def register_device(
    request: Call, user_id: FromPath[int], idempotency_key: IdempotencyKey = None
) -> Response[Device]:
    """A token that another user of the project had moves to this one; one that this user had is refreshed."""
    body = await raw_body(request, services(request).settings.max_body_bytes)
    new = await with_canonical_token(services(request), request.user.project_id, decode(body, NewDevice))

    async def do(db: Pool | Connection) -> tuple[int, Device]:
        return 201, await devices.register(db, request.user.project_id, known(user_id), new)

    return await once(request, body, do)


async def with_canonical_token(api: Services, project_id: int, new: NewDevice) -> NewDevice:
    """A browser's subscription is checked here and stored in one form, so that one browser is one device.

    Raises `Invalid` that points into the subscription. Other tokens are the vendor's own and stay as they are.
    """
    if new.device_type != "web" or not new.device_token.lstrip().startswith("{"):
        return new
    web_push = await web_push_of(api, project_id)
    if web_push is None:
        raise invalid(FieldError("/device_token", "invalid_field", NO_WEB_PUSH))
    try:
        subscription = parse_subscription(new.device_token, web_push.subscriptions)
    except SubscriptionError as error:
        raise invalid(FieldError("/device_token", "invalid_field", f"{error.pointer} {error.detail}".strip())) from None
    return NewDevice(subscription_text(subscription), new.device_type)


@get(
    "/api/users/{user_id:int}/devices",
    opt=READ,
    tags=TAGS,
    summary="List a user's devices",
    responses=problems(400, 404),
)
async def list_devices(
    request: Call, user_id: FromPath[int], limit: Limit = 100, cursor: Cursor = None
) -> Response[list[Device]]:
    """Oldest first; `disabled_at` is set when the vendor said that the token is dead."""
    api = services(request)
    await users.must_exist(api.db, request.user.project_id, known(user_id))
    page = await devices.list_devices(api.db, request.user.project_id, user_id, read_cursor(cursor, 0), limit)
    return Response(page, headers=next_link(request, last_of(page, limit)))


@delete(
    "/api/users/{user_id:int}/devices/{device_id:int}",
    opt=ADMIN,
    tags=TAGS,
    summary="Unregister a device",
    responses=problems(404),
)
async def unregister_device(request: Call, user_id: FromPath[int], device_id: FromPath[int]) -> None:
    """Nothing is sent to it any more."""
    if not 1 <= device_id <= MOST_ID:
        raise NotFound(code="device_not_found")
    await devices.unregister(services(request).db, request.user.project_id, known(user_id), device_id)


ROUTES: list[Any] = [register_device, list_devices, unregister_device]
