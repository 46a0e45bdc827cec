"""Lists, page by page: `limit`, an opaque `cursor`, and the next page in the `Link` header (RFC 8288)."""

import re
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Request
from litestar.params import QueryParameter

from tidings.errors import BadRequest

Limit = Annotated[int, QueryParameter(ge=1, le=500, description="How many to answer at most")]
CURSOR = r"^c[1-9][0-9]{0,17}$"
Cursor = Annotated[str | None, QueryParameter(pattern=CURSOR, description="Where to go on: from the Link header")]
MOST_ID = 2**63 - 1


def one_of(words: Sequence[str], description: str) -> QueryParameter:
    """A parameter that takes one of these words.

    Its type is a string and not an enum that may be absent: for that the framework takes the word "null" as absent.
    """
    pattern = f"^({'|'.join(words)})$"
    return QueryParameter(pattern=pattern, description=description, schema_extra={"enum": list(words)})


def read_cursor(cursor: str | None, default: int) -> int:
    """The id to go on from. Raises `BadRequest` (bad_cursor) for anything that no list gave out."""
    if cursor is None:
        return default
    if not re.fullmatch(CURSOR, cursor) or not cursor.isascii():
        raise BadRequest(code="bad_cursor")
    return int(cursor[1:])


def next_link(request: Request[Any, Any, Any], last_id: int | None) -> dict[str, str]:
    """The header for the page after the one that ends with `last_id`; none if that was the last page."""
    if last_id is None:
        return {}
    query = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"] + [("cursor", f"c{last_id}")]
    return {"Link": f'<{request.url.path}?{urlencode(query)}>; rel="next"'}


def last_of(items: list[Any], limit: int) -> int | None:
    """The id to go on from, if the page is full."""
    return items[-1].id if len(items) >= limit else None
