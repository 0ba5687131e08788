"""What is drawn and counted of one slide or labelled set after a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Artefact, Reader, Rendering, Results, Scalar
from histoscope.core.files import atomic_path, write_csv
from histoscope.domains.pathology.canvas import GROUND, Entry, paint, rgb, with_strip
from histoscope.domains.pathology.class_map import ClassMap, class_map, has_places
from histoscope.domains.pathology.thumbnail import Thumbnail

LONGEST_PX = 1600
SMALLEST_PX = 800  # a smaller picture is enlarged, or its legend could not be read
MPP_SOURCES = {
    "file": "stated in the file",
    "mpp-csv": "given with --mpp-csv, not by the file",
    "default-mpp": "given with --default-mpp, because the file states none",
    "--mpp": "given with --mpp",
}


@runtime_checkable
class Pictured(Protocol):
    """A reader that can show the whole slide."""

    facts: Mapping[str, Scalar]

    def overview(self, longest_px: int) -> Thumbnail:
        """The whole slide, no side longer than ``longest_px``."""


@dataclass(frozen=True)
class _Ground:
    """A slide's picture and its scale.

    Attributes:
        image: (height, width, 3).
        ratio: level-0 px per pixel of the picture, x and y.
        um_per_px: of the picture, along x.
        whole: whether all of the slide could be read for it.
    """

    image: NDArray[np.uint8]
    ratio: tuple[float, float]
    um_per_px: float
    whole: bool


def render(reader: Reader, results: Results, out: Path) -> Rendering:
    """Write ``classes.csv`` and, where places on a slide are known, two pictures.

    Args:
        reader: the open slide or set.
        results: what the package says of it.
        out: folder of this source.
    """
    classes = len(results.task.classes)
    counts = _counts(results.probabilities)
    unreadable = len(results.rows) - int(counts.sum())
    if not (isinstance(reader, Pictured) and has_places(results.rows)):
        table = _write_classes(results, counts, None, out)
        return Rendering([table], _count_facts(reader, counts, unreadable))
    size = (int(_number(reader, "width_level0_px")), int(_number(reader, "height_level0_px")))
    mpp = (_number(reader, "mpp_x"), _number(reader, "mpp_y"))
    where = class_map(results.rows, results.probabilities, size)
    areas = where.areas_px() * mpp[0] * mpp[1] / 1e6  # mm2
    ground = _ground(reader, mpp[0])
    artefacts = [
        _draw_overlay(ground, where, results, out),
        _draw_plain(ground, out),
        _write_classes(results, counts, areas[:classes], out),
    ]
    facts = {
        **_count_facts(reader, counts, unreadable),
        **_area_facts(results.rows, float(areas[:classes].sum())),
        **_slide_facts(reader, results.rows, size, mpp),
    }
    return Rendering(artefacts, facts)


def _counts(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Readable tiles by class, (classes,)."""
    good = probabilities[~np.isnan(probabilities).any(axis=1)]
    return np.bincount(good.argmax(axis=1), minlength=probabilities.shape[1])


def _write_classes(
    results: Results, counts: NDArray[np.int64], areas: NDArray[np.float64] | None, out: Path
) -> Artefact:
    columns = {
        "class": pa.array(results.task.classes, pa.string()),
        "tiles": pa.array(counts, pa.int64()),
    }
    if areas is not None:
        columns["area_mm2"] = pa.array(areas.round(6), pa.float64())
    columns["share"] = pa.array((counts / max(1, counts.sum())).round(6), pa.float64())
    write_csv(out / "classes.csv", pa.table(columns))
    said = "Tiles by predicted class; share is a part of the tiles that could be read."
    return Artefact("classes.csv", "table", "Classes", said)


