"""The chat services that an Apprise URL may name, and what may stand in it.

Apprise knows some 250 schemas, and among them some that start programs, write to this machine's desktop or log, speak
protocols of their own or read files. So this is a list of what is allowed: services that are spoken to by HTTP alone,
whose calls `apprise_http` can therefore guard.
"""

from collections.abc import Mapping

from msgspec import Struct

FORMATS = ("text", "markdown", "html")
_EVERYWHERE = frozenset({"format"})


class Service(Struct, frozen=True):
    """One of Apprise's plugins. `own_host`: the URL says where it is; otherwise it is the vendor's own place.

    `parameters`: what may stand in the URL's query, besides `format`. Left out everywhere, whatever Apprise takes: what
    names a file or another address (`template`, `attach`, `avatar_url`), weakens the call (`verify`, `redirect`), or is
    ours to decide (`cto`, `rto`, `retry`, `wait`, `overflow`, `store`).
    """

    module: str
    name: str
    own_host: bool = False
    parameters: frozenset[str] = frozenset()

    def takes(self, parameter: str) -> bool:
        """Whether a parameter may stand in the URL."""
        return parameter in self.parameters or parameter in _EVERYWHERE


def _of(module: str, name: str, *parameters: str) -> Service:
    return Service(f"apprise.plugins.{module}", name, parameters=frozenset(parameters))


def _own(module: str, name: str, *parameters: str) -> Service:
    return Service(f"apprise.plugins.{module}", name, own_host=True, parameters=frozenset(parameters))


_FORM = _own("custom_form", "NotifyForm", "method")
_GOTIFY = _own("gotify", "NotifyGotify", "priority")
_JSON = _own("custom_json", "NotifyJSON", "method")
_MATTERMOST = _own("mattermost", "NotifyMattermost", "channel", "to", "botname", "mode", "image")
_NEXTCLOUD = _own("nextcloudtalk", "NotifyNextcloudTalk", "silent", "url_prefix", "secret")
_NTFY = _own(
    "ntfy", "NotifyNtfy", "priority", "xtags", "click", "delay", "actions", "auth", "token", "mode", "to", "image"
)
_ROCKET = _own("rocketchat", "NotifyRocketChat", "mode", "to", "webhook", "avatar")
_WEBEX = _of("webexteams", "NotifyWebexTeams", "mode", "to", "token")
_WORKFLOWS = Service(
    "apprise.plugins.workflows",
    "NotifyWorkflows",
    own_host=True,  # <region>.logic.azure.com
    parameters=frozenset(
        {"id", "sig", "ver", "api-version", "wrap", "pa", "powerautomate", "route", "routeid", "image"}
    ),
)
_XML = _own("custom_xml", "NotifyXML", "method")

SERVICES: Mapping[str, Service] = {
    "slack": _of("slack", "NotifySlack", "to", "token", "mode", "blocks", "footer", "timestamp", "image"),
    "discord": _of("discord", "NotifyDiscord", "thread", "tts", "fields", "footer", "flags", "ping", "avatar", "image"),
    "tgram": _of("telegram", "NotifyTelegram", "to", "topic", "thread", "silent", "preview", "mdv", "image"),
    "gchat": _of("google_chat", "NotifyGoogleChat", "thread", "key", "token", "workspace"),
    "webex": _WEBEX,
    "wxteams": _WEBEX,
    "workflow": _WORKFLOWS,
    "workflows": _WORKFLOWS,
    "zulip": _of("zulip", "NotifyZulip", "to", "token"),
    "pover": _of("pushover", "NotifyPushover", "to", "priority", "sound", "expire", "interval", "url", "url_title"),
    "lark": _of("lark", "NotifyLark"),
    "feishu": _of("feishu", "NotifyFeishu", "token"),
    "dingtalk": _of("dingtalk", "NotifyDingTalk", "secret", "to", "token"),
    "wecombot": _of("wecombot", "NotifyWeComBot", "key"),
    "ntfy": _NTFY,
    "ntfys": _NTFY,
    "gotify": _GOTIFY,
    "gotifys": _GOTIFY,
    "mmost": _MATTERMOST,
    "mmosts": _MATTERMOST,
    "rocket": _ROCKET,
    "rockets": _ROCKET,
    "nctalk": _NEXTCLOUD,
    "nctalks": _NEXTCLOUD,
    "json": _JSON,
    "jsons": _JSON,
    "form": _FORM,
    "forms": _FORM,
    "xml": _XML,
    "xmls": _XML,
}
ALIASES: Mapping[str, str] = {"telegram": "tgram", "msteams": "workflows", "teams": "workflows"}
"""What people write instead: the answer names the right word."""
