"""What pages and apps ask for themselves, without an API key."""

from typing import Any

from litestar import Response, get
from msgspec import Struct

from tidings.api.auth import OPEN
from tidings.api.problems import problems
from tidings.errors import NotFound

CACHE_S = 300


class VapidPublicKey(Struct, frozen=True):
    """`public_key`: for `pushManager.subscribe({applicationServerKey: …})`, 65 bytes in base64url."""

    public_key: str


def routes(vapid_public_key: str | None) -> list[Any]:
    """The routes. `vapid_public_key`: what the web push account signs with, None when there is no account."""

    @get(
        "/client/vapid-public-key",
        opt=OPEN,
        tags=["Client"],
        summary="The key that browsers subscribe with",
        responses=problems(404, key=False),
    )
    async def read_vapid_public_key() -> Response[VapidPublicKey]:
        """A subscription is bound to this key for life. 404 when Web Push is not configured."""
        if vapid_public_key is None:
            raise NotFound("Web Push is not configured.")
        return Response(VapidPublicKey(vapid_public_key), headers={"Cache-Control": f"public, max-age={CACHE_S}"})

    return [read_vapid_public_key]
