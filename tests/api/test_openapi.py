"""The OpenAPI document: valid, with examples that work, and kept by the service (Schemathesis)."""

import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from tests.api.operations import OPERATIONS, WITH_BODY, Operation, the_document
from tests.conftest import Project, client_of
from tidings.api import examples
from tidings.app import App

DOCUMENT = the_document()
DIALECT = "https://json-schema.org/draft/2020-12/schema"  # OpenAPI 3.1, 4.8.24.1: the base of its schemas
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
CALLS = [
    (f"{method.upper()} {path}", path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def within(value: Any) -> list[Any]:
    """The value and everything in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(found for item in inner for found in within(item))]


def validator(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """Of a schema that may refer to the document's components."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


async def test_it_is_served_as_it_is_made(app: App) -> None:
    async with client_of(app) as client:
        answer = await client.get("/docs/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == msgspec.json.decode(msgspec.json.encode(DOCUMENT))


def test_the_frame() -> None:
    assert re.fullmatch(r"3\.1\.\d", DOCUMENT["openapi"])
    assert set(DOCUMENT) <= {"openapi", "info", "servers", "paths", "components", "security", "tags"}
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert set(DOCUMENT["components"]) <= {"schemas", "headers", "securitySchemes"}
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for kind in DOCUMENT["components"].values() for name in kind)
    tags = [tag["name"] for tag in DOCUMENT["tags"]]
    assert {tag for _, _, operation in CALLS for tag in operation["tags"]} == set(tags)


def test_all_references_resolve() -> None:
    references = {found["$ref"] for found in within(DOCUMENT) if isinstance(found, dict) and "$ref" in found}
    assert len(references) > 20
    for reference in references:
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_all_schemas_are_valid() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": DIALECT, **schema})
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), name


def test_operation_ids_are_unique_and_methods_known() -> None:
    assert len({operation["operationId"] for _, _, operation in CALLS}) == len(CALLS)
    assert {method for operations in DOCUMENT["paths"].values() for method in operations} <= METHODS


@pytest.mark.parametrize(("name", "path", "operation"), CALLS, ids=[name for name, *_ in CALLS])
def test_an_operation_is_complete(name: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    parameters = operation.get("parameters", [])
    in_path = [parameter["name"] for parameter in parameters if parameter["in"] == "path"]
    assert in_path == re.findall(r"\{(\w+)\}", path)
    assert all(parameter["required"] for parameter in parameters if parameter["in"] == "path")
    for parameter in parameters:
        jsonschema_rs.meta.validate({"$schema": DIALECT, **parameter["schema"]})
        assert parameter["in"] == "path" or parameter["description"]
    statuses = set(operation["responses"])
    assert statuses & {"200", "201", "202", "204"}
    needed = {"503"} if operation.get("security") == [] else {"401", "403", "503"}
    if "requestBody" in operation:
        needed |= {"400", "408", "413", "415", "422"}
    assert needed <= statuses
    for status, answer in operation["responses"].items():
        assert answer["description"], status
        assert "X-Request-ID" in answer["headers"]
        assert (status == "204") == ("content" not in answer)
        assert ("WWW-Authenticate" in answer["headers"]) == (status == "401")


def exchanges() -> list[tuple[str, dict[str, Any]]]:
    """Every body and answer, with its schema and examples."""
    found = []
    for name, _, operation in CALLS:
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            found.append((f"{name} body {kind}", media))
        for status, answer in operation["responses"].items():
            for kind, media in answer.get("content", {}).items():
                assert kind == ("application/json" if status < "300" or "healthcheck" in name else PROBLEM)
                found.append((f"{name} {status} {kind}", media))
    return found


PROBLEM = "application/problem+json"


@pytest.mark.parametrize(("name", "media"), exchanges(), ids=lambda item: item if isinstance(item, str) else "")
def test_every_body_and_answer_has_an_example_that_fits(name: str, media: dict[str, Any]) -> None:
    assert media["examples"], name
    for example in media["examples"].values():
        validator(media["schema"]).validate(example["value"])


def test_no_example_is_left_over() -> None:
    names = {operation.name for operation in OPERATIONS}
    assert set(examples.BODIES) | set(examples.ANSWERS) <= names


@pytest.mark.parametrize("operation", WITH_BODY, ids=str)
async def test_every_example_of_a_body_is_taken(project: Project, operation: Operation) -> None:
    user_id = await project.user()
    body = {**operation.body, "user_id": user_id} if "user_id" in operation.body else operation.body
    account_id = 0
    if "{account_id}" in operation.path:
        made = await project.client.post("/api/providers", json=examples.BODIES["create_provider_account"])
        account_id = made.json()["id"]
    url = operation.url(user_id=user_id, account_id=account_id)
    answer = await project.client.request(operation.method, url, json=body)
    assert 200 <= answer.status_code < 300, answer.text
    documented = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    media = documented[str(answer.status_code)]["content"]["application/json"]
    validator(media["schema"]).validate(answer.json())


async def test_the_page(app: App) -> None:
    async with client_of(app) as client:
        answer = await client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    page = answer.text
    for name, path, operation in CALLS:
        assert f'id="{operation["operationId"]}"' in page, name
        assert path in page
    assert page.count("curl ") >= len(CALLS)
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page), "nothing comes from elsewhere"
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors
    assert len(anchors) == len(re.findall(r'id="([^"]+)"', page)), "an anchor stands twice"
