"""Whether refused addresses are the addresses' fault.

A wrong bundle id, the wrong Firebase project or another VAPID key make every address look dead. Only an address that
the vendor accepts shows that the account is in order. So each acceptance vouches for a limited number of refusals, and
what goes beyond is held back: the devices stay as they are until the account has shown again that it works.
"""

from tidings.providers.contract import Gone, Outcome, Reason

SUSPECT = frozenset({Reason.INVALID_ADDRESS, Reason.UNREGISTERED, Reason.SENDER_MISMATCH})


def blames_address(outcome: Outcome) -> bool:
    """A refusal that a wrong account would give, too. That a person opted out is not one."""
    return isinstance(outcome, Gone) and outcome.reason in SUSPECT


class Doubt:
    """Refused addresses since the last accepted one. Other answers change nothing. Not thread-safe.

    `believed`: so many refusals are believed; `suspicious`: so many, and the account itself is in doubt.
    """

    def __init__(self, believed: int, suspicious: int) -> None:
        self._believed = believed
        self._suspicious = suspicious
        self.refused = 0

    def accepted(self) -> None:
        """The vendor took a message: the account works."""
        self.refused = 0

    def believe(self) -> bool:
        """One more address is refused. False: keep its device."""
        self.refused += 1
        return self.refused <= self._believed

    @property
    def suspicious(self) -> bool:
        """So many refusals in a row that the account must be at fault."""
        return self.refused >= self._suspicious
