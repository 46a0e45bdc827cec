"""The settings about TLS to PostgreSQL, RabbitMQ and Redis. See `settings.py`, and `tls.py` for what they do."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from tidings.vendor_settings import env


class TlsSettings(BaseSettings):
    """The files are read at the start. What is not checked, nobody in the middle has to forge."""

    db_sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer",
        validation_alias=env("DB_SSLMODE"),
        description="TLS to PostgreSQL, in libpq's words: disable, prefer, require, verify-ca or verify-full. Only the "
        "last one checks that it is the right server.",
    )
    db_ca_file: str = Field(
        "",
        validation_alias=env("DB_CA_FILE"),
        description="PEM file of the authorities that may sign PostgreSQL's certificate, for verify-ca and "
        "verify-full. Empty: those of the system.",
    )
    redis_tls: bool = Field(
        False,
        validation_alias=env("REDIS_TLS"),
        description="TLS to Redis, whose certificate is checked. REDIS_PORT is then the port that speaks it.",
    )
    redis_ca_file: str = Field(
        "",
        validation_alias=env("REDIS_CA_FILE"),
        description="PEM file of the authorities that may sign Redis's certificate. Empty: those of the system.",
    )
    rabbitmq_tls: bool = Field(
        False,
        validation_alias=env("RABBITMQ_TLS"),
        description="TLS to RabbitMQ, whose certificate is checked. RABBITMQ_PORT is then the port that speaks it, "
        "mostly 5671.",
    )
    rabbitmq_ca_file: str = Field(
        "",
        validation_alias=env("RABBITMQ_CA_FILE"),
        description="PEM file of the authorities that may sign RabbitMQ's certificate. Empty: those of the system.",
    )

    def idle_authorities(self) -> list[str]:
        """A sentence for each file of authorities that nothing would be checked against."""
        found = []
        if self.db_ca_file and not self.db_sslmode.startswith("verify-"):
            found.append(
                f"DB_CA_FILE is set, but with DB_SSLMODE {self.db_sslmode} no certificate is checked: use verify-full"
            )
        for name, file, on in (
            ("REDIS", self.redis_ca_file, self.redis_tls),
            ("RABBITMQ", self.rabbitmq_ca_file, self.rabbitmq_tls),
        ):
            if file and not on:
                found.append(f"{name}_CA_FILE is set, but {name}_TLS is not: set it to true")
        return found
