"""What a vendor may quote of a message in its refusal: to be masked in what is kept of that."""

from collections.abc import Iterator

from tidings.providers.contract import Message


def quotable(message: Message) -> tuple[str, ...]:
    """The texts of a message that are a person's: what it says, and where it is confirmed. Longest first, so that
    masking one leaves no piece of another.

    A refusal is kept longer than the message: deleting a user erases what was said to them, but not what became of it.
    """
    own = (message.receipt_url or "", message.title, message.body, message.data)
    return tuple(sorted(set(_texts(own)), key=len, reverse=True))


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, the names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts((*value.keys(), *value.values()))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
