"""Processes that share one training."""

from __future__ import annotations

import os


def ranks() -> tuple[int, int]:
    """Processes that share this training, in all and on this machine, as torchrun says."""
    return int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return int(os.environ.get("RANK", 0)) == 0
