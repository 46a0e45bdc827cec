"""Email by SMTP submission: one mail for one recipient, over a kept connection to a relay.

`docs/providers/smtp.md` says how to configure it and what each answer leads to.
"""

import asyncio
import ssl
from base64 import b64encode

from tidings.providers.contract import Gone, Message, Outcome, Reason, Sent
from tidings.providers.quoted import hide, quotable
from tidings.providers.smtp_account import SmtpAccount, SmtpAccountError, check, parse_smtp_account
from tidings.providers.smtp_address import AddressError
from tidings.providers.smtp_answers import outcome_of, outcome_of_trouble
from tidings.providers.smtp_connections import Connections
from tidings.providers.smtp_dialogue import Answer, Dialogue, Ended, Stage, Trouble
from tidings.providers.smtp_message import Mail, Sender, build, prepare


class SmtpProvider:
    """See `contract.Provider`. Open it with `open_smtp`; use it from one event loop."""

    def __init__(self, account: SmtpAccount, sender: Sender, connections: Connections) -> None:
        self._account = account
        self._sender = sender
        self._connections = connections
        self._secrets = _secrets_of(account)

    @property
    def name(self) -> str:
        return "smtp"

    @property
    def emulated(self) -> bool:
        return self._account.emulated

    async def send(self, message: Message) -> Outcome:
        """One mail (tried twice when a kept connection turns out to be dead before the body). A repeat has the same
        bytes and Message-ID, by which a mailbox can see that it is one; SMTP itself does not compare them."""
        try:
            mail = build(message, self._sender)
        except AddressError as error:
            return Gone(Reason.INVALID_ADDRESS, str(error))
        try:
            answer = await self._exchange(mail)
        except Trouble as trouble:
            return outcome_of_trouble(trouble, self._account.retry_floor_s, self._secrets + quotable(message))
        if answer.stage is Stage.BODY and 200 <= answer.reply.code < 300:
            return _without_reference(outcome_of(answer), message)
        return outcome_of(answer, self._account.retry_floor_s, self._secrets + quotable(message))

    async def log_in(self) -> Outcome | None:
        """Connect and log in, and send nothing: None when that works, else what a mail would have met."""
        try:
            dialogue, _ = await self._connections.take()
        except Trouble as trouble:
            return outcome_of_trouble(trouble, self._account.retry_floor_s, self._secrets)
        self._connections.give_back(dialogue)
        return None

    async def close(self) -> None:
        """Close the connections; mails under way have 2 s, then end as `Retry(CONNECTION)`. Twice is safe."""
        await self._connections.close()

    async def _exchange(self, mail: Mail) -> Answer:
        deadline = asyncio.get_running_loop().time() + self._account.timeout_s
        dialogue, used = await self._connections.take()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await _first_try(dialogue, mail) if used else await dialogue.send(mail)
                if answer is None:
                    dialogue = await self._connections.replace(dialogue)
                    answer = await dialogue.send(mail)
        except BaseException as error:
            stage = dialogue.stage
            if not isinstance(error, Trouble) or error.ended is not Ended.UNSUPPORTED:
                dialogue.abort()  # an answer may still come, and would be taken for the next mail's
            if isinstance(error, TimeoutError):
                raise Trouble(Ended.TIMED_OUT, stage, f"no answer in time ({stage})") from None
            raise
        else:
            if answer.reply.code == 421:
                dialogue.abort()  # the server closes it anyway, RFC 5321 §3.8
            return answer
        finally:
            self._connections.give_back(dialogue)


async def _first_try(dialogue: Dialogue, mail: Mail) -> Answer | None:
    """Send over a connection that was kept. None when it is dead and the body was not begun: then nothing is taken.

    A server that closes a connection says so by 421, or not at all; either can cross our MAIL on the way.
    """
    try:
        answer = await dialogue.send(mail)
    except Trouble as trouble:
        if trouble.ended is Ended.LOST and trouble.stage is not Stage.BODY:
            return None
        raise
    return None if answer.reply.code == 421 and answer.stage is Stage.MAIL else answer


def _secrets_of(account: SmtpAccount) -> tuple[str, ...]:
    """What the relay was told at login, in the forms in which it was told (RFC 4616, AUTH LOGIN)."""
    user, password = account.username.encode(), account.password.encode()
    told = (user, password, b"\0" + user + b"\0" + password)
    return (account.username, account.password, *(b64encode(each).decode() for each in told))


def _without_reference(sent: Outcome, message: Message) -> Outcome:
    """The relay's id of the mail; some relays name it by our Message-ID, and who knows the reference can confirm."""
    if isinstance(sent, Sent) and sent.provider_message_id:
        return Sent(hide(sent.provider_message_id, (message.reference, message.address)))
    return sent


async def open_smtp(account: SmtpAccount) -> SmtpProvider:
    """A provider for `account`. No connection is made yet: the first mail makes it.

    Raises SmtpAccountError: one sentence for who configures it. Close it in the end.
    """
    check(account)
    tls = await asyncio.to_thread(_tls_context, account.ca_pem)  # reading the system's roots takes 10 ms
    sender = prepare(account)
    return SmtpProvider(account, sender, Connections(account, sender.message_id_domain, tls))


def _tls_context(ca_pem: bytes | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_pem is not None:
        try:
            context.load_verify_locations(cadata=ca_pem.decode("ascii"))
        except (ssl.SSLError, UnicodeError):
            raise SmtpAccountError("ca_pem of the SMTP account holds no certificate in PEM") from None
    return context


__all__ = ["SmtpAccount", "SmtpAccountError", "SmtpProvider", "open_smtp", "parse_smtp_account"]
