"""Reads what vendors post: one door for all of them, with what their proofs need to remember."""

from collections.abc import Mapping
from datetime import datetime

from tidings.http import Client
from tidings.providers import (
    mailgun_reports,
    postmark_reports,
    sendgrid_reports,
    ses_reports,
    sns,
    twilio_reports,
    vonage_reports,
)
from tidings.providers.contract import Report
from tidings.providers.report_secrets import Secrets
from tidings.providers.sns import Sns


class ReportReader:
    """`read` verifies and reads. Safe to call many times at once."""

    def __init__(self, client: Client, aws: Sns | None = None) -> None:
        """`client`: for SNS, whose signatures name a certificate and whose subscriptions are confirmed by a call; the
        caller closes it. `aws`: instead of the one that believes AWS alone, for tests."""
        self._sns = aws or Sns(client)
        self._tokens = mailgun_reports.Tokens()

    async def read(
        self, vendor: str, url: str, headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime
    ) -> list[Report]:
        """The reports in one post. `url`: the public one that the vendor called; `headers`: by lower-case name.

        Raises BadReport, `forged` when the proof is wrong; SnsAway when AWS could not be asked; KeyError for a vendor
        that is not in `report_secrets.VENDORS`.
        """
        match vendor:
            case "ses":
                return await self._ses(headers, body, secrets, now)
            case "sendgrid":
                return sendgrid_reports.read(headers, body, secrets, now)
            case "mailgun":
                return mailgun_reports.read(body, secrets, self._tokens, now)
            case "postmark":
                return postmark_reports.read(headers, body, secrets)
            case "twilio":
                return twilio_reports.read(url, headers, body, secrets.secret)
            case "vonage":
                return vonage_reports.read(url, headers, body, secrets.secret)
        raise KeyError(vendor)

    async def _ses(self, headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime) -> list[Report]:
        envelope = sns.read_envelope(headers, body)
        await self._sns.verify(envelope, secrets.topics, now)
        if envelope.type == "SubscriptionConfirmation":
            await self._sns.confirm(envelope)
            return []
        if envelope.type != "Notification":
            return []
        return ses_reports.reports_of(envelope.message)
