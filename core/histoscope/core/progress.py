"""How long work tells where it is. The core reports; apps choose what a person sees."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """One piece of long work at a time."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin ``what``: ``total`` units are expected, 0 when unknown."""

    def advance(self, count: int = 1) -> None:
        """``count`` more units are done."""

    def finish(self) -> None:
        """The work begun last is over."""

    def say(self, line: str) -> None:
        """One line that the user should read: what was chosen, skipped or refused."""


class Silent:
    """Reports to nobody."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Nothing."""

    def advance(self, count: int = 1) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""
