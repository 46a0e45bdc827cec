"""Where a device confirms that a notification has arrived. The signed address is the proof; no key is needed."""

from typing import Any

from litestar import post
from litestar.params import FromPath

from tidings import deliveries
from tidings.api.auth import OPEN
from tidings.api.problems import problems
from tidings.api.services import Call, services
from tidings.deliveries import Confirmation
from tidings.errors import NotFound
from tidings.signing import BadToken, verify_receipt

PATH = "/api/receipts/"


@post(
    PATH + "{receipt:str}",
    status_code=204,
    opt=OPEN,
    tags=["Receipts"],
    summary="Confirm that a notification has arrived",
    responses=problems(404, key=False),
)
async def confirm_receipt(request: Call, receipt: FromPath[str]) -> None:
    """The address is in the push message, as `data.tidings_receipt`. The body is ignored. Twice is safe."""
    api = services(request)
    try:
        proof = verify_receipt(api.receipt_key, receipt)
    except BadToken:
        raise NotFound(code="receipt_invalid") from None
    confirmation = Confirmation(proof.project_id, proof.notification_id, proof.channel, proof.device_id)
    if not await deliveries.confirm(api.db, [confirmation]):
        raise NotFound(code="notification_not_found")


ROUTES: list[Any] = [confirm_receipt]
