"""From folders to scores: read, join, score each run, put runs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from histoscope.core.errors import DataError
from histoscope.domains.surgery.metrics.protocols import Absent, Scores
from histoscope.domains.surgery.phase_text import PhaseRows, read_phases
from histoscope.domains.surgery.phases import M2CAI16_PHASES, PHASES
from histoscope.domains.surgery.score.joining import (
    JoinedVideo,
    Rate,
    join_video,
    pair_names,
    shortfalls,
)
from histoscope.domains.surgery.score.protocols import (
    absent_rules,
    over_runs,
    score_phases,
    score_videos,
)
from histoscope.domains.surgery.video_files import video_files


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
        return over_runs([run.scores for run in self.runs])

    def phases(self) -> dict[str, Scores]:
        """By phase; over runs where there are several."""
        return over_runs([run.phases for run in self.runs])


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
    rules = absent_rules(absent)
    runs = []
    for folder, rows in zip(predicted, run_rows, strict=True):
        names, notes = pair_names(true_rows, rows, f"{truth}, {folder}")
        videos = [join_video(n, true_rows[n], rows[o], rate, classes) for n, o in names.items()]
        runs.append(
            Run(
                folder=folder,
                videos=tuple(names),
                frames=sum(len(video.frames) for video in videos),
                notes=(*notes, *_row_notes(videos)),
                scores=score_videos(videos, len(classes), rate, rules),
                phases=score_phases(videos, classes, rules),
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


def _row_notes(videos: Sequence[JoinedVideo]) -> list[str]:
    rows = {v.name: len(v.frames) for v in videos}
    unpredicted = {v.name: (v.unpredicted, rows[v.name] + len(v.unpredicted)) for v in videos}
    unlabelled = {v.name: (v.unlabelled, rows[v.name] + len(v.unlabelled)) for v in videos}
    return [
        *shortfalls(unpredicted, "frames", "no prediction"),
        *shortfalls(unlabelled, "predicted frames", "no truth"),
    ]


def _refuse_other_videos(runs: Sequence[Run]) -> None:
    for run in runs[1:]:
        odd = sorted(set(run.videos) ^ set(runs[0].videos))
        if odd:
            raise DataError(
                f"{runs[0].folder} and {run.folder} are not of the same videos ({odd[0]} is in one "
                "of them); a mean over runs needs the same videos in each"
            )
