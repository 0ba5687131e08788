"""Every protocol of the field on the same joined videos, and what each does where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from histoscope.domains.surgery.metrics.protocols import (
    Absent,
    Scores,
    counts,
    over_phases,
    per_phase,
    phase_first,
    pooled,
    video_first,
)
from histoscope.domains.surgery.metrics.relaxed import SECONDS, forgive, relaxed_10s_as_published
from histoscope.domains.surgery.metrics.segmental import segmental, segmental_pooled
from histoscope.domains.surgery.metrics.spread import Ints, Spread, spread_of_all
from histoscope.domains.surgery.score.joining import JoinedVideo, Rate

AS_PUBLISHED = "relaxed_10s_as_published"
DEFAULT_ABSENT: Mapping[str, Absent] = {
    "phase_first": "skip",
    "video_first": "zero",
    "pooled": "zero",
    "relaxed_10s": "skip",
}
FRAME_PROTOCOLS = (*DEFAULT_ABSENT, AS_PUBLISHED)
SEGMENT_PROTOCOLS = ("segmental", "segmental_pooled")

RULES: Mapping[Absent, str] = {
    "skip": "a phase absent from the truth is left out, predicted or not",
    "zero": "a phase absent from the truth but predicted counts 0, absent from both is left out",
}
NEVER_PREDICTED = "a phase of the truth that is never predicted counts 0"
PUBLISHED_RULE = (
    "faulty, as the published script, to compare with papers: a phase absent from the truth is "
    "left out; one never predicted drops out of P, or counts 100 where a frame is forgiven; "
    "values over 100 are cut to 100; each video's first row is lost"
)
SEGMENT_RULE = "segments of equal label, no phase is averaged"
SD_OF: Mapping[str, str] = {
    "phase_first": "sd over phases (accuracy: over videos)",
    "video_first": "sd over videos",
    "pooled": "no sd, all frames are one sample",
    "relaxed_10s": "sd over phases (accuracy: over videos)",
    AS_PUBLISHED: "sd over phases (accuracy: over videos)",
    "segmental": "sd over videos",
    "segmental_pooled": "no sd; edit is the mean over videos, which has no pooled form",
}


def absent_rules(override: Absent | None) -> dict[str, Absent]:
    """The rule of each protocol that has a choice; ``--absent`` overrides all."""
    return {name: override or rule for name, rule in DEFAULT_ABSENT.items()}


def undefined_cells(rules: Mapping[str, Absent]) -> dict[str, str]:
    """What each protocol does with a cell that has no value, in words."""
    said = {name: f"{RULES[rule]}; {NEVER_PREDICTED}" for name, rule in rules.items()}
    return said | {AS_PUBLISHED: PUBLISHED_RULE} | dict.fromkeys(SEGMENT_PROTOCOLS, SEGMENT_RULE)


def score_videos(
    videos: Sequence[JoinedVideo], phases: int, rate: Rate, rules: Mapping[str, Absent]
) -> dict[str, Scores]:
    """Every protocol's scores, percent.

    Args:
        videos: joined, at ``rate``.
        phases: number of classes, ids in the order of Cholec80 (or m2cai16).
        rate: rows and source frames a second.
        rules: from :func:`absent_rules`.
    """
    pairs = [video.pair for video in videos]
    cells = _cells(pairs, phases)
    margin = SECONDS * rate.source_fps  # in source frames, so that missing rows change nothing
    forgiven = [(v.truth, forgive(v.truth, v.predicted, v.frames, margin)) for v in videos]
    return {
        "phase_first": phase_first(cells, rules["phase_first"]),
        "video_first": video_first(cells, rules["video_first"]),
        "pooled": pooled(cells, rules["pooled"]),
        "relaxed_10s": over_phases(_cells(forgiven, phases), rules["relaxed_10s"]),
        AS_PUBLISHED: relaxed_10s_as_published(pairs, phases, rate.fps),
        "segmental": segmental(pairs),
        "segmental_pooled": segmental_pooled(pairs),
    }


def score_phases(
    videos: Sequence[JoinedVideo], phases: Sequence[str], rules: Mapping[str, Absent]
) -> dict[str, Scores]:
    """P, R, J and F1 of each phase: mean and sd over videos, as ``phase_first`` counts them."""
    cells = _cells([video.pair for video in videos], len(phases))
    return dict(zip(phases, per_phase(cells, rules["phase_first"]), strict=True))


def over_runs(results: Sequence[Mapping[str, Scores]]) -> dict[str, Scores]:
    """Mean and sd over runs of each value; one run is given back as it is.

    A value that is undefined in one run is undefined: a failure must not drop out of the mean.
    """
    if len(results) == 1:
        return dict(results[0])
    return {
        group: {name: _over(results, group, name) for name in scores}
        for group, scores in results[0].items()
    }


def _over(results: Sequence[Mapping[str, Scores]], group: str, name: str) -> Spread:
    return spread_of_all(np.array([result[group][name].value for result in results]))


def _cells(pairs: Sequence[tuple[Ints, Ints]], phases: int) -> Ints:
    return np.stack([counts(*pair, phases) for pair in pairs])  # (videos, phases, 3)
