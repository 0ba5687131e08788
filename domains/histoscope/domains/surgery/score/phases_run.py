"""From folders to scores by every protocol of the field: read, join, score each run, join runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from histoscope.core.errors import DataError
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
from histoscope.domains.surgery.metrics.spread import Ints, spread_of_all
from histoscope.domains.surgery.phase_text import PhaseRows, read_phases
from histoscope.domains.surgery.phases import M2CAI16_PHASES, PHASES
from histoscope.domains.surgery.score.joining import (
    JoinedVideo,
    Rate,
    join_video,
    pair_names,
    row_notes,
)
from histoscope.domains.surgery.video_files import video_files

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


def undefined_cells(rules: Mapping[str, Absent]) -> dict[str, str]:
    """What each protocol does with a cell that has no value, in words."""
    said = {name: f"{RULES[rule]}; {NEVER_PREDICTED}" for name, rule in rules.items()}
    return said | {AS_PUBLISHED: PUBLISHED_RULE} | dict.fromkeys(SEGMENT_PROTOCOLS, SEGMENT_RULE)


@dataclass(frozen=True)
class Run:
    """One folder of predictions, joined and scored.

    Attributes:
        folder: where the predictions lie.
        videos: video names.
        frames: rows scored.
        notes: a line for what only one side has.
        scores, phases: by protocol and by phase.
    """

    folder: Path
    videos: tuple[str, ...]
    frames: int
    notes: tuple[str, ...]
    scores: Mapping[str, Scores]
    phases: Mapping[str, Scores]


@dataclass(frozen=True)
class PhaseScores:
    """What ``score phases`` found.

    Attributes:
        truth: folder of the truth.
        runs: one a folder of predictions.
        rate: rows and source frames a second.
        class_order: what was stated, None where nothing was.
        ids_read: whether there were ids to read in that order.
        classes: phases scored, in the order of their ids.
        rules: rule for absent phases of each protocol that has a choice.
    """

    truth: Path
    runs: tuple[Run, ...]
    rate: Rate
    class_order: str | None
    ids_read: bool
    classes: tuple[str, ...]
    rules: Mapping[str, Absent]

    def scores(self) -> dict[str, Scores]:
        """By protocol; over runs where there are several."""
        return _over_runs([run.scores for run in self.runs])

    def phases(self) -> dict[str, Scores]:
        """By phase; over runs where there are several."""
        return _over_runs([run.phases for run in self.runs])


def score(
    truth: Path,
    predicted: Sequence[Path],
    rate: Rate,
    *,
    class_order: str | None = None,
    absent: Absent | None = None,
) -> PhaseScores:
    """Score folders of phase files.

    Args:
        truth: folder of the truth.
        predicted: one folder a run; all must be of the same videos.
        rate: rows a second to score, and source frames a second.
        class_order: whose ids bare ids are.
        absent: rule for absent phases instead of each protocol's own.

    Raises:
        UsageError: a rate above the video's.
        DataError: an empty folder, a file that cannot be read, nothing in common.
    """
    rate.check()
    true_rows = _read_folder(truth, class_order)
    run_rows = [_read_folder(folder, class_order) for folder in predicted]
    everything = [rows for folder in (true_rows, *run_rows) for rows in folder.values()]
    classes = _classes(everything, class_order)
    rules = {name: absent or rule for name, rule in DEFAULT_ABSENT.items()}
    runs = []
    for folder, rows in zip(predicted, run_rows, strict=True):
        names, notes = pair_names(true_rows, rows, f"{truth}, {folder}")
        videos = [join_video(n, true_rows[n], rows[o], rate, classes) for n, o in names.items()]
        scores, phases = _scores(videos, classes, rate, rules)
        runs.append(
            Run(
                folder=folder,
                videos=tuple(names),
                frames=sum(len(video.frames) for video in videos),
                notes=(*notes, *row_notes(videos)),
                scores=scores,
                phases=phases,
            )
        )
    _refuse_other_videos(runs)
    ids_read = any(rows.note for rows in everything)
    return PhaseScores(truth, tuple(runs), rate, class_order, ids_read, classes, rules)


def _read_folder(folder: Path, class_order: str | None) -> dict[str, PhaseRows]:
    files = video_files(folder, "phase")
    return {name: read_phases(path, class_order) for name, path in files.items()}


def _classes(everything: Sequence[PhaseRows], class_order: str | None) -> tuple[str, ...]:
    """Seven phases, or eight where m2cai16 is named or its first phase occurs."""
    first = M2CAI16_PHASES[0]
    eight = class_order == "m2cai16" or any((rows.phases == first).any() for rows in everything)
    return M2CAI16_PHASES if eight else PHASES


def _refuse_other_videos(runs: Sequence[Run]) -> None:
    for run in runs[1:]:
        odd = sorted(set(run.videos) ^ set(runs[0].videos))
        if odd:
            raise DataError(
                f"{runs[0].folder} and {run.folder} are not of the same videos ({odd[0]} is in one "
                "of them); a mean over runs needs the same videos in each"
            )


def _scores(
    videos: Sequence[JoinedVideo], classes: Sequence[str], rate: Rate, rules: Mapping[str, Absent]
) -> tuple[dict[str, Scores], dict[str, Scores]]:
    """Every protocol's scores, and P, R, J and F1 of each phase as ``phase_first`` counts them."""
    phases = len(classes)
    pairs = [(video.truth, video.predicted) for video in videos]
    cells = _cells(pairs, phases)
    margin = SECONDS * rate.source_fps  # in source frames, so that missing rows change nothing
    forgiven = [(v.truth, forgive(v.truth, v.predicted, v.frames, margin)) for v in videos]
    scores = {
        "phase_first": phase_first(cells, rules["phase_first"]),
        "video_first": video_first(cells, rules["video_first"]),
        "pooled": pooled(cells, rules["pooled"]),
        "relaxed_10s": over_phases(_cells(forgiven, phases), rules["relaxed_10s"]),
        AS_PUBLISHED: relaxed_10s_as_published(pairs, phases, rate.fps),
        "segmental": segmental(pairs),
        "segmental_pooled": segmental_pooled(pairs),
    }
    return scores, dict(zip(classes, per_phase(cells, rules["phase_first"]), strict=True))


def _over_runs(results: Sequence[Mapping[str, Scores]]) -> dict[str, Scores]:
    """Mean and sd over runs of each value; one run is given back as it is.

    A value that is undefined in one run is undefined: a failure must not drop out of the mean.
    """
    if len(results) == 1:
        return dict(results[0])
    return {
        group: {
            name: spread_of_all(np.array([result[group][name].value for result in results]))
            for name in scores
        }
        for group, scores in results[0].items()
    }


def _cells(pairs: Sequence[tuple[Ints, Ints]], phases: int) -> Ints:
    return np.stack([counts(*pair, phases) for pair in pairs])  # (videos, phases, 3)
