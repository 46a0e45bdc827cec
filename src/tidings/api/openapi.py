"""The OpenAPI 3.1 document and the page that shows it: `/docs` and `/docs/openapi.json`.

The page needs no script and nothing from elsewhere, so it works on a machine without internet.
"""

import html
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from tidings import __version__
from tidings.api.bodies import TAKEN
from tidings.errors import CODES

DESCRIPTION = (
    "Send one call, reach a person on every channel. Every call but the health check carries your key in the "
    "`X-API-Key` header. Problems are answered as `application/problem+json` (RFC 9457)."
)


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """The framework's document with the request bodies, which are decoded and so described by msgspec."""
    _, components = msgspec.json.schema_components(
        list(TAKEN.values()), ref_template="#/components/schemas/{name}"
    )
    schema = msgspec.json.decode(msgspec.json.encode(schema, enc_hook=str))
    schema.setdefault("components", {}).setdefault("schemas", {}).update(components)
    for path in schema["paths"].values():
        for operation in path.values():
            if operation.get("tags", [""])[0] in ("Health", "Receipts"):
                operation["security"] = []
    return schema


class JsonDocument(OpenAPIRenderPlugin):
    """`/docs/openapi.json`."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The whole document."""
        return msgspec.json.encode(complete(openapi_schema))


class Page(OpenAPIRenderPlugin):
    """`/docs`: the document as one page of HTML."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Every operation with its body and answers, then every error code."""
        schema = complete(openapi_schema)
        parts = [_head(schema)]
        for path, operations in schema["paths"].items():
            parts += [_operation(method, path, operation) for method, operation in operations.items()]
        parts.append("<h2>Bodies</h2>")
        parts += [_component(name, body) for name, body in sorted(schema["components"]["schemas"].items())]
        parts.append("<h2>Error codes</h2><dl>")
        parts += [
            f'<dt id="error-{code}"><code>{code}</code></dt><dd>{html.escape(said)}</dd>' for code, said in CODES.items()
        ]
        return "".join([*parts, "</dl></main>"]).encode()


_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882}
body{font:16px/1.5 system-ui,sans-serif;margin:0}main{max-width:52rem;margin:auto;padding:1rem}
section{border-top:1px solid var(--line);padding:.5rem 0}code,pre{font:14px/1.45 ui-monospace,monospace}
pre{background:var(--soft);padding:.6rem;overflow:auto;border-radius:6px}
.m{display:inline-block;min-width:4.2em;font-weight:700}summary{cursor:pointer}dt{margin-top:.6rem}
"""


def _head(schema: dict[str, Any]) -> str:
    title = html.escape(schema["info"]["title"])
    return (
        f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><main><h1>{title}</h1>"
        f"<p>{html.escape(DESCRIPTION)} The document itself: "
        f'<a href="/docs/openapi.json">openapi.json</a>.</p>'
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    name = html.escape(operation.get("summary", ""))
    parts = [
        f'<section id="{html.escape(operation["operationId"])}"><h3><code><span class="m">{method.upper()}</span>'
        f"{html.escape(path)}</code></h3><p><b>{name}.</b> {html.escape(operation.get('description') or '')}</p>"
    ]
    for parameter in operation.get("parameters") or ():
        said = html.escape(parameter.get("description") or "")
        parts.append(f"<div><code>{html.escape(parameter['name'])}</code> ({parameter['in']}) {said}</div>")
    for media in (operation.get("requestBody") or {}).get("content", {}).values():
        parts.append(f"<p>Body: {_reference(media.get('schema', {}))}</p>")
    answers = ", ".join(
        f"{status} {html.escape(answer.get('description') or '')}"
        for status, answer in (operation.get("responses") or {}).items()
    )
    return "".join([*parts, f"<p>Answers: {answers}</p></section>"])


def _reference(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return f'<a href="#body-{name}"><code>{name}</code></a>' if name else "<code>object</code>"


def _component(name: str, schema: dict[str, Any]) -> str:
    shown = html.escape(msgspec.json.format(msgspec.json.encode(schema), indent=2).decode())
    return (
        f'<details id="body-{html.escape(name)}"><summary><code>{html.escape(name)}</code> '
        f"{html.escape(schema.get('description') or '')}</summary><pre>{shown}</pre></details>"
    )


def config() -> OpenAPIConfig:
    """What Litestar needs to know."""
    return OpenAPIConfig(
        title="Tidings",
        version=__version__,
        description=DESCRIPTION,
        path="/docs",
        use_handler_docstrings=True,
        render_plugins=[Page(path="/"), JsonDocument(path="/openapi.json", media_type="application/json")],  # type: ignore[arg-type]
        components=Components(
            security_schemes={"ApiKey": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header")}
        ),
        security=[{"ApiKey": []}],
    )
