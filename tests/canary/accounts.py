"""Accounts of a project's own at vendors: good credentials, wrong ones, broken ones, and what is sent with them."""

from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.canary.channels import attempted, parts, tokens
from tests.canary.stage import FINAL, Stage, content, phone, subscription
from tests.conftest import Project
from tidings import projects
from tidings.app import App
from tidings.providers.webpush_vapid import new_private_key

PATH = "/api/providers"


def pem(stage: Stage, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """A private key that nobody may see again."""
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    stage.canaries.add_pem("account key", text)
    return text


def emulator_secrets(stage: Stage) -> None:
    """What the operator's and the projects' accounts at the emulated vendors are proved by."""
    add, address = stage.canaries.add, stage.vendor.address
    add("SMTP password", str(stage.vendor.relay.account["password"]))
    add("Twilio auth token", address.twilio_account["auth_token"])
    add("Vonage secret", address.vonage_account["api_secret"])
    add("Vonage signature secret", address.vonage_account["signature_secret"])
    dkim = stage.vendor.relay.account["dkim"]
    assert isinstance(dkim, dict)
    stage.canaries.add_pem("DKIM key", dkim["private_key"])


async def accounts(stage: Stage, app: App) -> None:
    """A project with accounts of its own at all vendors."""
    project_id = await projects.project_id_of(app.db, "with-accounts", create=True)
    key, _ = await projects.create_key(app.db, project_id, "canary", [projects.Scope.ADMIN])
    stage.canaries.add("API key", key[8:])
    async with httpx.AsyncClient(
        base_url=app.api_url,
        headers={"X-API-Key": key},
        timeout=30,
        trust_env=False,
        event_hooks={"response": [stage.heard]},
    ) as client:
        project = Project(project_id, key, client)
        await refused(stage, project)
        good = await taken(stage, project)
        await sending(stage, app, project)
        await wrong(stage, app, project, good)
        for account in good.values():
            assert (await client.delete(f"{PATH}/{account}")).status_code == 204


def given(stage: Stage) -> dict[str, dict[str, Any]]:
    """Credentials that the emulated vendors take."""
    address = stage.vendor.address
    vapid = new_private_key()
    stage.canaries.add_pem("account key", vapid)
    return {
        "fcm": address.service_account,
        "apns": address.apns_account,
        "webpush": {"private_key": vapid, "subject": "mailto:canary@example.com"},
        "smtp": stage.vendor.relay.account,
        "twilio": address.twilio_account,
    }


def spoiled(stage: Stage) -> dict[str, dict[str, Any]]:
    """Credentials of the right form that no vendor knows."""
    new, right = stage.canaries.new, given(stage)
    return {
        "fcm": {**right["fcm"], "private_key": pem(stage, rsa.generate_private_key(65537, 2048))},
        "apns": {**right["apns"], "private_key": pem(stage, ec.generate_private_key(ec.SECP256R1()))},
        "smtp": {**right["smtp"], "password": new("account password"), "username": new("account password")},
        "twilio": {**right["twilio"], "auth_token": new("account password")},
        "vonage": {**stage.vendor.address.vonage_account, "api_secret": new("account password", "{}")},
    }


def body(provider: str, credentials: dict[str, Any]) -> dict[str, Any]:
    return {"provider": provider, "name": f"own {provider}", "credentials": credentials, "emulated": True}


async def refused(stage: Stage, project: Project) -> None:
    """Wrong types, unknown fields, keys that can't be read, hosts that may not be called."""
    new = stage.canaries.new
    for provider, right in given(stage).items():
        for credentials in (
            {name: new("account password") for name in right},
            {**right, "security": new("account password"), "vendor": new("account password")},
            {**right, "private_key": f"-----BEGIN PRIVATE KEY-----\n{new('account key')}\n-----END PRIVATE KEY-----"},
            {**right, "password": [new("account password")]},
            {**right, "auth_token": {new("account password"): 1}},
            {**right, "host": new("account password", "{}.internal"), "port": new("account password")},
        ):
            answer = await project.client.post(PATH, json=body(provider, credentials))
            if answer.status_code == 201:  # Google's file may hold more than we know
                assert provider == "fcm"
                await project.client.delete(f"{PATH}/{answer.json()['id']}")
            else:
                assert answer.status_code in (400, 422), provider
            cut = f'{{"provider": "{provider}", "credentials": {{"password": "{new("account password")}"'
            assert (await project.client.post(PATH, content=cut)).status_code == 400
    for provider, credentials in spoiled(stage).items():
        if provider != "vonage":  # which has no call that could tell
            answer = await project.client.post(PATH, json=body(provider, credentials))
            assert answer.status_code == 422, (provider, answer.text)


async def taken(stage: Stage, project: Project) -> dict[str, int]:
    """The good ones, by provider."""
    made = {}
    for provider, credentials in given(stage).items():
        answer = await project.client.post(PATH, json=body(provider, credentials))
        assert answer.status_code == 201, answer.text
        stage.found("account", answer.content)
        made[provider] = answer.json()["id"]
        for asked in (f"{PATH}/{made[provider]}/check", f"{PATH}/{made[provider]}"):
            method = "POST" if asked.endswith("check") else "GET"
            stage.found("account", (await project.client.request(method, asked)).content)
    stage.found("accounts", (await project.client.get(PATH)).content)
    return made


async def sending(stage: Stage, app: App, project: Project) -> None:
    """A notification over each of them."""
    new = stage.canaries.new
    user = await project.user(email=new("email", "{}@example.com"), phone=phone(stage))
    await project.device(user, new("device token", "good-{}"))
    await project.device(user, new("APNs token", "0123456789abcdef" * 3 + "{}"), "ios")
    await project.device(user, subscription(stage, "browser"), "web")
    for channel in ("push", "email", "sms"):
        sent = await project.send(user, channels=[channel], **content(stage), **parts(stage))
        tokens(stage, app, project, user, sent)
        await project.until(sent, *FINAL)


async def wrong(stage: Stage, app: App, project: Project, good: dict[str, int]) -> None:
    """Credentials that the vendor refuses only when something is sent; the SMTP relay quotes them then."""
    new, bad = stage.canaries.new, spoiled(stage)
    for provider in ("smtp", "twilio"):
        changed = {"credentials": bad[provider]}
        answer = await project.client.patch(f"{PATH}/{good[provider]}", params={"check": "false"}, json=changed)
        assert answer.status_code == 200, answer.text
    email = await project.user(email=new("email", "{}@example.com"))
    sms = await project.user(phone=phone(stage))
    for user, channel in ((email, "email"), (sms, "sms")):
        sent = await project.send(user, channels=[channel], **content(stage))
        tokens(stage, app, project, user, sent)
        await attempted(stage, project, sent)
    # Text messages over another vendor, which is shown its secret in the form.
    assert (await project.client.delete(f"{PATH}/{good.pop('twilio')}")).status_code == 204
    answer = await project.client.post(PATH, json=body("vonage", stage.vendor.address.vonage_account))
    assert answer.status_code == 201, answer.text
    good["vonage"] = answer.json()["id"]
    for status in (None, 400):
        number = phone(stage)
        if status is not None:
            stage.vendor.echoes[number[1:]] = status
        user = await project.user(phone=number)
        sent = await project.send(user, channels=["sms"], **content(stage))
        tokens(stage, app, project, user, sent)
        if status is None:
            await project.until(sent, *FINAL)
        else:
            await attempted(stage, project, sent)
