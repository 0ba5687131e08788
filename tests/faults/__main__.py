"""``python -m tests.faults [videos|kills|slides|operations]``: what must not go wrong.

Each is tried at length, and prints what was tried and what came of it. Exit code 1 when a promise
is broken.
"""

from __future__ import annotations

import sys
from importlib import import_module

PARTS = ("videos", "kills", "slides", "operations")


def main(words: list[str]) -> int:
    """Run the part that is named, with what it may be given; or all of them."""
    if not words:
        return max([main([name]) for name in PARTS])
    name, *more = words
    if name not in PARTS:
        print(f"{name}: give one of {', '.join(PARTS)}")  # noqa: T201
        return 2
    return import_module(f"tests.faults.{name}").main(more)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
