"""Segment metrics against their definitions, written once more as loops."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from histoscope.domains.surgery.metrics.segmental import (
    OVERLAPS,
    edit_score,
    levenshtein,
    runs,
    segment_counts,
    segmental,
    segmental_pooled,
)

ids = st.lists(st.integers(0, 3), min_size=1, max_size=60)
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60).map(
    lambda rows: ([a for a, _ in rows], [b for _, b in rows])
)


def loop_segments(labels: list[int]) -> list[tuple[int, int, int]]:
    """Label, first row, row after the last."""
    out: list[tuple[int, int, int]] = []
    for row, label in enumerate(labels):
        if out and out[-1][0] == label:
            out[-1] = (label, out[-1][1], row + 1)
        else:
            out.append((label, row, row + 1))
    return out


def loop_levenshtein(a: list[int], b: list[int]) -> int:
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
            )
    return table[-1][-1]


def loop_counts(truth: list[int], guess: list[int], overlap: float) -> tuple[int, int, int]:
    true, used, tp, fp = loop_segments(truth), set(), 0, 0
    for label, first, end in loop_segments(guess):
        best, best_iou = None, 0.0
        for place, (other, start, stop) in enumerate(true):
            shared = max(0, min(end, stop) - max(first, start))
            iou = shared / (end - first + stop - start - shared)
            if other == label and iou > best_iou:
                best, best_iou = place, iou
        if best is not None and best_iou >= overlap and best not in used:
            used.add(best)
            tp += 1
        else:
            fp += 1
    return tp, fp, len(true) - tp


def loop_f1(counts: tuple[int, int, int]) -> float:
    tp, fp, fn = counts
    return 100 * 2 * tp / (2 * tp + fp + fn)


@given(labels=ids)
def test_runs_are_cut_where_the_label_changes(labels: list[int]):
    found = runs(np.array(labels))
    triples = zip(found.labels.tolist(), found.starts.tolist(), found.ends.tolist(), strict=True)
    assert list(triples) == loop_segments(labels)


@given(a=ids, b=ids)
def test_the_edit_distance_is_levenshteins(a: list[int], b: list[int]):
    assert levenshtein(np.array(a), np.array(b)) == loop_levenshtein(a, b)


@given(pair=pairs)
@example(pair=([0] * 10, [0, 1] * 5))
@example(pair=([0] * 5 + [1] * 5, [1] * 5 + [0] * 5))
def test_the_edit_score_compares_the_order_of_segments(pair: tuple[list[int], list[int]]):
    labels = [[label for label, _, _ in loop_segments(side)] for side in pair]
    expected = 100 * (1 - loop_levenshtein(*labels) / max(map(len, labels)))
    assert edit_score(*map(np.array, pair)) == pytest.approx(expected)


@pytest.mark.parametrize("overlap", list(OVERLAPS.values()))
@given(pair=pairs)
@example(pair=([0] * 10, [0] * 4 + [1] * 2 + [0] * 4))
@example(pair=([0] * 10, [1] * 10))
def test_segments_are_matched_to_the_best_overlap_that_is_not_taken(
    overlap: float, pair: tuple[list[int], list[int]]
):
    found = segment_counts(*map(np.array, pair), overlap)
    assert tuple(found.tolist()) == loop_counts(*pair, overlap)


@given(videos=st.lists(pairs, min_size=1, max_size=3))
def test_segment_scores_are_means_over_videos_or_of_all_segments_together(
    videos: list[tuple[list[int], list[int]]],
):
    arrays = [(np.array(t), np.array(p)) for t, p in videos]
    mean, together = segmental(arrays), segmental_pooled(arrays)
    for name, overlap in OVERLAPS.items():
        counted = [loop_counts(*pair, overlap) for pair in videos]
        assert mean[name].value == pytest.approx(statistics.fmean(map(loop_f1, counted)))
        summed = tuple(map(sum, zip(*counted, strict=True)))
        assert together[name].value == pytest.approx(loop_f1(summed))
    assert together["edit"].value == mean["edit"].value


def test_no_frame_at_all_scores_without_a_warning():
    nothing = np.array([], dtype=np.int64)
    assert edit_score(nothing, nothing) == 100
    assert edit_score(np.array([1, 1]), nothing) == 0
    assert segment_counts(np.array([1, 1]), nothing, 0.5).tolist() == [0, 0, 1]
    assert segment_counts(nothing, np.array([1, 1]), 0.5).tolist() == [0, 1, 0]
