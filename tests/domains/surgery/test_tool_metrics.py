"""Average precision of tools against its definition, and what is done where it has none."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from histoscope.domains.surgery.metrics.tools import average_precisions, pooled, video_first

Table = NDArray[np.float64]


@st.composite
def video(draw: st.DrawFn) -> tuple[Table, Table]:
    """Truth with unknown values, scores with ties, (frames, 3 tools)."""
    rows = draw(st.integers(1, 30))
    truth = st.lists(st.sampled_from([0.0, 1.0, math.nan]), min_size=3 * rows, max_size=3 * rows)
    score = st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=3 * rows, max_size=3 * rows)
    return np.array(draw(truth)).reshape(rows, 3), np.array(draw(score)).reshape(rows, 3)


def loop_ap(truth: list[float], scores: list[float]) -> float | None:
    """Recall gained times precision, threshold by threshold; None without a positive."""
    rows = [(t, s) for t, s in zip(truth, scores, strict=True) if not math.isnan(t)]
    positives = sum(t for t, _ in rows)
    if not positives:
        return None
    total = recall = 0.0
    for threshold in sorted({s for _, s in rows}, reverse=True):
        chosen = [t for t, s in rows if s >= threshold]
        total += (sum(chosen) / positives - recall) * sum(chosen) / len(chosen)
        recall = sum(chosen) / positives
    return 100 * total


def columns(table: Table) -> list[list[float]]:
    return table.T.tolist()


@given(pair=video())
def test_average_precision_equals_its_definition_and_unknown_truth_is_left_out(
    pair: tuple[Table, Table],
):
    found = average_precisions(*pair)
    for value, truth, scores in zip(found, *map(columns, pair), strict=True):
        expected = loop_ap(truth, scores)
        assert value == pytest.approx(math.nan if expected is None else expected, nan_ok=True)


@given(videos=st.lists(video(), min_size=1, max_size=4))
def test_pooled_takes_all_frames_together_and_counts_an_absent_tool_as_0(
    videos: list[tuple[Table, Table]],
):
    truths, scores = [t for t, _ in videos], [s for _, s in videos]
    parts = []
    for tool in range(3):
        truth = [x for t in truths for x in columns(t)[tool]]
        score = [x for s in scores for x in columns(s)[tool]]
        if not all(map(math.isnan, truth)):
            parts.append(loop_ap(truth, score) or 0.0)
    found = pooled(truths, scores)
    expected = statistics.fmean(parts) if parts else math.nan
    assert found.mean.value == pytest.approx(expected, nan_ok=True)
    assert math.isnan(found.mean.sd)


@given(videos=st.lists(video(), min_size=1, max_size=4))
def test_video_first_skips_tools_that_a_video_does_not_show(videos: list[tuple[Table, Table]]):
    means = []
    for truth, scores in videos:
        parts = map(loop_ap, columns(truth), columns(scores))
        known = [part for part in parts if part is not None]
        if known:
            means.append(statistics.fmean(known))
    found = video_first([t for t, _ in videos], [s for _, s in videos])
    assert found.mean.value == pytest.approx(
        statistics.fmean(means) if means else math.nan, nan_ok=True
    )
    sd = statistics.stdev(means) if len(means) > 1 else math.nan
    assert found.mean.sd == pytest.approx(sd, nan_ok=True)


def test_a_tool_without_predictions_is_left_out_of_both_means():
    truth = np.array([[1.0, 1.0], [0.0, 0.0]])
    scores = np.array([[0.9, math.nan], [0.1, math.nan]])
    for protocol in (pooled, video_first):
        found = protocol([truth], [scores])
        assert found.mean.value == 100
        assert math.isnan(found.per_tool[1])
