"""Routes of a project's own accounts at vendors. No answer, log line or error ever holds credentials."""

import asyncio
from typing import Annotated, Any

import structlog
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath
from msgspec import UNSET
from msgspec.structs import replace

from tidings import accounts
from tidings.accounts import AccountChange, NewAccount, ProviderAccount, Read
from tidings.api.auth import ADMIN
from tidings.api.bodies import check_depth, decode, raw_body, takes
from tidings.api.pages import MOST_ID, Cursor, Limit, last_of, next_link, one_of, read_cursor
from tidings.api.problems import invalid, problems
from tidings.api.services import Call, services
from tidings.bus import BusUnavailable
from tidings.errors import FieldError, NotFound, Unavailable
from tidings.providers import credentials_check
from tidings.providers.credentials import CredentialsError
from tidings.providers.credentials_check import Checked, Verdict
from tidings.vault import SealBroken, Vault

TAGS = ["Providers"]
POINTER = "/credentials"

Check = Annotated[str, one_of(("true", "false"), "Whether the vendor is asked if it takes the credentials")]

log = structlog.get_logger("tidings.api")


def known(account_id: int) -> int:
    """An id that may exist."""
    if not 1 <= account_id <= MOST_ID:
        raise NotFound(code="account_not_found")
    return account_id


@post(
    "/api/providers",
    status_code=201,
    opt=ADMIN,
    tags=TAGS,
    summary="Add an account",
    operation_class=takes(NewAccount),
    responses=problems(409, body=True),
)
async def create_provider_account(request: Call, check: Check = "true") -> ProviderAccount:
    """Your own account at a vendor, used from now on instead of the operator's. What the vendor surely refuses is not
    stored (`credentials_refused`); if the vendor can't be asked, it is. Names are unique, so twice adds one."""
    new = decode(await raw_body(request, services(request).settings.max_body_bytes), NewAccount)
    read = await _read(request, new.provider, new.emulated, new.credentials)
    checked = await _checked(request, read, check)
    account = await accounts.create(services(request).db, _vault(request), request.user.project_id, new, read)
    await _announce(request)
    return replace(account, check=checked)


@get("/api/providers", opt=ADMIN, tags=TAGS, summary="List accounts", responses=problems(400))
async def list_provider_accounts(
    request: Call, limit: Limit = 100, cursor: Cursor = None
) -> Response[list[ProviderAccount]]:
    """Oldest first, without credentials."""
    project_id, after = request.user.project_id, read_cursor(cursor, 0)
    page = await accounts.list_accounts(services(request).db, project_id, after, limit)
    return Response(page, headers=next_link(request, last_of(page, limit)))


@get("/api/providers/{account_id:int}", opt=ADMIN, tags=TAGS, summary="Get an account", responses=problems(404))
async def get_provider_account(request: Call, account_id: FromPath[int]) -> ProviderAccount:
    """One account, without its credentials."""
    return await accounts.get(services(request).db, request.user.project_id, known(account_id))


@patch(
    "/api/providers/{account_id:int}",
    opt=ADMIN,
    tags=TAGS,
    summary="Change an account",
    operation_class=takes(AccountChange),
    responses=problems(404, 409, body=True),
)
async def change_provider_account(request: Call, account_id: FromPath[int], check: Check = "true") -> ProviderAccount:
    """New credentials take the place of the old ones within a second; calls that are under way end with the old ones.
    An account that is switched off sends nothing, and the operator's does not stand in for it."""
    api, project_id = services(request), request.user.project_id
    wanted = decode(await raw_body(request, api.settings.max_body_bytes), AccountChange)
    before = await accounts.get(api.db, project_id, known(account_id))
    read = checked = None
    if wanted.credentials is not UNSET:
        read = await _read(request, before.provider, before.emulated, wanted.credentials)
        checked = await _checked(request, read, check)
    account = await accounts.change(api.db, _vault(request), project_id, account_id, wanted, read)
    await _announce(request)
    return replace(account, check=checked)


@delete("/api/providers/{account_id:int}", opt=ADMIN, tags=TAGS, summary="Remove an account", responses=problems(404))
async def delete_provider_account(request: Call, account_id: FromPath[int]) -> None:
    """Its credentials are erased. With the last one of its kind the project goes back to the operator's account."""
    await accounts.delete(services(request).db, request.user.project_id, known(account_id))
    await _announce(request)


@post(
    "/api/providers/{account_id:int}/check",
    status_code=200,
    opt=ADMIN,
    tags=TAGS,
    summary="Ask the vendor about an account",
    responses=problems(404),
)
async def check_provider_account(request: Call, account_id: FromPath[int]) -> Checked:
    """One call to the vendor that nobody notices: are the stored credentials good?"""
    api = services(request)
    try:
        account = await accounts.stored(api.db, _vault(request), request.user.project_id, known(account_id))
        read = await asyncio.to_thread(accounts.read, account.provider, account.emulated, account.credentials)
    except (SealBroken, CredentialsError) as error:
        return Checked(Verdict.REFUSED, str(error))
    return await credentials_check.check(read.provider, read.account, api.outside, emulated=read.emulated)


async def _read(request: Call, provider: str, emulated: bool, given: dict[str, Any]) -> Read:
    check_depth(given, POINTER)
    try:
        return await asyncio.to_thread(accounts.read, provider, emulated, given)
    except CredentialsError as error:
        raise invalid(FieldError(POINTER, "invalid_field", str(error))) from None


async def _checked(request: Call, read: Read, check: str) -> Checked | None:
    """Pass when the credentials may be stored. `check` "false": only what needs no call to the vendor is looked at."""
    api = services(request)
    try:
        await credentials_check.allowed(read.provider, read.account, api.outside, emulated=read.emulated)
    except CredentialsError as error:
        raise invalid(FieldError(POINTER, "invalid_field", str(error))) from None
    if check == "false":
        return None
    found = await credentials_check.check(read.provider, read.account, api.outside, emulated=read.emulated)
    if found.verdict is Verdict.REFUSED:
        raise invalid(FieldError(POINTER, "credentials_refused", f"The vendor refuses them: {found.detail}"))
    return found


def _vault(request: Call) -> Vault:
    vault = services(request).vault
    if vault is None:
        raise Unavailable("This process has no vault.")
    return vault


async def _announce(request: Call) -> None:
    """Let all workers look again. They do so every half a minute anyway, so a bus that is away only makes it later."""
    try:
        await services(request).bus.announce(accounts.CHANGED, str(request.user.project_id))
    except BusUnavailable:
        log.warning("accounts_not_announced", project_id=request.user.project_id)


ROUTES: list[Any] = [
    create_provider_account,
    list_provider_accounts,
    get_provider_account,
    change_provider_account,
    delete_provider_account,
    check_provider_account,
]
