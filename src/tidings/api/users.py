"""Routes of users, their tokens for the gateway, and whether they are online."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Any

from litestar import Response, delete, get, patch, post, put
from litestar.params import FromPath, QueryParameter
from msgspec import Meta, Struct, UnsetType

from tidings import users
from tidings.api.auth import ADMIN, READ
from tidings.api.bodies import decode, raw_body, takes
from tidings.api.idempotency import IdempotencyKey, once
from tidings.api.pages import MOST_ID, Cursor, Limit, last_of, next_link, read_cursor
from tidings.api.problems import invalid, problems
from tidings.api.services import Call, services
from tidings.bus import BusUnavailable
from tidings.clock import now
from tidings.db import Connection, Pool
from tidings.discreet import Discreet
from tidings.errors import FieldError, NotFound, Unavailable
from tidings.providers.apprise_url import ChatUrlError, parse_chat_url
from tidings.signing import mint_user_token
from tidings.users import NewUser, User, UserChange, UserUpsert

TAGS = ["Users"]


def known(user_id: int) -> int:
    """An id that may exist. Others do not, and the database would only stumble over them."""
    if not 1 <= user_id <= MOST_ID:
        raise NotFound(code="user_not_found")
    return user_id


async def check_chat_url(request: Call, text: str | UnsetType | None) -> None:
    """Raises `Invalid`, without the URL, when it leads to no service, or to a server that must not be called."""
    if not isinstance(text, str):
        return
    try:
        await asyncio.to_thread(parse_chat_url, text, services(request).chats)
    except ChatUrlError as error:
        raise invalid(FieldError("/chat_url", "invalid_field", str(error))) from None


@post(
    "/api/users",
    status_code=201,
    opt=ADMIN,
    tags=TAGS,
    summary="Create a user",
    operation_class=takes(NewUser),
    responses=problems(409, body=True),
)
async def create_user(request: Call, idempotency_key: IdempotencyKey = None) -> Response[User]:
    """A person who can be reached. All fields are optional; `external_id` is your own id of them."""
    body = await raw_body(request, services(request).settings.max_body_bytes)
    new = decode(body, NewUser)
    await check_chat_url(request, new.chat_url)

    async def do(db: Pool | Connection) -> tuple[int, User]:
        return 201, await users.create(db, request.user.project_id, new)

    return await once(request, body, do)


@put(
    "/api/users",
    status_code=200,
    opt=ADMIN,
    tags=TAGS,
    summary="Create or change a user by external_id",
    operation_class=takes(UserUpsert),
    responses=problems(body=True),
)
async def upsert_user(request: Call) -> Response[User]:
    """Made if new (201), otherwise the fields that are given are changed (200). Twice is safe."""
    body = await raw_body(request, services(request).settings.max_body_bytes)
    wanted = decode(body, UserUpsert)
    await check_chat_url(request, wanted.chat_url)
    user, created = await users.upsert(services(request).db, request.user.project_id, wanted)
    return Response(user, status_code=201 if created else 200)


@get("/api/users", opt=READ, tags=TAGS, summary="List users", responses=problems(400))
async def list_users(
    request: Call,
    limit: Limit = 50,
    cursor: Cursor = None,
    external_id: Annotated[str | None, QueryParameter(max_length=255, description="Only the user with your id")] = None,
    email: Annotated[str | None, QueryParameter(max_length=255, description="Only users with this address")] = None,
) -> Response[list[User]]:
    """Oldest first. The next page is in the `Link` header."""
    for text in (external_id, email):
        if text is not None and "\x00" in text:
            return Response([])
    page = await users.list_users(
        services(request).reader, request.user.project_id, read_cursor(cursor, 0), limit, external_id, email
    )
    return Response(page, headers=next_link(request, last_of(page, limit)))


@get("/api/users/{user_id:int}", opt=READ, tags=TAGS, summary="Get a user", responses=problems(404))
async def get_user(request: Call, user_id: FromPath[int]) -> User:
    """One user."""
    return await users.get(services(request).db, request.user.project_id, known(user_id))


@patch(
    "/api/users/{user_id:int}",
    opt=ADMIN,
    tags=TAGS,
    summary="Change a user",
    operation_class=takes(UserChange),
    responses=problems(404, 409, body=True),
)
async def change_user(request: Call, user_id: FromPath[int], idempotency_key: IdempotencyKey = None) -> Response[User]:
    """Only the fields that are given change; null empties one."""
    body = await raw_body(request, services(request).settings.max_body_bytes)
    wanted = decode(body, UserChange)
    await check_chat_url(request, wanted.chat_url)

    async def do(db: Pool | Connection) -> tuple[int, User]:
        return 200, await users.change(db, request.user.project_id, known(user_id), wanted)

    return await once(request, body, do)


@delete(
    "/api/users/{user_id:int}",
    opt=ADMIN,
    tags=TAGS,
    summary="Delete a user",
    responses=problems(404),
)
async def delete_user(request: Call, user_id: FromPath[int]) -> None:
    """With all devices. What was said to them is erased; that something was said is kept in the ledger."""
    await users.delete(services(request).db, request.user.project_id, known(user_id))


class TokenRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How long the token shall be valid."""

    ttl_s: Annotated[int, Meta(ge=60, le=86_400, description="Seconds", examples=[3600])] | None = None


class UserToken(Discreet, frozen=True):
    """For the user's own client: it opens the WebSocket gateway, and says whose `/client/vapid-public-key` is meant."""

    token: str
    expires_at: datetime


@post(
    "/api/users/{user_id:int}/token",
    status_code=201,
    opt=ADMIN,
    tags=TAGS,
    summary="Mint a token for the WebSocket gateway",
    operation_class=takes(TokenRequest, required=False),
    responses=problems(404, body=True),
)
async def mint_token(request: Call, user_id: FromPath[int]) -> UserToken:
    """Call it from your backend for the user who is logged in there, and hand the token to their client."""
    api = services(request)
    body = await raw_body(request, api.settings.max_body_bytes)
    wanted = decode(body, TokenRequest) if body.strip() else TokenRequest()
    await users.must_exist(api.db, request.user.project_id, known(user_id))
    at, ttl_s = now(), wanted.ttl_s or api.settings.user_token_ttl_s
    token = mint_user_token(api.token_key, request.user.project_id, user_id, at, ttl_s)
    return UserToken(token, at.replace(microsecond=0) + timedelta(seconds=ttl_s))


class PresenceBody(Struct, frozen=True):
    """`last_seen_at`: when a socket of the user was last open; null if not lately."""

    user_id: int
    online: bool
    sockets: int
    last_seen_at: datetime | None


@get(
    "/api/users/{user_id:int}/presence",
    opt=READ,
    tags=TAGS,
    summary="Whether a user is online",
    responses=problems(404),
)
async def get_presence(request: Call, user_id: FromPath[int]) -> PresenceBody:
    """Online means: at least one WebSocket is open."""
    api = services(request)
    await users.must_exist(api.db, request.user.project_id, known(user_id))
    try:
        presence = await api.bus.presence(request.user.project_id, user_id)
    except BusUnavailable:
        raise Unavailable("Presence is away for the moment.", headers={"Retry-After": "5"}) from None
    return PresenceBody(user_id, presence.online, presence.sockets, presence.last_seen_at)


ROUTES: list[Any] = [
    create_user,
    upsert_user,
    list_users,
    get_user,
    change_user,
    delete_user,
    mint_token,
    get_presence,
]
