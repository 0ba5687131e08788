"""Questions with named answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["sample", "source"]


@dataclass(frozen=True)
class Task:
    """A question with named answers about a sample or a source.

    Attributes:
        name: for example ``"tissue"``.
        classes: class names; the position is the id.
        exclusive: whether exactly one class holds, or any number of them (multi-label).
        level: what one label speaks of.
    """

    name: str
    classes: tuple[str, ...]
    exclusive: bool = True
    level: Level = "sample"
