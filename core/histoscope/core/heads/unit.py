"""Features at unit length, of NumPy arrays and torch tensors alike."""

from __future__ import annotations

from typing import Any, TypeVar

Numbers = TypeVar("Numbers")
_LEAST = 1e-24  # of a squared length


def unit_rows(features: Numbers, centre: Numbers) -> Numbers:
    """Features seen from a centre, at unit length (Wang et al. 2019, "SimpleShot", CL2N).

    Args:
        features: (rows, dim).
        centre: (dim,), of the same kind.
    """
    away: Any = features - centre  # type: ignore[operator]
    squares = (away * away).sum(axis=1, keepdims=True)
    unit: Numbers = away / squares.clip(min=_LEAST) ** 0.5
    return unit
