"""Private servers that speak TLS, with a certificate for 127.0.0.1 of an authority of their own.

They listen on 127.0.0.2, too, which the certificate does not name.
"""

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg

from tests.processes import Address, RabbitServer, RedisServer, Server, free_port, run
from tidings.emulators import certificate
from tidings.emulators.certificate import Certificate

NAMED, UNNAMED = "127.0.0.1", "127.0.0.2"
INITDB_TIMEOUT_S = 60.0


class Papers:
    """A certificate in files: `authority` is what a client trusts, `chain` and `key` are the server's."""

    def __init__(self, folder: Path, made: Certificate, owner: int | None = None) -> None:
        self.authority, self.chain, self.key = (folder / name for name in ("ca.pem", "chain.pem", "key.pem"))
        for path, content in ((self.authority, made.ca_pem), (self.chain, made.chain_pem), (self.key, made.key_pem)):
            path.write_bytes(content)
            path.chmod(0o600 if path == self.key else 0o644)
            if owner is not None:
                os.chown(path, owner, -1)


class TlsRabbit(RabbitServer):
    """RabbitMQ with TLS on `tls_port`; the plain port stays, for the test to look."""

    def __init__(self, sbin: Path) -> None:
        super().__init__(sbin)
        self.papers = Papers(self.dir, certificate.make())
        self.tls_port = free_port()

    def config(self) -> str:
        return super().config() + (
            f"listeners.ssl.1 = {NAMED}:{self.tls_port}\nlisteners.ssl.2 = {UNNAMED}:{self.tls_port}\n"
            f"ssl_options.cacertfile = {self.papers.authority}\n"
            f"ssl_options.certfile = {self.papers.chain}\n"
            f"ssl_options.keyfile = {self.papers.key}\n"
            "ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n"
        )


class TlsRedis(RedisServer):
    """Redis with TLS on `tls_port`; the plain port stays, for the test to look."""

    def __init__(self, program: Path) -> None:
        super().__init__(program)
        self.papers = Papers(self.dir, certificate.make())
        self.tls_port = free_port()

    def command(self) -> Sequence[str]:
        return [
            *super().command(),
            *("--tls-port", str(self.tls_port), "--bind", f"{NAMED} {UNNAMED}", "--tls-auth-clients", "no"),
            *("--tls-ca-cert-file", str(self.papers.authority)),
            *("--tls-cert-file", str(self.papers.chain), "--tls-key-file", str(self.papers.key)),
        ]


class TlsPostgres(Server):
    """A PostgreSQL that lets nobody in over the network but with TLS and a password."""

    def __init__(self, programs: Path) -> None:
        super().__init__("postgresql", free_port())
        self._programs = programs
        # PostgreSQL refuses to run as root.
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        owner = self._account.pw_uid if self._account else None
        if owner is not None:
            os.chown(self.dir, owner, -1)
        self.dir.chmod(0o711)
        self.papers = Papers(self.dir, certificate.make(), owner)
        self.address = Address(NAMED, self.port, "tidings", "tidings-test", "postgres")

    def _as_account(self) -> list[str]:
        account = self._account
        if account is None:
            return []
        return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]

    async def create(self) -> None:
        """Make the data directory. Once."""
        password = self.dir / "password"
        password.write_text(self.address.password)
        password.chmod(0o644)
        options = {
            "pgdata": self.data,
            "username": self.address.user,
            "pwfile": password,
            "auth": "scram-sha-256",
            "encoding": "UTF8",
            "locale": "C.UTF-8",
        }
        command = [str(self._programs / "initdb"), *(f"--{name}={value}" for name, value in options.items())]
        code, output = await run([*self._as_account(), *command], os.environ, INITDB_TIMEOUT_S, self.dir)
        assert code == 0, output
        (self.data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")

    def command(self) -> Sequence[str]:
        settings: Mapping[str, object] = {
            "listen_addresses": f"{NAMED},{UNNAMED}",
            "port": self.port,
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": self.papers.chain,
            "ssl_key_file": self.papers.key,
        }
        options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        return [*self._as_account(), str(self._programs / "postgres"), "-D", str(self.data), *options]

    async def greets(self) -> bool:
        try:
            connection = await self.connect()
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection for the test to look."""
        at = self.address
        return await asyncpg.connect(
            host=at.host, port=at.port, user=at.user, password=at.password, database=at.path, ssl="require", timeout=5
        )
