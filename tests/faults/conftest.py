"""The private servers of the fault tests."""

from tests.servers import servers

__all__ = ["servers"]