def _ground(reader: Pictured, mpp_x: float) -> _Ground:
    """The slide's picture, unreadable parts grey, enlarged when it is very small."""
    small = reader.overview(LONGEST_PX)
    image = np.where(small.readable[:, :, None], small.image, np.uint8(GROUND[0]))
    ratio = small.ratio
    if (longest := max(image.shape[:2])) < SMALLEST_PX:
        height, width = image.shape[:2]
        times = -(-SMALLEST_PX // longest)
        larger = cv2.resize(image, (width * times, height * times), interpolation=cv2.INTER_CUBIC)
        image, ratio = np.asarray(larger, np.uint8), (ratio[0] / times, ratio[1] / times)
    return _Ground(image, ratio, ratio[0] * mpp_x, bool(small.readable.all()))


def _draw_overlay(ground: _Ground, where: ClassMap, results: Results, out: Path) -> Artefact:
    """Class colours over the picture; the legend names what is there."""
    classes = where.on_picture((ground.image.shape[0], ground.image.shape[1]), ground.ratio)
    present = set(np.unique(where.cells).tolist())
    legend = [
        Entry(name, rgb(results.colours[number]))
        for number, name in enumerate(results.task.classes)
        if number in present
    ]
    caption = "Colour is the class with the best score; what is left uncoloured was not analysed."
    if where.unreadable in present:
        legend.append(Entry("unreadable", None))
        caption += " Hatched tiles could not be read."
    painted = paint(ground.image, classes, results.colours)
    with atomic_path(out / "overlay.png") as part:
        with_strip(painted, ground.um_per_px, legend).save(part, format="png")
    return Artefact("overlay.png", "picture", "Predicted classes", caption)


def _draw_plain(ground: _Ground, out: Path) -> Artefact:
    with atomic_path(out / "thumbnail.jpg") as part:
        with_strip(ground.image, ground.um_per_px, []).save(part, format="jpeg", quality=90)
    caption = "" if ground.whole else "Plain grey could not be read."
    return Artefact("thumbnail.jpg", "picture", "The same without colours", caption)


def _count_facts(reader: Reader, counts: NDArray[np.int64], unreadable: int) -> dict[str, str]:
    facts = {"Tiles analysed": _grouped(int(counts.sum()))}
    facts["Tiles that could not be read"] = _grouped(unreadable)
    facts["Read with"] = ", ".join(
        str(reader.facts[name]) for name in ("reader", "vendor") if reader.facts.get(name)
    )
    return facts


def _area_facts(rows: pa.Table, area_mm2: float) -> dict[str, str]:
    facts = {"Area analysed": f"{area_mm2:.3g} mm²"}
    if "tissue" in rows.column_names:
        good = rows.filter(pc.equal(rows.column("status"), "ok"))
        part = pc.mean(good.column("tissue")).as_py()
        if part is not None:
            facts["Tissue in it, about"] = f"{area_mm2 * part:.3g} mm²"
    return facts


def _slide_facts(
    reader: Reader, rows: pa.Table, size: tuple[int, int], mpp: tuple[float, float]
) -> dict[str, str]:
    said_by = str(reader.facts.get("mpp_source"))
    span = rows.column("width_level0_px")[0].as_py()
    return {
        "Scale": f"{_pair(mpp[0], mpp[1], '.4g')} µm per pixel of the full resolution, "
        f"{MPP_SOURCES.get(said_by, said_by)}",
        "Slide": f"{_grouped(size[0])} x {_grouped(size[1])} px, "
        f"{size[0] * mpp[0] / 1000:.3g} x {size[1] * mpp[1] / 1000:.3g} mm",
        "One tile": f"{span * mpp[0]:.4g} µm wide ({span:.5g} px of the full resolution)",
    }


def _pair(x: float, y: float, form: str) -> str:
    one, two = format(x, form), format(y, form)
    return one if one == two else f"{one} x {two}"


def _grouped(number: int) -> str:
    """``12 345`` with narrow spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")


def _number(reader: Reader, name: str) -> float:
    value = reader.facts[name]
    if not isinstance(value, int | float):
        raise TypeError(f"the fact {name} is no number: {value!r}")
    return float(value)
