"""What vendors report, over HTTP: from a signed post to the state of a delivery and an address that is left alone."""

import asyncio
import base64
import hmac
import itertools
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.reporting import BASIC, TOPIC, Reporting, delivery, mailgun, postmark, reporting
from tests.conftest import Project, client_of, eventually, make_project
from tests.providers.sns_authority import authority
from tidings import signing
from tidings.app import App
from tidings.projects import Scope
from tidings.providers.sns import Sns

_tokens = (f"token-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
async def vendors(app: App) -> AsyncIterator[Reporting]:
    async with reporting(app) as running:
        yield running


async def suppressed(project: Project) -> list[tuple[str, str]]:
    answer = await project.client.get("/api/suppressions")
    return [(one["address"], one["reason"]) for one in answer.json()]


def bounced(reference: str, recipient: str = "jane@example.com") -> bytes:
    status = {"code": 550, "message": f"5.1.1 <{recipient}>: User unknown"}
    return mailgun(
        "failed",
        token=next(_tokens),
        recipient=recipient,
        reference=reference,
        severity="permanent",
        reason="bounce",
        **{"delivery-status": status},
    )


async def test_delivered(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    body = mailgun("delivered", token=next(_tokens), recipient="jane@example.com", reference=reference)
    for _ in range(2):
        assert (await vendors.post("mailgun", body)).status_code == 204
    found = await delivery(project, notification_id)
    assert (found["notification"], found["status"]) == ("delivered", "delivered")
    assert found["delivered_at"] is not None
    assert await suppressed(project) == []


async def test_bounced(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    body = bounced(reference)
    for _ in range(3):
        assert (await vendors.post("mailgun", body)).status_code == 204
    found = await delivery(project, notification_id)
    assert (found["notification"], found["status"], found["reason"]) == ("failed", "failed", "invalid_address")
    assert found["detail"] == "5.1.1 <…>: User unknown"
    assert await suppressed(project) == [("jane@example.com", "bounced")]
    told = await vendors.events(project)
    assert [kind for kind, _ in told] == ["address.suppressed", "delivery.bounced"], "once, though told three times"
    assert told[1][1]["notification_id"] == notification_id
    assert "example.com" not in str(told)


async def test_failed_without_fault_of_the_address(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    body = postmark("Bounce", Type="SoftBounce", Email="jane@example.com", Metadata={"tidings_reference": reference})
    assert (await vendors.post("postmark", body, headers=BASIC)).status_code == 204
    found = await delivery(project, notification_id)
    assert (found["notification"], found["status"], found["reason"]) == ("failed", "failed", "unavailable")
    assert await suppressed(project) == []
    assert [kind for kind, _ in await vendors.events(project)] == ["delivery.failed"]


async def test_a_delivered_one_stays_delivered(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    await vendors.post("mailgun", mailgun("delivered", token=next(_tokens), reference=reference))
    await vendors.post("mailgun", bounced(reference))
    assert (await delivery(project, notification_id))["status"] == "delivered"
    assert await suppressed(project) == [("jane@example.com", "bounced")], "the address is bad all the same"


async def test_delivered_after_all(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    body = postmark("Bounce", Type="SoftBounce", Metadata={"r": reference})
    await vendors.post("postmark", body, headers=BASIC)
    await vendors.post("mailgun", mailgun("delivered", token=next(_tokens), reference=reference))
    found = await delivery(project, notification_id)
    assert (found["notification"], found["status"], found["reason"]) == ("delivered", "delivered", None)


async def test_complained(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    body = mailgun("complained", token=next(_tokens), reference=reference)
    for _ in range(2):
        assert (await vendors.post("mailgun", body)).status_code == 204
    assert (await delivery(project, notification_id))["status"] == "sent"
    assert await suppressed(project) == [("jane@example.com", "complained")], "the user's, when the vendor names none"
    assert [kind for kind, _ in await vendors.events(project)] == ["address.suppressed", "delivery.complained"]


async def test_an_attempt_whose_answer_was_lost(vendors: Reporting, project: Project) -> None:
    """The vendor had the message after all; it is not sent again."""
    notification_id, reference = await vendors.sent(project, status="pending")
    assert (await vendors.post("mailgun", bounced(reference))).status_code == 204
    found = await delivery(project, notification_id)
    assert (found["status"], found["next_attempt_at"]) == ("failed", None)


async def test_a_report_that_comes_before_the_workers_record(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project, status="sending")
    posting = asyncio.create_task(vendors.post("mailgun", bounced(reference)))
    record = "UPDATE deliveries SET status = 'sent', sent_at = now(), next_attempt_at = NULL WHERE notification_id = $1"
    await asyncio.sleep(0.05)
    await vendors.app.db.execute(record + " AND channel = 'email'", notification_id)
    assert (await posting).status_code == 204
    assert (await delivery(project, notification_id))["status"] == "failed"


async def test_a_report_that_is_too_early_is_asked_for_again(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project, status="sending")
    answer = await vendors.post("mailgun", bounced(reference))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await delivery(project, notification_id))["status"] == "sending"
    assert await suppressed(project) == [], "all of it or nothing"
    # No worker is at it, so nothing would ever end it.
    await vendors.app.db.execute("UPDATE notifications SET status = 'failed' WHERE id = $1", notification_id)


async def test_many_at_once_in_any_order(vendors: Reporting, project: Project) -> None:
    sent = [await vendors.sent(project) for _ in range(6)]
    posts = [vendors.post("mailgun", bounced(reference)) for _, reference in sent * 4]
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {204}
    assert {(await delivery(project, notification_id))["status"] for notification_id, _ in sent} == {"failed"}
    assert len(await suppressed(project)) == 1


async def test_references_that_are_not_true(vendors: Reporting, project: Project, other: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    forged = signing.sign_receipt(b"k" * 32, project.id, notification_id, "email", 0)
    for wrong in (forged, reference[:-1] + ("A" if reference[-1] != "A" else "B"), reference.replace(".e.", ".s.")):
        assert (await vendors.post("mailgun", bounced(wrong))).status_code == 204
    assert (await delivery(project, notification_id))["status"] == "sent"
    assert await suppressed(project) == []


async def test_an_account_of_one_project_can_not_speak_of_another(
    vendors: Reporting, project: Project, other: Project
) -> None:
    notification_id, reference = await vendors.sent(project)
    vendors.own[71] = other.id
    assert (await vendors.post("mailgun", bounced(reference), 71)).status_code == 204
    assert (await delivery(project, notification_id))["status"] == "sent"
    assert (await suppressed(project), await suppressed(other)) == ([], [])
    vendors.own[72] = project.id
    assert (await vendors.post("mailgun", bounced(reference), 72)).status_code == 204
    assert (await delivery(project, notification_id))["status"] == "failed"


async def test_an_address_alone(vendors: Reporting, project: Project, other: Project) -> None:
    """A project's own account speaks for the project, the operator's for all that use it."""
    vendors.own[73] = project.id
    await vendors.post("mailgun", bounced("", "own@example.com"), 73)
    await vendors.post("mailgun", bounced("", "all@example.com"))
    assert await suppressed(project) == [("all@example.com", "bounced"), ("own@example.com", "bounced")]
    assert await suppressed(other) == [("all@example.com", "bounced")]


def twilio(url: str, **fields: str) -> tuple[bytes, dict[str, str]]:
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    mac = base64.b64encode(hmac.digest(b"twilio-token", signed.encode(), "sha1")).decode()
    headers = {"X-Twilio-Signature": mac, "Content-Type": "application/x-www-form-urlencoded"}
    return urlencode(fields).encode(), headers


async def test_sms(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project, "sms")
    url = f"{vendors.client.base_url}/api/reports/twilio/0?ref={reference}".replace("//api", "/api")
    body, headers = twilio(url, MessageSid="SM1", MessageStatus="undelivered", ErrorCode="30005", To="+41791234567")
    answer = await vendors.client.post(url, content=body, headers=headers)
    assert answer.status_code == 204, answer.text
    assert (await delivery(project, notification_id))["status"] == "failed"
    assert await suppressed(project) == [("+41791234567", "bounced")]
    assert (await vendors.client.post(url + "x", content=body, headers=headers)).status_code == 403


async def test_sms_from_the_call_to_the_report(app: App, project: Project) -> None:
    """The emulated Twilio calls back by itself, signed, at the address that the message named."""
    user_id = await project.user(phone="+41791234568")
    shown = await project.until(await project.send(user_id, channels=["sms"]), "delivered", "failed")
    assert (shown["status"], shown["deliveries"][0]["provider"]) == ("delivered", "twilio")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+41790000009", "+41790000009"),
        ("+4402079460009", "+442079460009"),
        ("+5215512345678", "+5215512345678"),  # the library's tables know no such number
    ],
)
async def test_stop_and_start(vendors: Reporting, project: Project, written: str, number: str) -> None:
    vendors.own[74] = project.id
    url = f"{vendors.client.base_url}/api/reports/twilio/74".replace("//api", "/api")
    for word, left in (("STOP", [(number, "opted_out")]), ("Hello", None), ("START", [])):
        body, headers = twilio(url, MessageSid="SM2", From=written, To="+15550000000", Body=word)
        assert (await vendors.client.post(url, content=body, headers=headers)).status_code == 204
        if left is not None:
            assert await suppressed(project) == left


async def test_ses(app: App, project: Project) -> None:
    async with authority() as aws, reporting(app, lambda client: Sns(client, aws.origin)) as vendors:
        confirmation = aws.post("SubscriptionConfirmation", "x", TOPIC)
        assert (await vendors.post("ses", confirmation)).status_code == 204
        assert len(aws.confirmed) == 1
        notification_id, reference = await vendors.sent(project)
        recipients = '[{"emailAddress": "jane@example.com", "status": "5.1.1"}]'
        header = f'{{"name": "X-Tidings-Reference", "value": "{reference}"}}'
        event = (
            f'{{"notificationType": "Bounce", "mail": {{"headers": [{header}]}},'
            f'"bounce": {{"bounceType": "Permanent", "bouncedRecipients": {recipients}}}}}'
        )
        answer = await vendors.post(
            "ses", aws.post("Notification", event, TOPIC), headers={"Content-Type": "text/plain"}
        )
        assert answer.status_code == 204, answer.text
        busy = aws.post("Notification", event, TOPIC, path="/SimpleNotificationService-busy.pem")
        assert (await vendors.post("ses", busy)).status_code == 503
    assert (await delivery(project, notification_id))["status"] == "failed"


FORGED = [
    ("mailgun", bounced("").replace(b'"signature":"', b'"signature":"0'), {}),
    ("postmark", b"{}", {}),
    ("postmark", b"{}", {"Authorization": "Basic eDp5"}),
    ("sendgrid", b"[]", {}),
    ("twilio", b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}),
    ("vonage", b'{"status": "delivered"}', {"Content-Type": "application/json"}),
]
MALFORMED = [
    ("mailgun", b"", {}),
    ("mailgun", b'{"signature": 1}', {}),
    ("ses", b"<xml/>", {}),
    ("ses", b"[" * 50_000, {}),
    ("postmark", b'{"Type": "Bounce"}', BASIC),
    ("postmark", b"\xff", BASIC),
]


@pytest.mark.parametrize(("vendor", "body", "headers"), FORGED)
async def test_forged(vendors: Reporting, vendor: str, body: bytes, headers: dict[str, str]) -> None:
    answer = await vendors.post(vendor, body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "report_forged")


@pytest.mark.parametrize(("vendor", "body", "headers"), MALFORMED)
async def test_malformed(vendors: Reporting, vendor: str, body: bytes, headers: dict[str, str]) -> None:
    answer = await vendors.post(vendor, body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "report_malformed")


@pytest.mark.parametrize("path", ["nobody/0", "mailgun/99", "mailgun/-1", f"mailgun/{2**70}", "dsn/0", "Mailgun/0"])
async def test_reports_that_nobody_awaits(vendors: Reporting, path: str) -> None:
    answer = await vendors.client.post(f"/api/reports/{path}", content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (404, "account_not_found")


async def test_without_secrets_none_are_awaited(app: App) -> None:
    async with client_of(app) as client:
        assert (await client.post("/api/reports/vonage/9", content=b"{}")).status_code == 404


async def test_a_body_that_is_too_large(vendors: Reporting) -> None:
    most = vendors.app.settings.max_body_bytes
    assert (await vendors.post("mailgun", b" " * (most + 1))).status_code == 413


BOUNCE = """Return-Path: <>
From: MAILER-DAEMON@mx.example.net
To: bounce+{reference}@shop.example
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {address}
Action: failed
Status: 5.1.1

--b--
"""


async def hand_on(project: Project, mail: str) -> httpx.Response:
    return await project.client.post("/api/reports/mail", content=mail.encode())


async def test_a_bounce_as_mail(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    answer = await hand_on(project, BOUNCE.format(reference=reference, address="JANE@example.com"))
    assert (answer.status_code, answer.json()) == (200, {"taken": 1})
    assert (await delivery(project, notification_id))["status"] == "failed"
    assert await suppressed(project) == [("jane@example.com", "bounced")]


async def test_mail_suppresses_no_address_but_the_users_own(vendors: Reporting, project: Project) -> None:
    """Anybody can write a mail; who got one knows one reference."""
    notification_id, reference = await vendors.sent(project)
    answer = await hand_on(project, BOUNCE.format(reference=reference, address="victim@example.com"))
    assert answer.json() == {"taken": 1}
    assert (await delivery(project, notification_id))["status"] == "failed"
    assert await suppressed(project) == []
    nameless = await hand_on(project, BOUNCE.format(reference="nothing", address="victim@example.com"))
    assert (nameless.json(), await suppressed(project)) == ({"taken": 0}, [])


async def test_mail_about_another_project(vendors: Reporting, project: Project, other: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    answer = await hand_on(other, BOUNCE.format(reference=reference, address="jane@example.com"))
    assert answer.json() == {"taken": 0}
    assert (await delivery(project, notification_id))["status"] == "sent"


async def test_mail_that_is_none(app: App, project: Project) -> None:
    assert (await hand_on(project, "From: me\n\nHello")).json() == {"taken": 0}
    refused = await hand_on(project, " ")
    assert (refused.status_code, refused.json()["code"]) == (400, "report_malformed")
    _, key = await make_project(app, Scope.READ)
    async with client_of(app, key) as client:
        assert (await client.post("/api/reports/mail", content=b"x")).status_code == 403


async def test_another_channel_is_tried_after_a_bounce(vendors: Reporting, project: Project) -> None:
    notification_id, reference = await vendors.sent(project)
    await vendors.app.db.execute("UPDATE notifications SET routing = 'email>push' WHERE id = $1", notification_id)
    await vendors.post("mailgun", bounced(reference))

    async def pushed() -> bool | None:
        shown = await project.get(notification_id)
        return any("push" in str(one) for one in shown["deliveries"]) or None

    await eventually(pushed)


@given(
    st.sampled_from(["ses", "sendgrid", "mailgun", "postmark", "twilio", "vonage", "x"]),
    st.one_of(
        st.binary(max_size=300),
        st.recursive(st.none() | st.text(max_size=5), st.lists, max_leaves=5).map(repr).map(str.encode),
    ),
    st.dictionaries(
        st.sampled_from(["Authorization", "X-Twilio-Signature", "x-amz-sns-message-type", "Content-Type"]),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=20),
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_no_post_makes_a_5xx(
    vendors: Reporting, vendor: str, body: bytes, headers: dict[str, str], query: str
) -> None:
    url = f"/api/reports/{vendor}/0?{query}"
    answer = await vendors.client.post(url, content=body, headers=headers)
    assert answer.status_code < 500, answer.text
