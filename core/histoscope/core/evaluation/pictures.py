"""Pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.core.files import atomic_path


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
    for row in places:
        for column in places:
            dark = shares[row, column] > 0.5
            panel.text(
                column,
                row,
                f"{counts[row, column]}\n{shares[row, column]:.0%}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark else "black",
            )
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=110)
