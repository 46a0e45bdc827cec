"""The operations of the API as its OpenAPI document and guards have them: what the generated tests are made from."""

from typing import Any

from msgspec import Struct

from tidings.api import examples
from tidings.api.app import Api, create_api
from tidings.api.openapi import document
from tidings.app import App
from tidings.projects import Scope

TABLES = ("users", "devices", "notifications", "broadcasts", "tasks", "events", "idempotency_keys", "provider_accounts")


class Operation(Struct, frozen=True):
    """One method on one path. `scope` is None for what needs no key; `body`: the documented example."""

    name: str
    method: str
    path: str
    scope: Scope | None
    body: Any = None
    required: bool = False
    idempotent: bool = False

    def url(self, **ids: object) -> str:
        """The path with these ids in it; ids not given are 1."""
        path = self.path
        for name in ("user_id", "device_id", "notification_id", "broadcast_id", "account_id", "receipt"):
            path = path.replace("{" + name + "}", str(ids.get(name, 1)))
        return path

    def __str__(self) -> str:
        return self.name


def bare_api() -> Api:
    """The application without a service behind it: enough to see its routes."""
    return create_api(None)


def the_document() -> dict[str, Any]:
    """The OpenAPI document."""
    api = bare_api()
    return document(api, api.openapi_schema.to_schema())


def scopes() -> dict[str, Scope | None]:
    """Operation → the scope that its guard asks for."""
    found = {}
    for route in bare_api().routes:
        for handler in getattr(route, "route_handlers", ()):
            found[handler.handler_name] = handler.opt.get("scope")
    return found


def operations() -> list[Operation]:
    """Every documented operation."""
    needed = scopes()
    return [
        Operation(
            name=operation["operationId"],
            method=method.upper(),
            path=path,
            scope=needed[operation["operationId"]],
            body=examples.BODIES.get(operation["operationId"]),
            required=operation.get("requestBody", {}).get("required", False),
            idempotent=any(p["name"] == "Idempotency-Key" for p in operation.get("parameters", ())),
        )
        for path, operations in the_document()["paths"].items()
        for method, operation in operations.items()
    ]


OPERATIONS = operations()
KEYED = [operation for operation in OPERATIONS if operation.scope is not None]
WITH_BODY = [operation for operation in OPERATIONS if operation.body is not None]


async def rows(app: App, project_id: int) -> dict[str, int]:
    """How many rows the project has in each table."""
    return {
        table: await app.db.fetchval(f"SELECT count(*) FROM {table} WHERE project_id = $1", project_id)  # noqa: S608
        for table in TABLES
    }
