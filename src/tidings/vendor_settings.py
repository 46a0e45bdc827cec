"""The settings about vendors: the operator's accounts, and where accounts of projects may lead. See `settings.py`."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings

from tidings.account_limits import AccountLimits, read_limits


def env(*names: str) -> AliasChoices:
    """The names of a setting in the environment, the preferred one first."""
    return AliasChoices(*names)


class VendorSettings(BaseSettings):
    """Files with credentials are read once, at the start (`operators.py`)."""

    allowed_networks: str = Field(
        "",
        validation_alias=env("TIDINGS_ALLOWED_NETWORKS"),
        description="Address ranges that are not public and that accounts of projects may lead to all the same, "
        "separated by commas (10.1.0.0/16), such as the one of your own mail relay. Empty: none.",
    )
    fcm_credentials: str = Field(
        "",
        validation_alias=env("TIDINGS_FCM_CREDENTIALS"),
        description="Path of a Firebase service-account JSON file. Empty: the bundled emulator in embedded mode.",
    )
    apns_credentials: str = Field(
        "",
        validation_alias=env("TIDINGS_APNS_CREDENTIALS"),
        description="Path of a JSON file with the Apple account: topic, key_id, team_id, private_key, or certificate. "
        "Empty: the bundled emulator in embedded mode, otherwise iPhones are reached through FCM.",
    )
    vapid_key: str = Field(
        "",
        validation_alias=env("TIDINGS_VAPID_KEY"),
        description="Path of the VAPID private key for Web Push, PEM. Empty: embedded mode makes one and keeps it, "
        "otherwise there is no Web Push.",
    )
    vapid_subject: str = Field(
        "mailto:operator@example.com",
        validation_alias=env("TIDINGS_VAPID_SUBJECT"),
        description="Whom a push service may ask about our messages: mailto: or https: of the operator.",
    )
    smtp_credentials: str = Field(
        "",
        validation_alias=env("TIDINGS_SMTP_CREDENTIALS"),
        description="Path of a JSON file with the mail relay: host, sender, username, password, dkim. Empty: the "
        "bundled emulator in embedded mode, otherwise there is no email.",
    )
    twilio_credentials: str = Field(
        "",
        validation_alias=env("TIDINGS_TWILIO_CREDENTIALS"),
        description="Path of a JSON file with the Twilio account: account_sid, auth_token, from. Empty: the bundled "
        "emulator in embedded mode.",
    )
    vonage_credentials: str = Field(
        "",
        validation_alias=env("TIDINGS_VONAGE_CREDENTIALS"),
        description="Path of a JSON file with the Vonage account: api_key, api_secret, from. Used for text messages "
        "when there is none of Twilio.",
    )
    report_secrets: str = Field(
        "",
        validation_alias=env("TIDINGS_REPORT_SECRETS"),
        description="Path of a JSON file with what proves the reports of email vendors, by vendor. Empty: such reports "
        "are not taken.",
    )
    limits: str = Field(
        "",
        validation_alias=env("TIDINGS_LIMITS"),
        description="How fast your own accounts may be used, by provider: rate_per_s, burst, most_at_once "
        "(twilio:rate_per_s=10,most_at_once=20;fcm:rate_per_s=500). Empty: the provider's default.",
    )
    at_most_once: str = Field(
        "sms",
        validation_alias=env("TIDINGS_AT_MOST_ONCE"),
        description="The channels, separated by commas, over which an attempt of unknown outcome is not repeated.",
    )
    emulators: str = Field(
        "",
        validation_alias=env("TIDINGS_EMULATORS"),
        description="Path of a file with the line that `python -m tidings.emulators` printed: use those emulators, "
        "which run in a process of their own. Empty: embedded mode starts its own.",
    )

    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`allowed_networks` as ranges. ValueError: one of them is none."""
        return tuple(ip_network(text.strip()) for text in self.allowed_networks.split(",") if text.strip())

    def limits_by_provider(self) -> Mapping[str, AccountLimits]:
        """`limits` of the accounts that it names. ValueError: a sentence about what is wrong with it."""
        return read_limits(self.limits)
