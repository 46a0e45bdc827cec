"""Tidings: a self-hosted push notification service. Begin at `docs/walk.md`."""

__version__ = "0.1.0"
