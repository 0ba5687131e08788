"""Pictures of an evaluation, and of the difference of two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.core.evaluation.comparison import Compared
from histoscope.core.files import atomic_path

NAMED, LINE = 3, 0.08  # dots that carry their case's name; what a line of it takes


def draw_confusion(counts: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix as PNG: rows are the truth, shades are shares of the row."""
    from matplotlib.figure import Figure

    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = 2.2 + 0.75 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    panel = figure.add_subplot()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    panel.set_xticks(places, classes, rotation=45, ha="right")
    panel.set_yticks(places, classes)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    for (row, column), share in np.ndenumerate(shares):
        text, colour = f"{counts[row, column]}\n{share:.0%}", "white" if share > 0.5 else "black"
        panel.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=110)


def draw_difference(found: Compared, path: Path) -> None:
    """Draw each case's difference as a dot, below them that of all with its interval, as PNG.

    A dot's area is the case's number of samples; those furthest from 0 are named, where a name has
    room.
    """
    from matplotlib.figure import Figure

    cases, gap = found.cases, found.gap
    apart = cases.one - cases.other
    known = np.flatnonzero(~np.isnan(apart))
    order = known[np.argsort(apart[known])]
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panel = figure.add_subplot()
    heights = np.linspace(0.15, 1, len(order)) if len(order) > 1 else np.full(len(order), 0.5)
    sizes = 20 + 180 * cases.samples[order] / max(1, cases.samples.max())
    panel.scatter(apart[order], heights, s=sizes, color="#1f4e79", alpha=0.55, linewidths=0)
    for place in _named(apart[order], heights):
        name = cases.names[order[place]].partition(":")[2] or cases.names[order[place]]
        panel.annotate(
            name,
            (apart[order][place], heights[place]),
            xytext=(8, -3),
            textcoords="offset points",
            fontsize=8,
        )
    panel.axvline(0, color="#777", linewidth=1)
    ends = np.nan_to_num([gap.low, gap.high], nan=gap.mean)
    panel.plot(ends, [-0.15, -0.15], color="#b3261e", linewidth=3, solid_capstyle="butt")
    panel.plot([gap.mean], [-0.15], "D", color="#b3261e", markersize=7)
    panel.set_yticks([-0.15, 0.575], ["all", f"each of {len(order)} {found.over}"])
    panel.set_ylim(-0.4, 1.15)
    panel.set_xlabel(f"{found.metric.replace('_', ' ')} of {found.one} less that of {found.other}")
    panel.spines[["top", "right", "left"]].set_visible(False)
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=110)


def _named(apart: NDArray[np.float64], heights: NDArray[np.float64]) -> list[int]:
    """The dots furthest from 0 whose names do not lie on each other."""
    out: list[int] = []
    for place in np.argsort(-np.abs(apart), kind="stable"):
        if all(abs(heights[place] - heights[other]) >= LINE for other in out):
            out.append(int(place))
    return out[:NAMED]
