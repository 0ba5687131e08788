"""From folders of tool files to average precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histoscope.domains.surgery.metrics.protocols import Scores
from histoscope.domains.surgery.metrics.spread import Floats, Spread
from histoscope.domains.surgery.metrics.tools import ToolScores, pooled, video_first
from histoscope.domains.surgery.phases import TOOLS
from histoscope.domains.surgery.score.joining import (
    join_rows,
    name_of,
    pair_names,
    refuse_two_numberings,
    row_notes,
)
from histoscope.domains.surgery.score.phases_text import as_json, table
from histoscope.domains.surgery.tool_text import read_tools
from histoscope.domains.surgery.video_files import video_files

MEAN = "mean_average_precision"
RULES: Mapping[str, str] = {
    "pooled": "all frames together, then the mean over tools; a tool that the truth never shows "
    "counts 0",
    "video_first": "mean over the tools that a video shows, then over videos; sd over videos",
}


@dataclass(frozen=True)
class ToolComparison:
    """What ``score tools`` found.

    Attributes:
        truth, predicted: the folders.
        videos: video names.
        frames: rows scored.
        unknown: values of the truth that are not known, and not scored.
        notes: a line for what only one side has.
        scores: by protocol.
    """

    truth: Path
    predicted: Path
    videos: tuple[str, ...]
    frames: int
    unknown: int
    notes: tuple[str, ...]
    scores: Mapping[str, ToolScores]

    def groups(self) -> dict[str, Scores]:
        """Protocol to the mean and each tool's average precision."""
        return {
            name: {MEAN: found.mean}
            | {tool: Spread(float(found.per_tool[at])) for at, tool in enumerate(TOOLS)}
            for name, found in self.scores.items()
        }

    def lines(self) -> Iterator[str]:
        """What was compared and by which rules, then the table."""
        yield f"protocols: {', '.join(RULES)}"
        yield f"videos: {len(self.videos)} ({self.videos[0]} to {self.videos[-1]})"
        yield f"frames scored: {self.frames}"
        yield f"values not known in the truth, left out: {self.unknown}"
        yield from (f"  {name}: {rule}" for name, rule in RULES.items())
        yield from self.notes
        yield ""
        yield "average precision, percent; +- is the sd over videos"
        groups = self.groups()
        by_tool = {
            tool: {name: scores[tool] for name, scores in groups.items()} for tool in (*TOOLS, MEAN)
        }
        yield from table("tool", by_tool, tuple(RULES))

    def body(self) -> dict[str, Any]:
        """The JSON: an object a protocol, and the settings."""
        return {
            "unit": "percent",
            "settings": {
                "truth": name_of(self.truth),
                "predicted": name_of(self.predicted),
                "videos": len(self.videos),
                "video_names": list(self.videos),
                "frames": self.frames,
                "unknown_values": self.unknown,
                "tools": list(TOOLS),
                "rules": dict(RULES),
            },
            "notes": list(self.notes),
            **as_json(self.groups()),
        }


def score(truth: Path, predicted: Path) -> ToolComparison:
    """Score a folder of tool probabilities.

    Raises:
        DataError: an empty folder, a file that cannot be read, nothing in common.
    """
    true_files, files = video_files(truth, "tool"), video_files(predicted, "tool")
    names, notes = pair_names(true_files, files, f"{truth}, {predicted}")
    joined = []
    for name, other in names.items():
        left, right = read_tools(true_files[name]), read_tools(files[other], probabilities=True)
        refuse_two_numberings(name, "predictions", right.frames, "truth", left.frames)
        refuse_two_numberings(name, "truth", left.frames, "predictions", right.frames)
        apart = (
            f"(truth from {left.frames[0]}, prediction from {right.frames[0]}); "
            "number both by source frame"
        )
        joined.append(
            join_rows(name, (left.frames, left.values), (right.frames, right.values), apart)
        )
    truths, scores = [v.truth for v in joined], [v.predicted for v in joined]
    return ToolComparison(
        truth=truth,
        predicted=predicted,
        videos=tuple(names),
        frames=sum(map(len, truths)),
        unknown=sum(int(np.isnan(values).sum()) for values in truths),
        notes=(*notes, *row_notes(joined), *_unscored(np.concatenate(scores))),
        scores={"pooled": pooled(truths, scores), "video_first": video_first(truths, scores)},
    )


def _unscored(scores: Floats) -> list[str]:
    missing = np.isnan(scores)
    lines = [f"{TOOLS[at]}: no predictions" for at in np.flatnonzero(missing.all(axis=0))]
    some = int(missing.sum()) - len(scores) * len(lines)
    return [*lines, f"{some} predicted values are empty, left out"] if some else lines
