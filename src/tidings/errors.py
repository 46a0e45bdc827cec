"""Every error that a caller or operator can meet.

    TidingsError
    ├── SetupError              stops the start; the text says what to do
    ├── StaleClaim              a worker lost its lease; what it wanted to record was dropped
    └── Problem                 an answer of the API, RFC 9457
        ├── BadRequest          400  bad_json  bad_encoding  bad_query  bad_cursor  bad_idempotency_key
        │                            report_malformed
        ├── Unauthenticated     401  key_missing  key_unknown  key_revoked  key_expired
        │                            token_invalid
        ├── Forbidden           403  scope_missing  report_forged
        ├── NotFound            404  route_not_found  user_not_found  device_not_found  notification_not_found
        │                            broadcast_not_found  account_not_found  suppression_not_found
        │                            receipt_invalid  unsubscribe_invalid
        ├── MethodNotAllowed    405  method_not_allowed
        ├── TooSlow             408  body_too_slow
        ├── Conflict            409  not_cancellable  external_id_taken  account_name_taken  too_many_accounts
        ├── TooLarge            413  body_too_large
        ├── UnsupportedBody     415  encoding_unsupported
        ├── Invalid             422  invalid_body  invalid_field  missing_field  unknown_field  time_naive  time_past
        │                            time_out_of_range  credentials_refused  idempotency_mismatch
        ├── TooMany             429  rate_limited
        ├── InternalError       500  internal_error
        └── Unavailable         503  unavailable

Codes are stable: programs may branch on them. `CODES` explains each; `docs/errors.md` is checked against it.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

CODES: Mapping[str, str] = {
    "bad_json": "The body is not JSON. Check quotes, commas and the encoding (UTF-8).",
    "bad_encoding": "The body holds text that can't be stored: a NUL character or half of a surrogate pair.",
    "bad_cursor": "The cursor is not one that this list gave out. Start again without it.",
    "bad_query": "A query parameter has the wrong form. The detail names it.",
    "bad_idempotency_key": "The Idempotency-Key header must be 1 to 255 visible ASCII characters, without spaces.",
    "key_missing": "Send your API key in the X-API-Key header.",
    "key_unknown": "No such API key. `tidings keys list` shows the ones there are.",
    "key_revoked": "This API key was revoked. Make a new one with `tidings keys create`.",
    "key_expired": "This API key has expired. Make a new one with `tidings keys create`.",
    "token_invalid": "The user token is not one of this service, or has expired. Mint a new one.",
    "report_forged": "The report does not come from the vendor: its signature or password is wrong, or too old.",
    "report_malformed": "The report is not what the vendor sends. The detail says why.",
    "suppression_not_found": "This project has not suppressed that address.",
    "unsubscribe_invalid": "The address to unsubscribe was not made by this service.",
    "receipt_invalid": "The receipt address was not made by this service.",
    "scope_missing": "The API key lacks the scope that this call needs. The detail names it.",
    "user_not_found": "This project has no user with that id.",
    "device_not_found": "This user has no device with that id.",
    "broadcast_not_found": "This project has no broadcast with that id.",
    "account_not_found": "This project has no account with that id.",
    "notification_not_found": "This project has no notification with that id.",
    "route_not_found": "There is nothing at this path. /docs lists what there is.",
    "method_not_allowed": "The path exists, but not with this method. The Allow header says which.",
    "not_cancellable": "Only a notification that is still scheduled can be cancelled.",
    "external_id_taken": "Another user of the project has this external_id. Use PUT /api/users to upsert.",
    "account_name_taken": "Another account of the project has this name. Change that one, or choose another name.",
    "too_many_accounts": "The project has as many accounts as it may. Remove one that is not needed.",
    "credentials_refused": "The vendor does not take these credentials. The detail says what it answered.",
    "idempotency_mismatch": "This Idempotency-Key was used before with another request. Use a new key.",
    "body_too_slow": "The body did not arrive in time. Send it at once, or in smaller parts.",
    "body_too_large": "The body is larger than this route takes. The detail says how much it takes.",
    "encoding_unsupported": "Send the body as it is, without Content-Encoding.",
    "invalid_body": "The body as a whole has the wrong form. The detail says what was expected.",
    "invalid_field": "A field has the wrong type or is out of range. The pointer names it.",
    "missing_field": "A required field is absent. The pointer names it.",
    "unknown_field": "There is no such field. Unknown fields are refused so that a typo is not lost silently.",
    "time_naive": "Times need an offset, such as 2026-01-31T09:00:00Z.",
    "time_past": "The time lies more than a minute in the past.",
    "time_out_of_range": "The time is later than the year 9999 in UTC.",
    "rate_limited": "More calls than the key or the project may make. Retry-After says when to come again.",
    "internal_error": "Our fault. The log has the details under this request_id.",
    "unavailable": "A part of the service is away. Try again; with an Idempotency-Key nothing is done twice.",
}


class TidingsError(Exception):
    """The root of all errors of this package."""


class SetupError(TidingsError):
    """A setting, file or server is not as it must be. The text says what to do about it."""


class StaleClaim(TidingsError):
    """The task was claimed by another worker meanwhile. Nothing was recorded; the other one will do it."""


class FieldError(Struct, frozen=True):
    """One thing wrong with a body. `pointer`: RFC 6901, "" is the whole body."""

    pointer: str
    code: str
    detail: str


class Problem(TidingsError):
    """An answer that says what was wrong. The defaults of each subclass can be replaced when raising."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code or self.default_code
        self.detail = detail or CODES[self.code]
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(self.detail)


class BadRequest(Problem):
    status, title, default_code = 400, "Bad request", "bad_json"


class Unauthenticated(Problem):
    status, title, default_code = 401, "Not authenticated", "key_missing"


class Forbidden(Problem):
    status, title, default_code = 403, "Not allowed", "scope_missing"


class NotFound(Problem):
    status, title, default_code = 404, "Not found", "route_not_found"


class MethodNotAllowed(Problem):
    status, title, default_code = 405, "Method not allowed", "method_not_allowed"


class TooSlow(Problem):
    status, title, default_code = 408, "Too slow", "body_too_slow"


class Conflict(Problem):
    status, title, default_code = 409, "Conflict", "not_cancellable"


class TooLarge(Problem):
    status, title, default_code = 413, "Too large", "body_too_large"


class UnsupportedBody(Problem):
    status, title, default_code = 415, "Unsupported body", "encoding_unsupported"


class Invalid(Problem):
    status, title, default_code = 422, "Invalid", "invalid_body"


class TooMany(Problem):
    status, title, default_code = 429, "Too many requests", "rate_limited"


class InternalError(Problem):
    status, title, default_code = 500, "Internal error", "internal_error"


class Unavailable(Problem):
    status, title, default_code = 503, "Unavailable", "unavailable"
