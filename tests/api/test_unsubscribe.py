"""The link in an email that unsubscribes (RFC 8058)."""

import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.reporting import UNSUBSCRIBE_KEY, Reporting, reporting
from tests.conftest import Project, client_of
from tidings import signing
from tidings.app import App
from tidings.signing import BadToken, Unsubscription, sign_unsubscribe, verify_unsubscribe


@pytest.fixture(scope="module")
async def service(app: App) -> AsyncIterator[Reporting]:
    async with reporting(app) as running:
        yield running


async def rules(service: Reporting, user_id: int) -> list[tuple[str, str, bool]]:
    rows = await service.app.db.fetch(
        "SELECT category, channel, enabled FROM user_preferences WHERE user_id = $1 ORDER BY 1, 2", user_id
    )
    return [(row["category"], row["channel"], row["enabled"]) for row in rows]


def link(project: Project, user_id: int, category: str = "*") -> str:
    return f"/api/unsubscribe/{sign_unsubscribe(UNSUBSCRIBE_KEY, project.id, user_id, category)}"


@pytest.mark.parametrize("category", ["*", "marketing", "a.b-c_d", ".", "x" * 64])
async def test_one_click(service: Reporting, project: Project, category: str) -> None:
    user_id = await project.user(email="jane@example.com")
    path = link(project, user_id, category)
    for _ in range(2):
        answer = await service.client.post(path, data={"List-Unsubscribe": "One-Click"})
        assert (answer.status_code, answer.history) == (200, []), "a redirect is not allowed (RFC 8058, 3.1)"
        assert await rules(service, user_id) == [(category, "email", False)]


async def test_multipart_and_no_body_at_all(service: Reporting, project: Project) -> None:
    user_id = await project.user()
    for files in ({"List-Unsubscribe": (None, "One-Click")}, None):
        assert (await service.client.post(link(project, user_id), files=files)).status_code == 200
    assert await rules(service, user_id) == [("*", "email", False)]


async def test_a_look_changes_nothing(service: Reporting, project: Project) -> None:
    user_id = await project.user(email="jane@example.com", name="Jane")
    path = link(project, user_id, "marketing")
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await service.client.request(method, path)).status_code in (200, 204)
    assert await rules(service, user_id) == []
    page = await service.client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "marketing" in page.text
    assert "jane" not in page.text.lower(), "who finds the link learns nobody's name"
    assert "<script" not in page.text
    # The button of the page does what one click does.
    [button] = re.findall(r'<form method="(\w+)"><input type="hidden" name="([^"]+)" value="([^"]+)">', page.text)
    assert button == ("post", "List-Unsubscribe", "One-Click")


async def test_links_that_nobody_made(service: Reporting, project: Project) -> None:
    user_id = await project.user()
    good = link(project, user_id, "news")
    wrong = [
        "/api/unsubscribe/x",
        "/api/unsubscribe/" + "1" * 5_000,
        good + "x",
        good.removesuffix(".news"),
        good.replace(f".{user_id}.", f".{user_id + 1}."),
        f"/api/unsubscribe/{sign_unsubscribe(b'k' * 32, project.id, user_id, 'news')}",
    ]
    for path in wrong:
        for method in ("GET", "POST"):
            answer = await service.client.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (404, "unsubscribe_invalid")
    assert await rules(service, user_id) == []


async def test_a_user_who_is_gone(service: Reporting, project: Project) -> None:
    user_id = await project.user()
    path = link(project, user_id)
    assert (await project.client.delete(f"/api/users/{user_id}")).status_code == 204
    answer = await service.client.post(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


async def test_the_link_of_a_mail_that_was_sent(app: App, project: Project) -> None:
    """From the worker through the mail to the preference."""
    address = f"reader-{project.id}@example.com"
    user_id = await project.user(email=address)
    await project.until(await project.send(user_id, channels=["email"], category="offers"), "sent")
    async with client_of(app) as client:
        mailbox = await client.get(f"{app.emulator_url}/mailboxes/{address}")
        [found] = set(re.findall(r"<(http://[^>]*/api/unsubscribe/[^>]+)>", mailbox.text))
        assert (await client.post(found, data={"List-Unsubscribe": "One-Click"})).status_code == 200
    shown = await project.client.get(f"/api/users/{user_id}/preferences")
    assert shown.json()["preferences"] == [{"category": "offers", "channel": "email", "enabled": False}]
    notification_id = await project.send(user_id, channels=["email"], category="offers")
    assert (await project.until(notification_id, "suppressed", "sent"))["status"] == "suppressed"


KEY = signing.derive(b"s" * 32, signing.UNSUBSCRIBE)
CATEGORIES = st.just("*") | st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)
IDS = st.integers(1, 2**63 - 1)


@given(IDS, IDS, CATEGORIES)
def test_what_is_signed_is_read(project_id: int, user_id: int, category: str) -> None:
    text = sign_unsubscribe(KEY, project_id, user_id, category)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", text)
    assert verify_unsubscribe(KEY, text) == Unsubscription(project_id, user_id, category)
    for wrong in (text + "A", text[1:], text.upper() if text != text.upper() else text + ".x"):
        with pytest.raises(BadToken):
            verify_unsubscribe(KEY, wrong)


@given(st.text(max_size=120))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        verify_unsubscribe(KEY, text)


@pytest.mark.parametrize("category", ["", "x" * 65, "a b", "ä", "a/b", "**", "a\n"])
def test_what_is_no_category(category: str) -> None:
    with pytest.raises(ValueError, match="category"):
        sign_unsubscribe(KEY, 1, 1, category)


def test_another_purpose_is_worth_nothing_here() -> None:
    receipts = signing.derive(b"s" * 32, signing.RECEIPTS)
    with pytest.raises(BadToken):
        verify_unsubscribe(KEY, sign_unsubscribe(receipts, 1, 2, "*"))
