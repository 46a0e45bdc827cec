"""Where vendors report what became of messages. The vendor's signature is the proof; no key is needed.

Bounces that come as mail have no signature, so whoever hands them on presents a key.
"""

import asyncio
from typing import Any

import structlog
from litestar import post
from litestar.params import FromPath
from msgspec import Struct

from tidings import reports
from tidings.api.auth import OPEN, SEND
from tidings.api.bodies import raw_body
from tidings.api.problems import problems
from tidings.api.services import Call, Services, services
from tidings.clock import now
from tidings.errors import BadRequest, Forbidden, NotFound, Unavailable
from tidings.providers import dsn
from tidings.providers.contract import BadReport, Report
from tidings.providers.report_secrets import VENDORS
from tidings.providers.sns import SnsAway
from tidings.reports import TooEarly

log = structlog.get_logger("tidings.api")

PATH = "/api/reports/"
TAGS = ["Reports"]
WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.5)  # for the worker to record what the vendor reports on already
MOST_ID = 2**63 - 1


class Taken(Struct, frozen=True):
    """How many reports were stored: those that name a delivery of the project by a true reference."""

    taken: int


@post(
    PATH + "{provider:str}/{account_id:int}",
    status_code=204,
    opt=OPEN,
    tags=TAGS,
    summary="Report what became of messages (for vendors)",
    responses=problems(400, 403, 404, 408, 413, 415, key=False),
)
async def take_reports(request: Call, provider: FromPath[str], account_id: FromPath[int]) -> None:
    """Give this address to the vendor; `account_id` 0 is the operator's account. Twice is safe."""
    api = services(request)
    secrets = None
    if provider in VENDORS and 0 <= account_id <= MOST_ID and api.report_secrets is not None:
        secrets = await api.report_secrets(provider, account_id)
    if secrets is None or api.reports is None:
        raise NotFound("No reports of that vendor and account are awaited here.", code="account_not_found")
    body = await raw_body(request, api.settings.max_body_bytes)
    query = f"?{request.scope['query_string'].decode('latin-1')}" if request.scope["query_string"] else ""
    url = f"{api.settings.public_url.rstrip('/') or str(request.base_url).rstrip('/')}{request.url.path}{query}"
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        found = await api.reports.read(provider, url, headers, body, secrets, now())
    except BadReport as error:
        log.warning("report_refused", provider=provider, account_id=account_id, why=str(error), forged=error.forged)
        if error.forged:
            raise Forbidden(str(error), code="report_forged") from None
        raise BadRequest(str(error), code="report_malformed") from None
    except SnsAway:
        raise Unavailable("AWS can't be asked for the moment.", headers={"Retry-After": "5"}) from None
    await _take(api, secrets.project_id or None, found, signed=True)


@post(
    PATH + "mail",
    status_code=200,
    opt=SEND,
    tags=TAGS,
    summary="Hand on a bounce that came as mail",
    responses=problems(400, 408, 413, 415),
)
async def take_mail(request: Call) -> Taken:
    """The body is the mail as it came (`message/rfc822`). A mail that reports nothing is fine: 0 are taken.

    Anybody can write a mail, so only what names a delivery of the project by its signed reference is believed.
    """
    api = services(request)
    body = await raw_body(request, api.settings.max_body_bytes)
    try:
        found = await asyncio.to_thread(dsn.read, body)
    except BadReport as error:
        raise BadRequest(str(error), code="report_malformed") from None
    return Taken(await _take(api, request.user.project_id, found, signed=False))


async def _take(api: Services, project_id: int | None, found: list[Report], *, signed: bool) -> int:
    """Store reports; those that come before the worker has recorded its own part are tried again for some seconds."""
    for wait_s in (*WAITS_S, None):
        try:
            return await reports.take(api.db, project_id, found, api.receipt_key, signed=signed)
        except TooEarly:
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
    raise Unavailable("It is not recorded yet that this message was sent.", headers={"Retry-After": "5"})


ROUTES: list[Any] = [take_reports, take_mail]
