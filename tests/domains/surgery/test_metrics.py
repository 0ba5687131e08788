"""Frame metrics against their definitions, written once more as loops."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from histoscope.domains.surgery.metrics.protocols import (
    F1_OF_MEANS,
    SCORES,
    Scores,
    counts,
    per_phase,
    phase_first,
    pooled,
    video_first,
)
from histoscope.domains.surgery.metrics.spread import Ints

PHASES = 7
Video = tuple[list[int], list[int]]


@st.composite
def labels(draw: st.DrawFn, size: int) -> list[int]:
    """Runs of equal label, from one frame to the whole video, cut to ``size``."""
    runs = draw(
        st.lists(st.tuples(st.integers(0, PHASES - 1), st.integers(1, 40)), min_size=1, max_size=12)
    )
    whole = [label for label, length in runs for _ in range(length)]
    return (whole * (size // len(whole) + 1))[:size]


@st.composite
def videos(draw: st.DrawFn) -> list[Video]:
    sizes = draw(st.lists(st.integers(1, 120), min_size=1, max_size=4))
    return [(draw(labels(size)), draw(labels(size))) for size in sizes]


ABSENT_BUT_PREDICTED: list[Video] = [([0, 0, 1, 1], [0, 2, 1, 2]), ([0, 0], [0, 0])]
NEVER_PREDICTED: list[Video] = [([0, 1, 1, 3], [0, 0, 0, 0])]
ONE_PHASE_EVERYWHERE: list[Video] = [([0, 1, 2, 3, 4, 5, 6], [3] * 7), ([5] * 4, [3] * 4)]


def of(pairs: Sequence[Video]) -> Ints:
    return np.stack([counts(np.array(t), np.array(p), PHASES) for t, p in pairs])


def cell(truth: list[int], predicted: list[int], phase: int, absent: str) -> list[float] | None:
    """P, R, J, F1 of one phase, None where undefined."""
    tp = fp = fn = 0
    for true, guess in zip(truth, predicted, strict=True):
        tp += true == phase and guess == phase
        fp += true != phase and guess == phase
        fn += true == phase and guess != phase
    if tp + fn == 0 and (absent == "skip" or fp == 0):
        return None
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return [100 * precision, 100 * recall, 100 * tp / (tp + fp + fn), 100 * f1]


def mean_sd(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    if not known:
        return math.nan, math.nan
    return statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else math.nan


def accuracy(pairs: Sequence[Video]) -> list[float | None]:
    return [100 * sum(a == b for a, b in zip(t, p, strict=True)) / len(t) for t, p in pairs]


def loop_phase_first(pairs: Sequence[Video], absent: str) -> dict[str, tuple[float, float]]:
    out = {"accuracy": mean_sd(accuracy(pairs))}
    for place, name in enumerate(SCORES):
        means: list[float | None] = []
        for phase in range(PHASES):
            found = [cell(t, p, phase, absent) for t, p in pairs]
            mean = mean_sd([scores[place] for scores in found if scores is not None])[0]
            means.append(None if math.isnan(mean) else mean)
        out[name] = mean_sd(means)
    p, r = out["precision"][0], out["recall"][0]
    out[F1_OF_MEANS] = (2 * p * r / (p + r) if p + r else 0.0, math.nan)
    return out


def loop_video_first(pairs: Sequence[Video], absent: str) -> dict[str, tuple[float, float]]:
    out = {"accuracy": mean_sd(accuracy(pairs))}
    for place, name in enumerate(SCORES):
        means = []
        for t, p in pairs:
            found = [cell(t, p, phase, absent) for phase in range(PHASES)]
            means.append(mean_sd([scores[place] for scores in found if scores is not None])[0])
        out[name] = mean_sd(means)
    return out


def loop_pooled(pairs: Sequence[Video], absent: str) -> dict[str, tuple[float, float]]:
    whole = ([x for t, _ in pairs for x in t], [x for _, p in pairs for x in p])
    found = loop_video_first([whole], absent)
    return {name: (value, math.nan) for name, (value, _) in found.items()}


def same(scores: Scores, expected: dict[str, tuple[float, float]]) -> None:
    assert list(scores) == list(expected)
    for name, spread in scores.items():
        assert spread == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("absent", ["skip", "zero"])
@pytest.mark.parametrize(
    ("protocol", "loop"),
    [(phase_first, loop_phase_first), (video_first, loop_video_first), (pooled, loop_pooled)],
    ids=["phase_first", "video_first", "pooled"],
)
@given(pairs=videos())
@example(pairs=ABSENT_BUT_PREDICTED)
@example(pairs=NEVER_PREDICTED)
@example(pairs=ONE_PHASE_EVERYWHERE)
def test_every_protocol_equals_its_definition_as_loops(
    protocol: Callable[..., Scores], loop: Callable[..., dict], absent: str, pairs: list[Video]
):
    same(protocol(of(pairs), absent), loop(pairs, absent))


@pytest.mark.parametrize(
    ("protocol", "loop", "rule"),
    [
        (phase_first, loop_phase_first, "skip"),
        (video_first, loop_video_first, "zero"),
        (pooled, loop_pooled, "zero"),
    ],
    ids=["phase_first", "video_first", "pooled"],
)
def test_each_protocol_has_the_rule_for_absent_phases_that_its_papers_use(
    protocol: Callable[..., Scores], loop: Callable[..., dict], rule: str
):
    same(protocol(of(ABSENT_BUT_PREDICTED)), loop(ABSENT_BUT_PREDICTED, rule))
    both = [loop(ABSENT_BUT_PREDICTED, absent)["precision"][0] for absent in ("skip", "zero")]
    assert both[0] > both[1]


@given(pairs=videos())
def test_video_first_is_the_macro_average_of_scikit_learn(pairs: list[Video]):
    macro = [
        precision_recall_fscore_support(t, p, average="macro", zero_division=0)[:3]
        for t, p in pairs
    ]
    found = video_first(of(pairs))
    for name, expected in zip(
        ("precision", "recall", "f1"), 100 * np.mean(macro, axis=0), strict=True
    ):
        assert found[name].value == pytest.approx(expected)


@given(pairs=videos(), absent=st.sampled_from(["skip", "zero"]))
def test_nothing_lies_outside_0_to_100(pairs: list[Video], absent: str):
    for protocol in (phase_first, video_first, pooled):
        values = [spread.value for spread in protocol(of(pairs), absent).values()]
        assert all(0 <= value <= 100 for value in values)


@given(pairs=videos())
def test_a_perfect_prediction_scores_100_everywhere(pairs: list[Video]):
    perfect = of([(truth, truth) for truth, _ in pairs])
    for protocol in (phase_first, video_first, pooled):
        assert {round(spread.value, 9) for spread in protocol(perfect).values()} == {100.0}


def test_a_phase_that_is_never_predicted_counts_zero_and_does_not_drop_out():
    scores = per_phase(of(NEVER_PREDICTED))
    assert [scores[1][name].value for name in SCORES] == [0, 0, 0, 0]
    assert scores[0]["recall"].value == 100
    assert math.isnan(scores[2]["recall"].value)


def test_a_video_without_frames_drops_out_of_the_means():
    nothing = np.zeros((1, PHASES, 3), dtype=np.int64)
    some = of(ABSENT_BUT_PREDICTED[:1])
    for protocol in (phase_first, video_first):
        with_empty = protocol(np.concatenate([some, nothing]))
        alone = protocol(some)
        assert all(with_empty[name].value == alone[name].value for name in alone)
    assert all(math.isnan(spread.value) for spread in phase_first(nothing).values())
