"""Emulators of the vendors: Tidings runs, is tried out and is tested without any account.

`start` runs them in this process, `python -m tidings.emulators` in one of their own. What they can be
told to do wrong is in `faults.py` and `magic_tokens.py`, how to ask them what they saw in `control.py`.
"""

from tidings.emulators.running import Emulators, start

__all__ = ["Emulators", "start"]
