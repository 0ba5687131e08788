"""The timeline of an operation: one bar a task, one line a tool, one row of marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Answer, Results
from histoscope.core.files import atomic_path
from histoscope.domains.surgery.marks import BLACK, OUTSIDE, REPEATED, runs
from histoscope.domains.surgery.timeline import clock

WIDTH_IN, ROW_IN, DPI = 11.0, 0.34, 130
MARKS = {BLACK: "#111111", REPEATED: "#8c8c8c", OUTSIDE: "#b5651d"}
TICKS_S = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
MOST_TICKS = 10


def draw_timeline(
    results: Results, times_s: NDArray[np.float64], step_s: float, path: Path
) -> None:
    """Draw what every task says over time, as PNG.

    Args:
        results: of one operation; rows in order of time.
        times_s: of the rows.
        step_s: how long one row stands for.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    exclusive = [answer for answer in results.answers if answer.task.exclusive]
    present = [answer for answer in results.answers if not answer.task.exclusive]
    heights = [1.6] * len(exclusive) + [0.62 * len(a.task.classes) for a in present] + [0.7]
    legend_rows = sum(-(-len(answer.kinds) // 4) for answer in exclusive) + 1
    figure = Figure(
        figsize=(WIDTH_IN, ROW_IN * (sum(heights) + legend_rows + 2.2)), layout="constrained"
    )
    panels = figure.subplots(
        len(heights), 1, sharex=True, height_ratios=heights, squeeze=False
    ).ravel()
    for panel, answer in zip(panels, exclusive, strict=False):
        parts = zip(answer.kind_colours, answer.chosen().T, strict=True)
        _draw_bar(panel, answer.task.name, parts, times_s, step_s)
    for panel, answer in zip(panels[len(exclusive) : -1], present, strict=True):
        _draw_lines(panel, answer, times_s, step_s)
    marks = np.array([mark or "" for mark in results.rows.column("mark").to_pylist()])
    marked = [(colour, marks == name) for name, colour in MARKS.items()]
    _draw_bar(panels[-1], "marks", marked, times_s, step_s)
    end = float(times_s[-1]) + step_s
    panels[-1].set_xlim(0, end)
    _clock_axis(panels[-1], end)
    _legend(figure, exclusive, results)
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=DPI, metadata={"Software": None})


def spans(
    held: NDArray[np.bool_], times_s: NDArray[np.float64], step_s: float
) -> list[tuple[float, float]]:
    """Start and length of each stretch in which a class holds; gaps in time end a stretch."""
    out = []
    for start, end in runs(held):
        cuts = np.flatnonzero(np.diff(times_s[start:end]) > 1.5 * step_s) + start + 1
        for first, last in zip([start, *cuts], [*cuts, end], strict=True):
            out.append((float(times_s[first]), float(times_s[last - 1] - times_s[first]) + step_s))
    return out


def _draw_bar(
    panel: Any,
    title: str,
    parts: Iterable[tuple[str, NDArray[np.bool_]]],
    times_s: NDArray[np.float64],
    step_s: float,
) -> None:
    """Stretches in their colours, of which at most one holds at a time."""
    for colour, held in parts:
        panel.broken_barh(spans(held, times_s, step_s), (0, 1), facecolors=colour, lw=0)
    panel.set_ylim(0, 1)
    panel.set_yticks([0.5], [title])
    _plain(panel)


def _draw_lines(panel: Any, answer: Answer, times_s: NDArray[np.float64], step_s: float) -> None:
    held, names = answer.chosen(), answer.task.classes
    for place, colour in enumerate(answer.colours):
        stretches = spans(held[:, place], times_s, step_s)
        panel.broken_barh(stretches, (place + 0.15, 0.7), facecolors=colour, lw=0)
    panel.set_ylim(len(names), 0)
    panel.set_yticks(np.arange(len(names)) + 0.5, names)
    panel.set_yticks(np.arange(len(names) + 1), minor=True)
    panel.grid(axis="y", which="minor", color="#dddddd", linewidth=0.6)
    _plain(panel)


def _plain(panel: Any) -> None:
    panel.tick_params(axis="both", which="both", length=0, labelsize=9)
    for side in ("top", "right", "left", "bottom"):
        panel.spines[side].set_color("#999999")


def _clock_axis(panel: Any, end_s: float) -> None:
    step = next((tick for tick in TICKS_S if end_s / tick <= MOST_TICKS), TICKS_S[-1])
    ticks = np.arange(0, end_s, step)
    hours = end_s >= 3600
    panel.set_xticks(ticks, [clock(tick) if hours else clock(tick)[2:] for tick in ticks])
    panel.tick_params(axis="x", length=3)
    panel.set_xlabel("h:mm:ss" if hours else "mm:ss", fontsize=9)


def _legend(figure: Any, exclusive: Sequence[Answer], results: Results) -> None:
    from matplotlib.patches import Patch

    entries = [
        Patch(color=colour, label=name)
        for answer in exclusive
        for name, colour in zip(answer.kinds, answer.kind_colours, strict=True)
    ]
    found = set(results.rows.column("mark").drop_null().to_pylist())
    entries += [Patch(color=MARKS[name], label=name) for name in MARKS if name in found]
    if entries:
        figure.legend(handles=entries, loc="outside lower left", ncols=4, fontsize=9, frameon=False)
