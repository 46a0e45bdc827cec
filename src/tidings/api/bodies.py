"""Request bodies: read within bounds, decoded strictly, described in the OpenAPI document.

Litestar would decode loosely (`"1"` passes for an integer), so bodies are decoded here and only declared to it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from litestar import Request
from litestar.openapi.spec import OpenAPIMediaType, Operation, Reference, RequestBody

from tidings.api.problems import field_error, invalid
from tidings.errors import BadRequest, FieldError, TooLarge, UnsupportedBody

T = TypeVar("T")

BATCH_FACTOR = 8  # a batch may have so many times the bytes of another body


@lru_cache
def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(kind)


async def raw_body(request: Request[Any, Any, Any], most_bytes: int) -> bytes:
    """The body, unless it is too large, encoded, or holds text that can't be stored."""
    if "content-encoding" in request.headers:
        raise UnsupportedBody()
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise TooLarge(f"The body is larger than {most_bytes} bytes.", headers={"Connection": "close"})
        chunks.append(chunk)
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if b"\\u0000" in body and _has_nul(body):
        raise BadRequest(code="bad_encoding")
    return body


def _has_nul(body: bytes) -> bool:
    r"""Whether `\u0000` in the body is really an escaped NUL, and not an escaped backslash before `u0000`."""
    at = body.find(b"\\u0000")
    while at >= 0:
        before = len(body[:at]) - len(body[:at].rstrip(b"\\"))
        if before % 2 == 0:
            return True
        at = body.find(b"\\u0000", at + 1)
    return False


def decode(body: bytes | msgspec.Raw, kind: type[T], prefix: str = "") -> T:
    """A body as a struct. Raises `BadRequest` for what is not JSON, `Invalid` with a pointer for what does not fit."""
    try:
        return _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        raise invalid(field_error(error, prefix)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None


MOST_DEPTH = 32  # of `data`: what a person would write is far below


def check_depth(value: Any, pointer: str, depth: int = MOST_DEPTH) -> None:
    """Raises `Invalid` when the value is nested deeper than other systems care to read."""
    if depth <= 0:
        raise invalid(FieldError(pointer, "invalid_field", f"Nested deeper than {MOST_DEPTH} levels"))
    if isinstance(value, dict):
        for inner in value.values():
            if isinstance(inner, dict | list):
                check_depth(inner, pointer, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict | list):
                check_depth(inner, pointer, depth - 1)


TAKEN: dict[str, type] = {}  # filled while the route modules are imported, read when the document is made


def takes(kind: type) -> type[Operation]:
    """Declare a route's body to the OpenAPI document: `operation_class=takes(NewUser)`."""
    TAKEN[kind.__name__] = kind
    _decoder(kind)  # a type that msgspec can't decode is found here, not at the first call

    @dataclass
    class OperationWithBody(Operation):
        def __post_init__(self) -> None:
            reference = Reference(ref=f"#/components/schemas/{kind.__name__}")
            self.request_body = RequestBody(
                content={"application/json": OpenAPIMediaType(schema=reference)}, required=True
            )

    return OperationWithBody
