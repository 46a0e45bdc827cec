"""The OpenAPI 3.1 document: `/docs/openapi.json`.

Litestar knows the routes. What bodies and answers look like is told by msgspec, which decodes and encodes them.
"""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
from litestar import Litestar, Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag

from tidings import __version__
from tidings.api import docs_page, examples
from tidings.api.bodies import TAKEN
from tidings.api.problems import CLASSES, MEDIA_TYPE, ProblemBody
from tidings.errors import CODES, FieldError

DESCRIPTION = (
    "Send one call, reach a person on every channel. Every call but the health check carries your key in the "
    "`X-API-Key` header. Problems are answered as `application/problem+json` (RFC 9457): branch on `code`, and "
    "give the `request_id` when you ask for help. Ids are integers; times are RFC 3339 in UTC."
)
TAGS = [
    Tag("Users", "People who can be reached."),
    Tag("Devices", "The push addresses of a user."),
    Tag("Preferences", "What a user allows, and when they are not to be disturbed."),
    Tag("Notifications", "One thing to say to one user."),
    Tag("Broadcasts", "One thing to say to everyone who is connected."),
    Tag("Dead letters", "What failed for good, why, and sending it again."),
    Tag("Providers", "A project's own accounts at vendors."),
    Tag("Client", "For the programs on the devices."),
    Tag("Suppressions", "Addresses that must not be written to any more."),
    Tag("Reports", "Where vendors report what became of messages."),
    Tag("Receipts", "How a device confirms what it got."),
    Tag("Health", "Whether the service is well."),
]

DONE = {200: "Done", 201: "Created", 202: "Accepted: stored, and kept", 204: "Done; there is no body"}
TEXT = {"type": "string"}
HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "The id of this call in the log; your own, if you sent one",
        "schema": TEXT,
    },
    "Link": {"description": 'The next page: `<…>; rel="next"`. Absent on the last one', "schema": TEXT},
    "Idempotent-Replayed": {
        "description": "An earlier call with this Idempotency-Key did it; this is its answer again",
        "schema": {"type": "string", "const": "true"},
    },
    "WWW-Authenticate": {"description": "How to authenticate", "schema": TEXT},
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}},
}


def document(app: Litestar, schema: dict[str, Any]) -> dict[str, Any]:
    """The whole document, from the one that the framework makes."""
    schema = msgspec.json.decode(msgspec.json.encode(schema, enc_hook=str))
    types = [*TAKEN.values(), *answer_types(app), ProblemBody]
    _, bodies = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema["components"]["schemas"] = bodies
    for body in bodies.values():
        for name, field in body.get("properties", {}).items():
            if name.endswith(("_at", "_time")):
                _mark_time(field)
    schema["components"]["headers"] = HEADERS
    keyed = {handler.handler_name for handler in _handlers(app) if "scope" in handler.opt}
    for operations in schema["paths"].values():
        for operation in operations.values():
            if operation["operationId"] not in keyed:
                operation["security"] = []
            complete(operation)
    return schema


def _handlers(app: Litestar) -> Iterator[Any]:
    for route in app.routes:
        yield from getattr(route, "route_handlers", ())


def answer_types(app: Litestar) -> Iterator[type]:
    """The structs that the routes answer with, from their annotations."""
    for handler in _handlers(app):
        if handler.include_in_schema is not False:
            yield from _structs(handler.parsed_fn_signature.return_type.annotation)


