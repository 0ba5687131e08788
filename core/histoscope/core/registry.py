"""Names to things, loaded when asked for: a table of our own plus other people's entry points."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from histoscope.core.errors import UsageError, near_word

T = TypeVar("T")


class Registry(Generic[T]):
    """Built-in names (``"module:attribute"``) and entry points of one group.

    Args:
        kind: what a name stands for, used in messages, for example ``"objective"``.
        builtin: name to ``"module:attribute"``; listing imports nothing.
        group: entry-point group that other distributions add to, or None.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], group: str | None = None) -> None:
        self.kind = kind
        self._builtin = dict(builtin)
        self._group = group

    def targets(self) -> dict[str, str]:
        """All names with their ``"module:attribute"``, built-in ones first; nothing is loaded."""
        return {**self._builtin, **{point.name: point.value for point in self._points()}}

    def names(self) -> list[str]:
        """All names, sorted, without loading anything."""
        return sorted(self.targets())

    def load(self, name: str) -> T:
        """Load what ``name`` stands for.

        Raises:
            UsageError: unknown (the near word is offered), claimed twice, or its plug-in is
                broken (its distribution is named).
        """
        points = [point for point in self._points() if point.name == name]
        if len(points) + (name in self._builtin) > 1:
            owners = ", ".join(_owner(point) for point in points)
            raise UsageError(f"{self.kind} {name!r} is claimed more than once ({owners})")
        if name in self._builtin:
            module, attribute = self._builtin[name].split(":")
            loaded: T = getattr(importlib.import_module(module), attribute)
            return loaded
        if not points:
            known = self.names()
            raise UsageError(
                f"unknown {self.kind} {name!r}{near_word(name, known)}; known: {', '.join(known)}"
            )
        try:
            loaded = points[0].load()
        except Exception as fault:
            owner = _owner(points[0])
            raise UsageError(f"{self.kind} {name!r} of {owner} does not load: {fault}") from fault
        return loaded

    def _points(self) -> list[EntryPoint]:
        return list(entry_points(group=self._group)) if self._group else []


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
