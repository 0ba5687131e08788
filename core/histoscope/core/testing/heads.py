"""What every head owes: ``check_head(head, features)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from histoscope.core.heads import HEADS
from histoscope.core.heads.contract import Head, Rows


def check_head(head: Head, features: Rows) -> None:
    """See that a head keeps its contract.

    Args:
        head: fitted.
        features: that it may be asked about, (rows, dim), at least two different rows.

    Raises:
        AssertionError: saying what it owes.
    """
    scores, classes = head.probabilities(features), len(head.cut)
    assert scores.shape == (len(features), classes), f"probabilities: {scores.shape}"
    assert scores.dtype == np.float32, f"probabilities: {scores.dtype}, not float32"
    assert ((scores >= 0) & (scores <= 1)).all(), "probabilities: outside 0 to 1"
    assert head.probabilities(features[:0]).shape == (0, classes), "probabilities: of no rows"
    if head.exclusive:
        assert np.allclose(scores.sum(axis=1), 1, atol=1e-5), "probabilities: do not sum to 1"
    backwards = head.probabilities(features[::-1])[::-1]
    assert np.allclose(backwards, scores, atol=1e-6), "probabilities: depend on other rows"
    kind = HEADS.load(head.kind)
    assert isinstance(head, kind), f"kind: {head.kind!r} names another head"
    cut = None if head.exclusive else head.cut
    again: Head = kind.of(head.tensors(), classes, features.shape[1], head.exclusive, cut)
    assert np.array_equal(again.probabilities(features), scores), "tensors: do not hold all of it"
    for wrong in _wrongs(head.tensors()):
        try:
            kind.of(wrong, classes, features.shape[1], head.exclusive, cut)
        except ValueError:
            continue
        raise AssertionError(f"of: takes tensors that no such head has ({', '.join(wrong)})")


def _wrongs(tensors: dict[str, Any]) -> list[dict[str, Any]]:
    """A name too many, and each tensor by itself with another shape or a number that is none."""
    first = next(name for name, values in tensors.items() if values.dtype == np.float32)
    return [
        {**tensors, "other": np.zeros(1, np.float32)},
        {**tensors, first: tensors[first][..., :-1]},
        {**tensors, first: np.full_like(tensors[first], np.nan)},
    ]
