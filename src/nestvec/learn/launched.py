"""What torchrun tells a process before any group is made; imports no torch."""

from __future__ import annotations

import os


def is_first() -> bool:
    """Whether this process, of those that train together, is the one that writes and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
