"""What vendors report later, true and forged, with marked values in every field."""

import base64
import hmac
import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec

from tests.canary.channels import tokens
from tests.canary.stage import Stage, content, phone
from tests.conftest import Project
from tidings import signing
from tidings.app import App
from tidings.emulators import smtp_reports


def report_secrets(stage: Stage) -> bytes:
    """The operator's own: what Mailgun's and Postmark's reports are proved by."""
    new = stage.canaries.new
    stage.report_secrets = {
        "mailgun": {"secret": new("report secret")},
        "postmark": {"secret": new("report secret"), "username": new("report secret")},
    }
    return msgspec.json.encode(stage.report_secrets)


async def vendors_report(stage: Stage, app: App, project: Project) -> None:
    """Of each kind a true report, and others that nobody made: wrong signatures, broken bodies."""
    async with httpx.AsyncClient(
        base_url=stage.environ["TIDINGS_PUBLIC_URL"],
        timeout=30,
        trust_env=False,
        event_hooks={"response": [stage.heard]},
    ) as vendor:
        await mailgun(stage, app, project, vendor)
        await postmark(stage, app, project, vendor)
        await twilio(stage, app, project, vendor)
        await returned_mail(stage, app, project)
        await garbage(stage, vendor)


async def sent(stage: Stage, app: App, project: Project, channel: str, **fields: Any) -> tuple[dict[str, str], str]:
    """A notification that the vendor took: what it says, and its reference."""
    said = content(stage)
    user = await project.user(**fields)
    notification = await project.send(user, channels=[channel], **said)
    tokens(stage, app, project, user, notification)
    await project.until(notification, "sent", "delivered")
    return said, signing.sign_receipt(app.services.receipt_key, project.id, notification, channel, 0)


def words(stage: Stage, address: str, reference: str, **said: Any) -> str:
    """A diagnostic that quotes."""
    told = f"550 5.1.1 <{address}> unknown; {said['title']} {said['body']} {reference};"
    return f"{told} see https://help.example/?a={stage.canaries.new('email')}"


async def mailgun(stage: Stage, app: App, project: Project, vendor: httpx.AsyncClient) -> None:
    """Signed over a timestamp and a token."""
    new = stage.canaries.new
    for event, reason in (("failed", "bounce"), ("failed", "generic"), ("complained", ""), ("delivered", "")):
        address = new("email", "{}@example.com")
        said, reference = await sent(stage, app, project, "email", email=address)
        data = {
            "event": event,
            "severity": "permanent",
            "reason": reason,
            "recipient": address,
            "user-variables": {"tidings_reference": reference, new("data"): new("data")},
            "message": {"headers": {"subject": said["title"], "to": address}},
            "delivery-status": {"message": words(stage, address, reference, **said), "description": new("data")},
        }
        for key, status in ((stage.report_secrets["mailgun"]["secret"], 204), (new("report secret"), 403)):
            stamp, token = str(int(datetime.now(UTC).timestamp())), secrets.token_hex(25)
            signature = hmac.new(key.encode(), (stamp + token).encode(), "sha256").hexdigest()
            signed = {"timestamp": stamp, "token": token, "signature": signature}
            body = msgspec.json.encode({"signature": signed, "event-data": data})
            assert (await vendor.post("/api/reports/mailgun/0", content=body)).status_code == status


async def postmark(stage: Stage, app: App, project: Project, vendor: httpx.AsyncClient) -> None:
    """Proved by a user name and a password."""
    new, known = stage.canaries.new, stage.report_secrets["postmark"]
    address = new("email", "{}@example.com")
    said, reference = await sent(stage, app, project, "email", email=address)
    event = {
        "RecordType": "Bounce",
        "Type": "HardBounce",
        "Email": address,
        "Subject": said["title"],
        "Content": said["body"],
        "Details": words(stage, address, reference, **said),
        "Metadata": {"tidings_reference": reference},
    }
    for password, status in ((known["secret"], 204), (new("report secret"), 403)):
        basic = base64.b64encode(f"{known['username']}:{password}".encode()).decode()
        answer = await vendor.post("/api/reports/postmark/0", json=event, headers={"Authorization": f"Basic {basic}"})
        assert answer.status_code == status


async def twilio(stage: Stage, app: App, project: Project, vendor: httpx.AsyncClient) -> None:
    """The fate of a message, and a STOP; signed over the URL and the fields."""
    new, number, stopping = stage.canaries.new, phone(stage), phone(stage)
    said, reference = await sent(stage, app, project, "sms", phone=number)
    fates = [
        {"MessageStatus": "undelivered", "ErrorCode": "30005", "ErrorMessage": said["title"], "To": number},
        {"MessageStatus": "failed", "ErrorCode": new("data"), "To": number},
        {"MessageStatus": new("data"), "To": number},
        {"Body": "STOP", "From": stopping, "To": phone(stage)},
        {"Body": said["body"], "From": phone(stage)},
        {new("data"): new("data")},
    ]
    for fields in fates:
        url = f"{stage.environ['TIDINGS_PUBLIC_URL']}/api/reports/twilio/0?ref={reference}"
        for key in (stage.vendor.emulators.sms.twilio.auth_token, new("report secret")):
            signed = url + "".join(name + fields[name] for name in sorted(fields))
            signature = base64.b64encode(hmac.digest(key.encode(), signed.encode(), "sha1")).decode()
            headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
            answer = await vendor.post(url, content=urlencode(fields), headers=headers)
            assert answer.status_code in (204, 400, 403)


async def returned_mail(stage: Stage, app: App, project: Project) -> None:
    """Bounces and complaints that came as mail, which anybody can write."""
    new = stage.canaries.new
    for write in (smtp_reports.bounce, smtp_reports.complaint):
        address = new("email", "{}@example.com")
        said, reference = await sent(stage, app, project, "email", email=address)
        [mail] = stage.vendor.emulators.smtp.smtp.mailboxes.mails(address)
        whole = write(mail.return_path, address, mail.raw, "1")
        quoting = words(stage, address, reference, **said).encode()
        whole = whole.replace(b"smtp; 550 5.1.1 The email account", b"smtp; " + quoting)
        answer = await project.client.post("/api/reports/mail", content=whole)
        assert answer.json() == {"taken": 1}
        for wrong in (whole.replace(reference[-22:].encode(), new("reference").encode()), quoting, b"\0" + whole):
            assert (await project.client.post("/api/reports/mail", content=wrong)).status_code in (200, 400)


async def garbage(stage: Stage, vendor: httpx.AsyncClient) -> None:
    """What no vendor sends."""
    new = stage.canaries.new
    for name in ("mailgun", "postmark", "twilio", "vonage", "ses", "sendgrid", new("email", "{}@example.com")):
        for account in ("0", "1", "99", new("data")):
            for body in (new("email", "{}@example.com"), msgspec.json.encode({new("data"): new("email")}).decode()):
                headers = {"Authorization": f"Bearer {new('report secret')}", "Content-Type": "application/json"}
                answer = await vendor.post(f"/api/reports/{name}/{account}", content=body, headers=headers)
                assert answer.status_code in (400, 403, 404)
