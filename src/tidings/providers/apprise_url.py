"""A chat address: an Apprise URL, read and checked before anything is kept or called."""

import importlib
import logging
import re
from typing import Any
from urllib.parse import parse_qsl

from tidings.addresses import AddressRefused, Guard, check_url
from tidings.discreet import Discreet
from tidings.providers.apprise_services import ALIASES, SERVICES, Service

MAX_URL_CHARS = 2048
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_OURS = ("apprise", "urllib3", "requests")
PUBLIC = Guard()


class ChatUrlError(ValueError):
    """The text is no chat URL that can be used. It says why, and never quotes the URL: who has it can write there."""


class ChatUrl(Discreet, frozen=True):
    """A chat URL that passed. `scheme`: the service. repr() does not show the rest, which is as secret as a key."""

    scheme: str
    text: str

    def __repr__(self) -> str:
        return f"ChatUrl({self.scheme!r})"

    @property
    def service(self) -> Service:
        """What is known about the service."""
        return SERVICES[self.scheme]


def parse_chat_url(text: str, guard: Guard = PUBLIC) -> ChatUrl:
    """Read an Apprise URL: what stands in it is checked, no name is looked up and nothing is called.

    `guard`: where it may lead (`apprise_account.guard_of`). Raises ChatUrlError. The first URL of a service loads its
    part of Apprise, which takes some tenths of a second and about 25 MB once: not on the event loop.
    """
    url = scheme_of(text)
    plugin = open_plugin(url)
    if url.service.own_host and getattr(plugin, "host", None) and not _in_the_cloud(plugin):
        scheme = "https" if plugin.secure else "http"
        port = f":{plugin.port}" if plugin.port else ""
        try:
            check_url(f"{scheme}://{plugin.host}{port}/", guard)
        except AddressRefused as refused:
            raise ChatUrlError(f"the server in the {url.scheme} URL can't be called: {refused}") from None
    return url


def scheme_of(text: str) -> ChatUrl:
    """The first look, without Apprise: length, characters, scheme, parameters. Raises ChatUrlError."""
    if len(text) > MAX_URL_CHARS:
        raise ChatUrlError(f"a chat URL has at most {MAX_URL_CHARS} characters")
    if not text.isprintable() or " " in text:
        raise ChatUrlError("a chat URL must not hold a blank or a control character")
    found = _SCHEME.match(text)
    if found is None:
        raise ChatUrlError("must be an Apprise URL, such as slack://… or ntfys://…")
    scheme = found[1].lower()
    if scheme in ALIASES:
        raise ChatUrlError(f"{scheme} is called {ALIASES[scheme]} here")
    service = SERVICES.get(scheme)
    if service is None:
        raise ChatUrlError(f"there is no chat service with this scheme; there are {', '.join(sorted(SERVICES))}")
    for name, _ in parse_qsl(text.partition("?")[2], keep_blank_values=True):
        if not service.takes(name.lower()):
            shown = name if name.isascii() and len(name) <= 20 else "a parameter"
            raise ChatUrlError(f"{shown} can't stand in a {scheme} URL here")
    return ChatUrl(scheme, text)


def open_plugin(url: ChatUrl) -> Any:
    """Apprise's own object for the URL, with its HTTP guarded. Raises ChatUrlError when Apprise can't read it, or
    when it names several places: if one of them failed, what should be repeated?"""
    kind = load(url.service)
    apprise = importlib.import_module("apprise")
    asset = apprise.AppriseAsset(
        app_id="Tidings",
        app_desc="Tidings",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        image_path_mask="",
        http_redirects=False,
        allow_templates=False,
        async_mode=False,
        service_timeout=0,  # one call, on this thread; the deadline is ours
        storage_mode="memory",
    )
    try:
        read = kind.parse_url(url.text)
        plugin = kind(asset=asset, **read) if read else None
    except (TypeError, ValueError, AttributeError, apprise.exception.AppriseException):
        plugin = None
    if plugin is None:
        raise ChatUrlError(f"the {url.scheme} URL is not as Apprise describes it: a part is missing or wrong")
    if len(plugin) != 1:
        raise ChatUrlError(f"the {url.scheme} URL must name exactly one place to write to; register one URL for each")
    plugin.request_rate_per_sec = 0  # pace is kept by the worker, for all messages of an account
    plugin.verify_certificate = True
    return plugin


def load(service: Service) -> Any:
    """The plugin's class. Only its own module is loaded, not the 250 others. Twice is safe."""
    # Apprise's lines hold URLs, and urllib3's hold paths, which are the secret of a webhook. What matters is kept by
    # `apprise_http`.
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    from tidings.providers.apprise_http import GuardedRequests  # noqa: PLC0415 - with its library, when needed

    module = importlib.import_module(service.module)
    if not isinstance(module.requests, GuardedRequests):
        module.requests = GuardedRequests()  # type: ignore[attr-defined]
    return getattr(module, service.name)


def _in_the_cloud(plugin: Any) -> bool:
    """ntfy's URL without a server of one's own names a topic where others have the host."""
    return str(getattr(plugin, "mode", "")).lower().endswith("cloud")
