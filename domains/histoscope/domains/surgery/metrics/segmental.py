"""Metrics of segments: they see over-segmentation, which frame metrics do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from histoscope.domains.surgery.metrics.spread import Floats, Ints, Spread, spread

OVERLAPS = {"f1@10": 0.10, "f1@25": 0.25, "f1@50": 0.50}


class Runs(NamedTuple):
    """Segments in order: rows ``starts`` (included) to ``ends`` (not), and their label, (runs,)."""

    starts: Ints
    ends: Ints
    labels: Ints

    def of_rows(self) -> Ints:
        """Which segment each row lies in, (rows,)."""
        return np.repeat(np.arange(len(self.starts)), self.ends - self.starts)


def runs(labels: Ints) -> Runs:
    """Cut a sequence of labels, (rows,), where the label changes."""
    changes = np.flatnonzero(np.diff(labels)) + 1
    starts = np.concatenate([np.zeros(min(1, len(labels)), np.int64), changes])
    ends = np.concatenate([starts[1:], np.full(min(1, len(labels)), len(labels), np.int64)])
    return Runs(starts, ends, labels[starts])


def edit_score(truth: Ints, predicted: Ints) -> float:
    """100 (1 - Levenshtein(segment labels) / length of the longer list), in percent.

    Source: Lea et al. 2016. Differs: nothing.
    """
    a, b = runs(truth).labels, runs(predicted).labels
    longest = max(len(a), len(b))
    return 100.0 * (1 - levenshtein(a, b) / longest) if longest else 100.0


def levenshtein(a: Ints, b: Ints) -> int:
    """Fewest insertions, deletions and replacements that turn ``a`` into ``b``."""
    steps = np.arange(len(b) + 1)
    row = steps
    for place, label in enumerate(a, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (b != label))
        # An insertion costs 1 for each step to the right: a running minimum after taking it off.
        row = np.minimum.accumulate(np.concatenate([[place], best]) - steps) + steps
    return int(row[-1])


def segment_counts(truth: Ints, predicted: Ints, overlap: float) -> Ints:
    """True positives, false positives, false negatives among segments, (3,).

    In order of time, a predicted segment is a true positive if the true segment of its label that
    it overlaps best (the first of equals) has IoU >= ``overlap`` and is not yet taken.

    Source: Lea et al. 2017, as MS-TCN counts it. Differs: nothing.
    """
    table = _overlaps(truth, predicted)  # (predicted, true)
    # A second match of the same true segment changes nothing: it stays a false positive.
    taken = {int(ious.argmax()) for ious in table if len(ious) and ious.max() >= overlap}
    return np.array([len(taken), len(table) - len(taken), table.shape[1] - len(taken)])


def segmental(videos: Sequence[tuple[Ints, Ints]]) -> Mapping[str, Spread]:
    """Edit score and F1 at three overlaps: means over videos, sd over videos.

    Args:
        videos: truth and prediction of each.
    """
    edits = np.array([edit_score(*video) for video in videos])
    return {"edit": spread(edits)} | {
        name: spread(np.array([_f1(segment_counts(*video, overlap)) for video in videos]))
        for name, overlap in OVERLAPS.items()
    }


def segmental_pooled(videos: Sequence[tuple[Ints, Ints]]) -> Mapping[str, Spread]:
    """F1 of the segments of all videos together. The edit score has no such form: the mean."""
    edits = np.array([edit_score(*video) for video in videos])
    scores = {"edit": Spread(spread(edits).value)}
    for name, overlap in OVERLAPS.items():
        together = sum((segment_counts(*video, overlap) for video in videos), np.zeros(3, np.int64))
        scores[name] = Spread(_f1(together))
    return scores


def _overlaps(truth: Ints, predicted: Ints) -> Floats:
    """Intersection over union of segments of equal label, else 0, (predicted, true)."""
    a, b = runs(predicted), runs(truth)
    latest_start = np.maximum(a.starts[:, None], b.starts)
    first_end = np.minimum(a.ends[:, None], b.ends)
    shared = np.maximum(first_end - latest_start, 0) * (a.labels[:, None] == b.labels)
    union = (a.ends - a.starts)[:, None] + (b.ends - b.starts) - shared
    return np.asarray(shared / union)


def _f1(found: Ints) -> float:
    tp, fp, fn = (int(count) for count in found)
    return 200.0 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
