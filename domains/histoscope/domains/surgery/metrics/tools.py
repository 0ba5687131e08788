"""Average precision of tools, over all frames together or video by video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from histoscope.core.evaluation.metrics import average_precision
from histoscope.core.evaluation.units import Units
from histoscope.domains.surgery.metrics.spread import Floats, Spread, mean_defined, spread


class ToolScores(NamedTuple):
    """Average precision, in percent.

    Attributes:
        mean: over tools (pooled), or over tools and then videos (video first).
        per_tool: of each tool, (tools,); NaN where undefined.
    """

    mean: Spread
    per_tool: Floats


def average_precisions(truth: Floats, scores: Floats) -> Floats:
    """Average precision of each tool, in percent, (tools,).

    The sum over distinct scores of recall gained times the precision there. Frames whose truth or
    score is NaN (unknown) are left out, tool by tool. NaN where no frame is left or none has the
    tool.

    Args:
        truth: 1 present, 0 absent, NaN unknown, (frames, tools).
        scores: the higher the surer, (frames, tools).
    """
    out = np.full(truth.shape[1], np.nan)
    for tool in range(truth.shape[1]):
        known = ~np.isnan(truth[:, tool]) & ~np.isnan(scores[:, tool])
        present = truth[known, tool].astype(np.int64)
        if present.any():
            every = Units.whole(len(present))
            found = average_precision(present, scores[known, tool], every)(np.ones((1, 1)))
            out[tool] = 100 * found[0]
    return out


def pooled(truths: Sequence[Floats], scores: Sequence[Floats]) -> ToolScores:
    """All frames of all videos together, then the mean over tools.

    A tool that the truth never shows counts 0, as in SelfSupSurg and scikit-learn; a tool without
    a known frame, or without predictions, is left out.
    """
    truth, score = np.concatenate(truths), np.concatenate(scores)
    found = average_precisions(truth, score)
    known = (~np.isnan(truth) & ~np.isnan(score)).any(axis=0)
    per_tool = np.where(known & np.isnan(found), 0.0, found)
    return ToolScores(Spread(spread(per_tool).value), per_tool)


def video_first(truths: Sequence[Floats], scores: Sequence[Floats]) -> ToolScores:
    """Mean over the tools that a video shows, then over videos; sd over videos."""
    table = np.stack([average_precisions(*pair) for pair in zip(truths, scores, strict=True)])
    return ToolScores(spread(mean_defined(table, axis=1)), mean_defined(table, axis=0))
