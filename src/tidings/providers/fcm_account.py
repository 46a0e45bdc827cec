"""A Google service account: the JSON key file that the Firebase console gives, parsed and checked."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tidings.discreet import Discreet

# The numeric project number works in the id's place (FCM v1 discovery document), and old ids carry a domain
# ("example.com:shop"). The id becomes part of a URL path, so nothing else may pass.
_PROJECT_ID = re.compile(r"[a-z0-9][a-z0-9.:-]{0,62}")
_REQUIRED = ("project_id", "client_email", "private_key", "private_key_id", "token_uri")


class ServiceAccountError(ValueError):
    """The service account can't be used; the text is one sentence for the person who configures it."""


class ServiceAccount(Discreet, frozen=True):
    """What is needed of the key file. `private_key` is an RSA key in PKCS#8 PEM and never shown by repr()."""

    project_id: str
    client_email: str
    private_key: str
    private_key_id: str
    token_uri: str

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email!r}, project_id={self.project_id!r})"


def parse_service_account(raw: bytes | str | Mapping[str, Any]) -> ServiceAccount:
    """The account from the key file's JSON text, or from the object it holds; fields of no use are ignored.

    ServiceAccountError names the field that is missing or bad, and never quotes a value.
    """
    fields = _fields(raw)
    if fields.get("type", "service_account") != "service_account":
        raise ServiceAccountError("type is not service_account: another kind of Google credential file")
    for name in _REQUIRED:
        value = fields.get(name)
        if value is None:
            raise ServiceAccountError(f"{name} is missing from the service account")
        if not isinstance(value, str) or not value.strip():
            raise ServiceAccountError(f"{name} of the service account must be a text that is not empty")
    account = ServiceAccount(**{name: fields[name].strip() for name in _REQUIRED})
    if not _PROJECT_ID.fullmatch(account.project_id):
        raise ServiceAccountError("project_id of the service account is not a Google Cloud project id")
    if not _is_http_url(account.token_uri):
        raise ServiceAccountError("token_uri of the service account is not an http(s) URL")
    load_private_key(account)
    return account


def load_private_key(account: ServiceAccount) -> RSAPrivateKey:
    """The key, ready to sign with. ServiceAccountError when it is not an unencrypted RSA key in PEM."""
    try:
        key = load_pem_private_key(account.private_key.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ServiceAccountError(
            "private_key of the service account must be an unencrypted PEM key, with its line breaks"
        ) from error
    if not isinstance(key, RSAPrivateKey):
        raise ServiceAccountError("private_key of the service account is not an RSA key")
    return key


def check_token_uri(account: ServiceAccount) -> None:
    """Refuse a token endpoint that isn't Google's own: who may set an account could otherwise make the
    service call any address inside its network. Not for emulated accounts: theirs is the emulator.
    """
    url = urlsplit(account.token_uri)
    host = url.hostname or ""
    if url.scheme != "https" or not (host == "accounts.google.com" or host.endswith(".googleapis.com")):
        raise ServiceAccountError("token_uri of the service account must be an https URL of googleapis.com")


def _fields(raw: bytes | str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(raw, Mapping):
        return raw
    try:
        fields = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ServiceAccountError("the service account is not valid JSON") from error
    if not isinstance(fields, dict):
        raise ServiceAccountError("the service account must be a JSON object")
    return fields


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False
