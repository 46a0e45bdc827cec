"""`/docs`: the OpenAPI document as one page of HTML.

The page needs no script and nothing from elsewhere, so it works on a machine without internet.
"""

import re
from html import escape
from itertools import groupby
from typing import Any

import msgspec

from tidings.errors import CODES, Problem

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--key:#2456b8}
@media(prefers-color-scheme:dark){:root{--key:#8fb4ff}}
*{box-sizing:border-box}body{font:16px/1.55 system-ui,sans-serif;margin:0}
main{max-width:56rem;margin:auto;padding:1.5rem 1rem 4rem}
h1{margin:.2rem 0}h2{margin:2.5rem 0 .5rem;border-bottom:2px solid var(--line)}h3{margin:0;font-size:1rem}
section{padding:1rem 0;border-top:1px solid var(--line)}h2+p+section{border-top:0}
code,pre{font:13.5px/1.5 ui-monospace,monospace}
pre{background:var(--soft);padding:.7rem;overflow:auto;border-radius:6px}
.m{display:inline-block;min-width:4.4em;font-weight:700;color:var(--key)}a{color:var(--key)}
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem .25rem 0;text-align:left;vertical-align:top}
td{border-top:1px solid var(--line)}summary{cursor:pointer}dt{margin-top:.7rem}dd{margin-left:1.5rem}
:target{outline:2px solid var(--key);outline-offset:4px;border-radius:4px}
"""


def render(document: dict[str, Any]) -> str:
    """The whole page: what there is, every operation with a call to try, the bodies, the error codes."""
    told = {tag["name"]: tag.get("description", "") for tag in document.get("tags", ())}
    found = [
        (operation["tags"][0], method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    parts = [_head(document), _contents(found)]
    for tag, group in groupby(found, key=lambda item: item[0]):
        parts.append(f'<h2 id="{_slug(tag)}">{escape(tag)}</h2><p>{_text(told.get(tag, ""))}</p>')
        parts += [_operation(method, path, operation) for _, method, path, operation in group]
    parts.append('<h2 id="bodies">Bodies</h2>')
    parts += [_component(name, body) for name, body in sorted(document["components"]["schemas"].items())]
    return "".join([*parts, _errors(), "</main></html>"])


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())


def _text(text: str) -> str:
    """Our own prose, in which backquotes mark code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))


def _head(document: dict[str, Any]) -> str:
    title = escape(document["info"]["title"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title} API</title><style>{_STYLE}</style></head><body><main><h1>{title} API</h1>"
        f"<p>{_text(document['info']['description'])}</p>"
        f"<p>Version {escape(document['info']['version'])}. For programs: "
        '<a href="/docs/openapi.json">openapi.json</a>, OpenAPI 3.1.</p>'
    )


def _contents(found: list[tuple[str, str, str, dict[str, Any]]]) -> str:
    lines = [
        f'<tr><td><code class="m">{method}</code></td><td><a href="#{escape(operation["operationId"])}">'
        f"<code>{escape(path)}</code></a></td><td>{_text(operation.get('summary', ''))}</td></tr>"
        for _, method, path, operation in found
    ]
    return f"<nav><table>{''.join(lines)}</table></nav>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    name = operation["operationId"]
    parts = [
        f'<section id="{escape(name)}"><h3><code><span class="m">{method}</span> {escape(path)}</code></h3>'
        f"<p><b>{_text(operation.get('summary', ''))}.</b> {_text(operation.get('description') or '')}</p>"
    ]
    rows = [
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{p['in']}</td>"
        f"<td>{_text(p.get('description') or '')}</td></tr>"
        for p in operation.get("parameters") or ()
        if p["in"] != "path"
    ]
    if rows:
        parts.append(f"<table>{''.join(rows)}</table>")
    parts.append(f"<pre>{escape(curl(method, path, operation), quote=False)}</pre>")
    answers = operation.get("responses") or {}
    for status, answer in answers.items():
        if status < "300":
            parts.append(f"<p>{status} {_schema_link(answer)}</p>{_example(answer)}")
    problems = ", ".join(
        f'<a href="#status-{status}">{status}</a> {escape(answer.get("description") or "")}'
        for status, answer in answers.items()
        if status >= "300"
    )
    return "".join([*parts, f"<p>Otherwise: {problems}.</p></section>"])


def curl(method: str, path: str, operation: dict[str, Any]) -> str:
    """A call that can be pasted into a shell: `$KEY` is the API key, `$HOST` where the API is."""
    told = re.sub(r"\{(\w+)\}", lambda name: "1" if name[1].endswith("_id") else f"${name[1].upper()}", path)
    parts = ["curl" if method in ("GET", "POST") else f"curl -X {method}", f'"$HOST{told}"']
    if operation.get("security") != []:
        parts.append('-H "X-API-Key: $KEY"')
    body = _first_example(operation.get("requestBody") or {})
    if body is not None:
        parts.append(f"-d '{msgspec.json.encode(body).decode()}'")
    elif method == "POST":
        parts[0] = "curl -X POST"
    return " \\\n  ".join(parts) if len(" ".join(parts)) > 90 else " ".join(parts)


def _first_example(holder: dict[str, Any]) -> Any:
    for media in (holder.get("content") or {}).values():
        for example in (media.get("examples") or {}).values():
            return example["value"]
    return None


def _example(answer: dict[str, Any]) -> str:
    value = _first_example(answer)
    return f"<pre>{escape(_json(value), quote=False)}</pre>" if value is not None else ""


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _schema_link(answer: dict[str, Any]) -> str:
    for media in (answer.get("content") or {}).values():
        schema = media.get("schema", {})
        name = schema.get("$ref", schema.get("items", {}).get("$ref", "")).rsplit("/", 1)[-1]
        listed = "list of " if "items" in schema else ""
        return f'{listed}<a href="#body-{escape(name)}"><code>{escape(name)}</code></a>' if name else ""
    return escape(answer.get("description") or "")


def _component(name: str, schema: dict[str, Any]) -> str:
    return (
        f'<details id="body-{escape(name)}"><summary><code>{escape(name)}</code> '
        f"{_text(schema.get('description') or '')}</summary><pre>{escape(_json(schema), quote=False)}</pre></details>"
    )


def _errors() -> str:
    parts = ['<h2 id="errors">Error codes</h2><p>Stable: programs may branch on them.</p><dl>']
    parts += [f'<dt id="error-{code}"><code>{code}</code></dt><dd>{_text(said)}</dd>' for code, said in CODES.items()]
    parts.append('</dl><h2 id="statuses">Problem statuses</h2><dl>')
    for cls in sorted(Problem.__subclasses__(), key=lambda cls: cls.status):
        parts.append(f'<dt id="status-{cls.status}"><code>{cls.status}</code></dt><dd>{escape(cls.title)}</dd>')
    return "".join([*parts, "</dl>"])
