"""What proves that a report comes from the vendor: a key, a password, or the topics that may carry it.

Every vendor has its own way (`docs/reports.md` tells them all), so one small struct holds what any of them needs.
"""

from collections.abc import Mapping

import msgspec

from tidings.discreet import Discreet

VENDORS = ("ses", "sendgrid", "mailgun", "postmark", "twilio", "vonage")


class ReportSecretsError(ValueError):
    """The secrets can't be used; the text is one sentence for the person who configures them, without the secret."""


class Secrets(Discreet, frozen=True, forbid_unknown_fields=True):
    """For one account at one vendor. repr() shows none of it.

    `secret`: Mailgun's webhook signing key, SendGrid's verification key (a public one), the password in Postmark's
    webhook URL, Twilio's auth token, Vonage's signature secret. `username`: Postmark's. `topics`: the ARNs of the SNS
    topics that carry what SES reports; anybody can have AWS sign something, so only these are believed.
    `project_id`: whose account it is; 0: the operator's, whose reports may be about any project.
    """

    secret: str = ""
    username: str = ""
    topics: tuple[str, ...] = ()
    project_id: int = 0

    def __repr__(self) -> str:
        return f"Secrets(project_id={self.project_id})"


class _Given(Discreet, frozen=True, forbid_unknown_fields=True):
    """What an operator may write for one vendor."""

    secret: str = ""
    username: str = ""
    topics: tuple[str, ...] = ()


def parse_report_secrets(text: str | bytes) -> Mapping[str, Secrets]:
    """The operator's secrets by vendor, from JSON such as `{"mailgun": {"secret": "…"}}`.

    Raises ReportSecretsError with a sentence that says what to mend.
    """
    try:
        given = msgspec.json.decode(text, type=dict[str, _Given])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # A validation error names fields and types, never values; other ones could quote what is there.
        why = str(error) if isinstance(error, msgspec.ValidationError) else "it is not JSON"
        raise ReportSecretsError(f"the report secrets can't be read: {why}") from None
    found = {}
    for vendor, one in given.items():
        if vendor not in VENDORS:
            raise ReportSecretsError(f"the report secrets name {vendor!r}; there are {', '.join(VENDORS)}")
        if vendor == "ses":
            if not one.topics or not all(topic.startswith("arn:") for topic in one.topics):
                raise ReportSecretsError('ses needs "topics", a list of the ARNs of the SNS topics that may report')
        elif not one.secret:
            raise ReportSecretsError(f'{vendor} needs "secret"')
        if vendor == "postmark" and not one.username:
            raise ReportSecretsError('postmark needs "username", the one in the URL of its webhook')
        found[vendor] = Secrets(one.secret, one.username, one.topics)
    return found