def _structs(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for inner in get_args(annotation):
        yield from _structs(inner)


def _mark_time(field: dict[str, Any]) -> None:
    """msgspec names the format only of times that it is told to check; ours all have an offset."""
    for kind in (field, *field.get("anyOf", ())):
        if kind.get("type") == "string":
            kind["format"] = "date-time"


def complete(operation: dict[str, Any]) -> None:
    """Put in what the framework does not know of an operation: examples and headers."""
    name = operation["operationId"]
    operation.pop("deprecated", None)
    for parameter in operation.get("parameters", ()):
        _tidy(parameter)
    for media in operation.get("requestBody", {}).get("content", {}).values():
        _exemplify(media, examples.BODIES.get(name))
    answers = operation["responses"]
    if name == "upsert_user":
        answers["201"] = {**answers["200"]}
    for status, answer in list(answers.items()):
        problem = MEDIA_TYPE in answer.get("content", {})
        if int(status) >= 400 and not problem and name != "healthcheck":
            del answers[status]  # the framework's own idea of a 400
            continue
        if not problem:
            answer["description"] = DONE.get(int(status), answer["description"])
        for media in answer.get("content", {}).values():
            _exemplify(media, _problem(operation, int(status)) if problem else examples.ANSWERS.get(name))
        answer["headers"] = {
            header: {"$ref": f"#/components/headers/{header}"} for header in _headers(operation, int(status))
        }


def _exemplify(media: dict[str, Any], value: Any) -> None:
    if value is not None:  # a test sees that none is missing
        media["examples"] = {"example": {"value": value}}


def _headers(operation: dict[str, Any], status: int) -> Iterator[str]:
    yield "X-Request-ID"
    names = [parameter["name"] for parameter in operation.get("parameters", ())]
    if status < 300 and "cursor" in names:
        yield "Link"
    if status < 300 and "Idempotency-Key" in names:
        yield "Idempotent-Replayed"
    if status == 401:
        yield "WWW-Authenticate"
    if status in (429, 503):
        yield "Retry-After"


def _tidy(parameter: dict[str, Any]) -> None:
    """Absent is not null: a parameter that may be left out has a plain type."""
    for noise in ("deprecated", "allowEmptyValue", "allowReserved"):
        parameter.pop(noise, None)
    schema = parameter["schema"]
    schema.pop("description", None)
    for bound in ("minimum", "maximum"):
        if bound in schema:
            schema[bound] = int(schema[bound])
    if "oneOf" in schema:
        kinds = [kind for kind in schema.pop("oneOf") if kind != {"type": "null"}]
        schema.update(kinds[0])
    if parameter["in"] == "path" and schema["type"] == "integer":
        schema.update({"format": "int64", "minimum": 1, "maximum": 2**63 - 1})
        parameter["example"] = 1


def _problem(operation: dict[str, Any], status: int) -> dict[str, Any]:
    """An example of the problem with this status."""
    name, cls = operation["operationId"], CLASSES[status]
    code, detail, found = cls.default_code, "", []
    if status == 404:
        code = examples.NOT_FOUND.get(name, "user_not_found")
    elif status == 403:
        code = examples.FORBIDDEN.get(name, code)
    elif status == 409:
        code = examples.CONFLICTS.get(name, code)
    elif status == 400 and "requestBody" not in operation:
        code = "bad_query"
    elif status == 422:
        code, pointer, said = examples.INVALID
        detail, found = f"{pointer}: {said}", [FieldError(pointer, code, said)]
    body = ProblemBody(
        type=f"/docs#error-{code}",
        title=cls.title,
        status=status,
        detail=detail or CODES[code],
        code=code,
        request_id="9f86d081884c7d65",
        errors=found,
    )
    built: dict[str, Any] = msgspec.to_builtins(body)
    return built


class JsonDocument(OpenAPIRenderPlugin):
    """`/docs/openapi.json`, made at the first call."""

    made: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The whole document."""
        if self.made is None:
            self.made = msgspec.json.encode(document(request.app, openapi_schema))
        return self.made


class Page(OpenAPIRenderPlugin):
    """`/docs`, made at the first call."""

    made: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The whole page."""
        if self.made is None:
            self.made = docs_page.render(document(request.app, openapi_schema)).encode()
        return self.made


def config() -> OpenAPIConfig:
    """What Litestar needs to know."""
    return OpenAPIConfig(
        title="Tidings",
        version=__version__,
        description=DESCRIPTION,
        path="/docs",
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, method, path: handler.handler_name,
        render_plugins=[Page(path="/"), JsonDocument(path="/openapi.json", media_type="application/json")],  # type: ignore[arg-type]
        components=Components(
            security_schemes={
                "ApiKey": SecurityScheme(
                    type="apiKey",
                    name="X-API-Key",
                    security_scheme_in="header",
                    description="`tidings keys create` makes one.",
                )
            }
        ),
        security=[{"ApiKey": []}],
        tags=TAGS,
    )
