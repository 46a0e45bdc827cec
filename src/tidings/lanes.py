"""What each lane delivers with: its own connections to vendors, and the critical one to the database, too."""

from contextlib import AsyncExitStack

import structlog

from tidings import routing
from tidings.account_limits import USUAL, AccountLimits
from tidings.accounts import CHANGED, Account
from tidings.api.receipts import PATH as RECEIPTS_PATH
from tidings.api.reports import PATH as REPORTS_PATH
from tidings.api.services import Services
from tidings.api.unsubscribe import PATH as UNSUBSCRIBE_PATH
from tidings.db import Pool
from tidings.errors import SetupError
from tidings.operators import Accounts
from tidings.providers.contract import Provider
from tidings.providers.gateway import GatewayProvider
from tidings.queue import Lane
from tidings.routing import WEBSOCKET
from tidings.settings import Settings
from tidings.turns import Turns
from tidings.vault import Vault
from tidings.vendors import open_account, open_providers
from tidings.worker.attempt import Delivering
from tidings.worker.book import OPERATOR, Book, Usable
from tidings.worker.compose import Composing
from tidings.worker.leases import lease_of
from tidings.worker.limits import limits_of
from tidings.worker.pace import Pace
from tidings.worker.plan import VIAS
from tidings.worker.retry import Policy

# Providers of projects that are open at once, each with a connection: in all so many as a process may have files for
# (1,024 by default) with room for sockets; what comes after the last one waits only for a handshake.
MOST_OPEN = {Lane.CRITICAL: 100, Lane.NORMAL: 300, Lane.BULK: 100}

log = structlog.get_logger("tidings.worker")


async def open_lanes(
    services: Services,
    reserve: Pool,
    accounts: Accounts,
    vault: Vault,
    composing: Composing,
    turns: Turns,
    stack: AsyncExitStack,
) -> dict[Lane, Delivering]:
    """By lane. The critical and the bulk lane have connections to vendors of their own, and the critical lane to the
    database (`reserve`), so that nothing waits behind a broadcast. They share the paces: an account is one account."""
    settings, bus = services.settings, services.bus
    paces: dict[tuple[int, str], Pace] = {}
    sockets = GatewayProvider(bus)

    def pace_of(account_id: int, provider: str, declared: AccountLimits = USUAL, *, emulated: bool = False) -> Pace:
        if account_id == OPERATOR:
            declared = accounts.limits.get(provider, USUAL)
        limits = limits_of(provider, declared, emulated=emulated)
        return Pace(limits, provider=provider, lease=lease_of(bus, f"{provider}-{account_id}", limits))

    def operators(providers: dict[str, Provider]) -> dict[str, Usable]:
        found = {}
        for via, provider in {**providers, WEBSOCKET: sockets}.items():
            key = (OPERATOR, provider.name)
            if key not in paces:
                paces[key] = pace_of(*key, emulated=provider.emulated)
                stack.callback(paces[key].close)
            found[via] = Usable(OPERATOR, provider, paces[key])
        return found

    books: list[Book] = []

    async def work(lane: Lane, db: Pool, connections: int) -> Delivering:
        async def open_(account: Account) -> Provider:
            return await open_account(account, services.outside, 1)

        mine = operators(await open_providers(accounts, connections, stack))
        if books:
            book = books[0].beside(db, mine, open_, MOST_OPEN[lane])
        else:
            book = Book(db, vault, mine, open_, pace_of, pace_over=Pace.close, most_open=MOST_OPEN[lane])
            tell_missing(mine)
            bus.listen(CHANGED, book.forget)
        books.append(book)
        stack.push_async_callback(book.close)
        return Delivering(
            db=db,
            book=book,
            policy=Policy(settings.retry_attempts, settings.retry_base_s),
            lease_s=settings.lease_s,
            composing=composing,
            turns=turns,
            urgent=lane is Lane.CRITICAL,
            once=once_of(settings),
            absent=bus.absent,
        )

    usual = await work(Lane.NORMAL, services.db, 2)
    return {
        Lane.CRITICAL: await work(Lane.CRITICAL, reserve, 1),
        Lane.NORMAL: usual,
        Lane.SCHEDULED: usual,
        Lane.BULK: await work(Lane.BULK, services.db, 2),
    }


def composing_of(services: Services, api_url: str) -> Composing:
    """Where devices, vendors and readers of emails call back. `api_url`: our own API's, "" when it runs elsewhere."""
    settings = services.settings
    base = (settings.public_url or (api_url if settings.embedded else "")).rstrip("/")
    return Composing(
        receipt_key=services.receipt_key,
        unsubscribe_key=services.unsubscribe_key,
        receipt_url=base and base + RECEIPTS_PATH,
        reports_url=base and base + REPORTS_PATH,
        unsubscribe_url=base and base + UNSUBSCRIBE_PATH,
        public=settings.public_url.startswith("https://"),
    )


def once_of(settings: Settings) -> frozenset[str]:
    """The channels that send at most once. Raises `SetupError` for one that does not exist."""
    named = frozenset(name.strip() for name in settings.at_most_once.split(",") if name.strip())
    unknown = named - set(routing.CHANNELS)
    if unknown:
        raise SetupError(
            f"TIDINGS_AT_MOST_ONCE names {', '.join(sorted(unknown))}: there are {', '.join(routing.CHANNELS)}."
        )
    return named


def tell_missing(operators: dict[str, Usable]) -> None:
    """Say once which ways only projects with an account of their own can take."""
    missing = [via for via in VIAS if via not in operators]
    if missing:
        log.warning("no_operator_account", ways=missing)
