"""What comes back to the return path later: a bounce, or a complaint, as mail systems write them.

Sources: RFC 3461 to 3464 (bounces), RFC 5965 (complaints; receivers hide the address in them, so does this one).
"""

from email.utils import format_datetime

from tidings import clock

REPORTER = "relay.tidings.example"


def bounce(return_path: str, recipient: str, raw: bytes, queue_id: str) -> bytes:
    """A delivery status notification: failed, 5.1.1, with the headers of the mail."""
    parts = (
        "Content-Type: text/plain; charset=utf-8\r\n\r\n"
        f"I'm sorry to have to inform you that your message could not be delivered to {recipient}.\r\n",
        "Content-Type: message/delivery-status\r\n\r\n"
        f"Reporting-MTA: dns; {REPORTER}\r\nX-Queue-ID: {queue_id}\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nOriginal-Recipient: rfc822;{recipient}\r\nAction: failed\r\n"
        "Status: 5.1.1\r\nRemote-MTA: dns; mx.example.org\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 The email account that you tried to reach does not exist\r\n",
        "Content-Type: text/rfc822-headers\r\n\r\n" + _headers(raw),
    )
    kind = "multipart/report; report-type=delivery-status"
    return _report(return_path, "Undelivered Mail Returned to Sender", kind, queue_id, parts)


def complaint(return_path: str, recipient: str, raw: bytes, queue_id: str) -> bytes:
    """A feedback report of type abuse, with the mail's headers, in which the address is hidden."""
    hidden = _headers(raw).replace(recipient, "redacted@" + recipient.rpartition("@")[2])
    parts = (
        "Content-Type: text/plain; charset=utf-8\r\n\r\nThis is an email abuse report.\r\n",
        "Content-Type: message/feedback-report\r\n\r\n"
        "Feedback-Type: abuse\r\nUser-Agent: TidingsEmulator/1.0\r\nVersion: 1\r\n"
        f"Arrival-Date: {format_datetime(clock.now())}\r\nReported-Domain: {return_path.rpartition('@')[2]}\r\n",
        "Content-Type: text/rfc822-headers\r\n\r\n" + hidden,
    )
    kind = "multipart/report; report-type=feedback-report"
    return _report(return_path, "Abuse report", kind, queue_id, parts)


def _report(to: str, subject: str, kind: str, queue_id: str, parts: tuple[str, ...]) -> bytes:
    boundary = f"{queue_id}/{REPORTER}"
    head = (
        f"From: MAILER-DAEMON@{REPORTER}\r\nTo: {to}\r\nSubject: {subject}\r\n"
        f"Date: {format_datetime(clock.now())}\r\nMessage-ID: <{queue_id}@{REPORTER}>\r\nMIME-Version: 1.0\r\n"
        f'Auto-Submitted: auto-replied\r\nContent-Type: {kind}; boundary="{boundary}"\r\n\r\n'
    )
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return f"{head}{body}--{boundary}--\r\n".encode()


def _headers(raw: bytes) -> str:
    return raw.partition(b"\r\n\r\n")[0].decode(errors="replace") + "\r\n"
