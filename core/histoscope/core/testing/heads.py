"""What every head owes: ``check_head(head, features)``."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from histoscope.core.contracts import Task
from histoscope.core.heads import HEADS
from histoscope.core.heads.contract import Bags, Head, Rows, is_ordered


def check_head(head: Head, task: Task, features: Rows) -> None:
    """See that a head keeps its contract.

    Args:
        head: fitted.
        task: that it answers.
        features: that it may be asked about, (rows, dim), at least three different rows.

    Raises:
        AssertionError: saying what it owes.
    """
    assert head.level == task.level, f"level: {head.level}, of a task of a {task.level}"
    bags = _bags(head, features)
    scores, classes = head.probabilities(bags), len(task.classes)
    answers = len(features) if is_ordered(head) else len(bags)
    assert scores.shape == (answers, classes), f"probabilities: {scores.shape}"
    assert scores.dtype == np.float32, f"probabilities: {scores.dtype}, not float32"
    assert ((scores >= 0) & (scores <= 1)).all(), "probabilities: outside 0 to 1"
    none = head.probabilities(_bags(head, features[:0]))
    assert none.shape == (0, classes), "probabilities: of nothing"
    assert head.exclusive == task.exclusive, "exclusive: not that of its task"
    if head.exclusive:
        assert np.allclose(scores.sum(axis=1), 1, atol=1e-5), "probabilities: do not sum to 1"
    _check_alone(head, bags, scores)
    kind = HEADS.load(head.kind)
    assert isinstance(head, kind), f"kind: {head.kind!r} names another head"
    cut, dim = None if head.exclusive else head.cut, features.shape[1]
    assert head.cut.shape == (classes,), f"cut: {head.cut.shape}"
    again: Head = kind.of(head.tensors(), task, dim, cut)
    assert np.array_equal(again.probabilities(bags), scores), "tensors: do not hold all of it"
    for wrong in _wrongs(head.tensors()):
        try:
            kind.of(wrong, task, dim, cut)
        except ValueError:
            continue
        raise AssertionError(f"of: takes tensors that no such head has ({', '.join(wrong)})")


def _bags(head: Head, features: Rows) -> Bags:
    """One row a bag; where a bag is a source the first row, and the others together."""
    if not (head.level == "source" or is_ordered(head)) or not len(features):
        return Bags.of_samples(features)
    return Bags(features, np.array([0, 1, len(features)]))


def _check_alone(head: Head, bags: Bags, scores: Rows) -> None:
    """See that each bag is answered alone as among others."""
    for place, (start, end) in enumerate(pairwise(bags.starts)):
        alone = head.probabilities(Bags.of_one(bags.features[start:end]))
        among = scores[start:end] if is_ordered(head) else scores[place]
        same = np.allclose(alone, among, atol=1e-6)
        assert same, "probabilities: depend on other bags"


def _wrongs(tensors: dict[str, Any]) -> list[dict[str, Any]]:
    """A name too many, and each tensor by itself with another shape or a number that is none."""
    first = next(name for name, values in tensors.items() if values.dtype == np.float32)
    return [
        {**tensors, "other": np.zeros(1, np.float32)},
        {**tensors, first: tensors[first][..., :-1]},
        {**tensors, first: np.full_like(tensors[first], np.nan)},
    ]
