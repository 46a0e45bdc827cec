"""Routes of preferences: what a user allows, and their quiet hours."""

from typing import Any

from litestar import Response, get, patch, put
from litestar.params import FromPath

from tidings import preferences
from tidings.api.auth import ADMIN, READ
from tidings.api.bodies import decode, raw_body, takes
from tidings.api.idempotency import IdempotencyKey, once
from tidings.api.problems import problems
from tidings.api.services import Call, services
from tidings.api.users import known
from tidings.db import Connection, Pool
from tidings.preferences import PreferencesChange, UserPreferences

TAGS = ["Preferences"]
PATH = "/api/users/{user_id:int}/preferences"


@get(PATH, opt=READ, tags=TAGS, summary="Get a user's preferences", responses=problems(404))
async def get_preferences(request: Call, user_id: FromPath[int]) -> UserPreferences:
    """Sorted by category and channel. What no rule forbids is allowed."""
    return await preferences.get(services(request).db, request.user.project_id, known(user_id))


@put(
    PATH,
    opt=ADMIN,
    tags=TAGS,
    summary="Replace a user's preferences",
    operation_class=takes(UserPreferences),
    responses=problems(404, body=True),
)
async def replace_preferences(request: Call, user_id: FromPath[int]) -> UserPreferences:
    """All rules and the quiet hours become what the body says; what it leaves out is forgotten. Twice is safe."""
    api = services(request)
    wanted = decode(await raw_body(request, api.settings.max_body_bytes), UserPreferences)
    return await preferences.replace(api.db, request.user.project_id, known(user_id), wanted)


@patch(
    PATH,
    opt=ADMIN,
    tags=TAGS,
    summary="Change a user's preferences",
    operation_class=takes(PreferencesChange),
    responses=problems(404, body=True),
)
async def change_preferences(
    request: Call, user_id: FromPath[int], idempotency_key: IdempotencyKey = None
) -> Response[UserPreferences]:
    """Only the rules that are given change; `enabled` null forgets one, and `quiet_hours` null ends them."""
    body = await raw_body(request, services(request).settings.max_body_bytes)
    wanted = decode(body, PreferencesChange)

    async def do(db: Pool | Connection) -> tuple[int, UserPreferences]:
        return 200, await preferences.change(db, request.user.project_id, known(user_id), wanted)

    return await once(request, body, do)


ROUTES: list[Any] = [get_preferences, replace_preferences, change_preferences]
