"""How much each tile counted in what a head says of its whole slide: a map, and the first ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import Artefact, Column, Results
from histoscope.core.tables.typed import write_typed_csv
from histoscope.domains.pathology.canvas import (
    PNG,
    Entry,
    paint,
    rgb,
    with_strip,
    write_picture,
)
from histoscope.domains.pathology.class_map import step_map
from histoscope.domains.pathology.thumbnail import Thumbnail
from histoscope.domains.pathology.tiling import places_of

STEPS = (0.5, 2, 10, 50)  # times the average tile
LEGEND = {  # viridis at equal distances: as light as they are high, also to the colour-blind
    "less than half the average tile": "#440154",
    "half to twice": "#3b528b",
    "2 to 10 times": "#21918c",
    "10 to 50 times": "#5ec962",
    "50 times the average tile or more": "#fde725",
}
FAINT = 0.4  # of the slide's contrast is left below, in grey: a stain would mix with the colours
ALPHA = 0.6
FIRST, ENOUGH = 12, 0.99  # tiles that are listed: so many at most, or that hold so much of all
HALF = 0.5 - 1e-6  # weights are a head's floats


@dataclass(frozen=True)
class Counted:
    """How much each tile counted in one answer about its slide.

    Attributes:
        task: what was asked.
        name: tells its files and titles from those of others; empty where there are none.
        times: against the average tile, whose weight is an even share, (tiles,); NaN where a tile
            could not be read.
    """

    task: str
    name: str
    times: NDArray[np.float64]

    @property
    def order(self) -> NDArray[np.intp]:
        """Tiles that could be read, those that counted most before the others."""
        order = np.argsort(-self.times, kind="stable")  # NaN comes last
        return order[: np.isfinite(self.times).sum()]

    @property
    def together(self) -> NDArray[np.float64]:
        """Which part of all the first 1, 2, ... in this order hold."""
        return np.asarray(self.times[self.order].cumsum() / len(self.order))

    def titled(self, words: str) -> str:
        """A title with the task's name where that is needed."""
        return f"Attention for {self.name}: {words}" if self.name else f"Attention: {words}"

    def file(self, ending: str) -> str:
        """``attention.png``, or with the task's name."""
        return f"attention-{self.name}{ending}" if self.name else f"attention{ending}"


def counted_in(results: Results) -> list[Counted]:
    """Of each answer about the slide whose head says how much its tiles counted."""
    said = [one for one in results.of_source if one.weights is not None]
    return [
        Counted(one.task.name, one.task.name if len(said) > 1 else "", results.counted(one))
        for one in said
    ]


def half_facts(counted: Sequence[Counted]) -> dict[str, str]:
    """How few tiles hold half of the attention."""
    facts = {}
    for one in counted:
        few, all_of_them = int(np.searchsorted(one.together, HALF)) + 1, len(one.order)
        of_task = f" for {one.name}" if one.name else ""
        numbers = f"{few:,} of {all_of_them:,} tiles".replace(",", "\u202f")
        facts[f"Half of the attention{of_task} lies on"] = numbers
    return facts


def draw_attention(
    ground: Thumbnail,
    mpp_x: float,
    rows: pa.Table,
    far_corner: tuple[int, int],
    counted: Counted,
    out: Path,
) -> Artefact:
    """Steps of attention over the grey picture, overlapping tiles by their mean.

    Args:
        ground: the slide's picture.
        mpp_x: um per level-0 px.
        rows: tiles with their place.
        far_corner: where the scan ends, level-0 px.
        counted: of each tile.
        out: folder of the slide.
    """
    where = step_map(rows, counted.times, far_corner, STEPS)
    steps = where.on_picture((ground.image.shape[0], ground.image.shape[1]), ground.ratio)
    caption = (
        f"Colour is how much a tile counted in what is said of the whole slide ({counted.task}), "
        "against the average tile. It shows what that answer rests on, not where a class lies, "
        "and was never checked against drawings. What is left uncoloured was not analysed."
    )
    legend = [Entry(name, rgb(colour)) for name, colour in LEGEND.items()]
    if (where.cells == where.unreadable).any():
        legend.append(Entry("unreadable", None))
        caption += " Hatched tiles could not be read."
    painted = paint(_faint(ground.image), steps, tuple(LEGEND.values()), ALPHA)
    picture = with_strip(painted, ground.ratio[0] * mpp_x, legend)
    write_picture(out / counted.file(".png"), picture, **PNG)
    title = counted.titled("how much each tile counted")
    return Artefact(counted.file(".png"), "picture", title, caption)


def write_first(rows: pa.Table, offset: tuple[int, int], counted: Counted, out: Path) -> Artefact:
    """Write ``attention.csv``: where the tiles lie that counted most, and how much they did.

    Args:
        rows: tiles with their place.
        offset: what is taken from level-0 px to get those of QuPath, x and y.
        counted: of each tile.
        out: folder of the slide.
    """
    first = counted.order[: min(FIRST, int(np.searchsorted(counted.together, ENOUGH)) + 1)]
    corner = [one[first].astype(np.int64) for one in places_of(rows)[:2]]
    columns: dict[Column, Any] = {
        Column("rank", "count"): np.arange(1, len(first) + 1),
        Column("x_level0_px", "count", "x, px"): corner[0],
        Column("y_level0_px", "count", "y, px"): corner[1],
    }
    if offset != (0, 0):
        columns[Column("x_qupath_px", "count", "x, QuPath")] = corner[0] - offset[0]
        columns[Column("y_qupath_px", "count", "y, QuPath")] = corner[1] - offset[1]
    times, together = counted.times[first], counted.together[: len(first)]
    columns[Column("times_average", "number", "times average")] = times.round(6)
    columns[Column("together", "share")] = together.round(6)
    caption = (
        f"The tiles that counted most in what is said of the slide ({counted.task}): their upper "
        "left corners in pixels of level 0, how much they counted against the average tile, and "
        "which part of all attention each and those above hold together."
    )
    title = counted.titled(f"the first {len(first)} tiles" if len(first) > 1 else "the first tile")
    return write_typed_csv(out / counted.file(".csv"), title, caption, columns)


def _faint(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """In pale grey, (height, width, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    pale = np.rint(255 - (255 - grey) * FAINT).astype(np.uint8)
    return np.repeat(pale[:, :, None], 3, axis=2)
