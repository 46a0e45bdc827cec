"""What every SMS vendor's account says about its calls, whatever its credentials are."""

from tidings.discreet import Discreet
from tidings.providers.account_checks import check_base_url, check_calls, check_waits
from tidings.providers.sms_verdict import RETRY_FLOOR_S


class SmsAccount(Discreet, frozen=True, kw_only=True):
    """How a vendor is called.

    `base_url`: http only for the emulator. `ca_pem`: more roots to trust. `timeout_s`: for one call; what has no
    answer by then is of unknown fate, so be generous. `retry_floor_s`: the least wait before a repeat when the vendor
    names none. `connections`: times 128 calls at once, at most. `max_segments`: a longer text is refused, not cut.
    `smart`: see `sms_text.compose`.
    """

    base_url: str
    ca_pem: bytes | None = None
    emulated: bool = False
    timeout_s: float = 20.0
    retry_floor_s: float = RETRY_FLOOR_S
    connections: int = 2
    max_segments: int = 10
    smart: bool = True


def check_sms_calls(account: SmsAccount, usual: str, because: str) -> None:
    """Refuse an account that can't be called. ValueError: one sentence. `usual`, `because`: see `check_base_url`."""
    check_base_url(account.base_url, usual, emulated=account.emulated, because=because)
    check_calls(timeout_s=account.timeout_s, connections=account.connections)
    check_waits(retry_floor_s=account.retry_floor_s)
