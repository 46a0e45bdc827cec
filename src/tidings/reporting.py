"""What proves that a report of a vendor is true, found by the account that the vendor reports to."""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from tidings import accounts
from tidings.db import Pool
from tidings.providers.report_secrets import Secrets
from tidings.vault import SealBroken, Vault

OPERATOR = 0

# Provider → which of its credentials its reports are signed with.
SIGNED_WITH = {"twilio": "auth_token", "vonage": "signature_secret"}

log = structlog.get_logger("tidings.api")


def secrets_of(
    db: Pool, vault: Vault, operators: Mapping[str, Secrets]
) -> Callable[[str, int], Awaitable[Secrets | None]]:
    """A function of vendor and account id. `operators`: those of account 0, by vendor.

    It answers None for an account that is not there, is another vendor's, or has no such secret. It raises what the
    database raises.
    """

    async def find(vendor: str, account_id: int) -> Secrets | None:
        if account_id == OPERATOR:
            return operators.get(vendor)
        try:
            account = await accounts.opened(db, vault, account_id)
        except SealBroken as error:
            log.error("account_unusable", account_id=account_id, provider=vendor, why=str(error))
            return None
        if account is None:
            return None
        if account.provider == "smtp" and account.credentials.get("vendor") == vendor:
            given = account.credentials.get("reports")
            return None if given is None else Secrets(**{**given, "project_id": account.project_id})
        secret = account.credentials.get(SIGNED_WITH.get(vendor, ""), "") if account.provider == vendor else ""
        return Secrets(secret, project_id=account.project_id) if secret else None

    return find
