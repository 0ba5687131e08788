"""What is drawn and counted of one slide or labelled set after a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Answer, Artefact, Column, Reader, Rendering, Results, Scalar
from histoscope.core.files import atomic_path
from histoscope.core.tables.typed import write_typed_csv
from histoscope.domains.pathology.canvas import GROUND, Entry, paint, rgb, with_strip
from histoscope.domains.pathology.class_map import ClassMap, class_map
from histoscope.domains.pathology.thumbnail import Thumbnail
from histoscope.domains.pathology.tiling import has_places

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
    """Write ``classes.csv`` and, where places on a slide are known, pictures.

    Of several tasks each has its table and, where its classes are exclusive, its overlay, with
    the task's name in the file's.

    Args:
        reader: the open slide or set.
        results: what the package says of it.
        out: folder of this source.
    """
    good = int(pc.sum(pc.equal(results.rows.column("status"), "ok")).as_py())
    facts = _count_facts(reader, good, len(results.rows) - good)
    if not (isinstance(reader, Pictured) and has_places(results.rows)):
        tables = [_write_classes(_Named(a, results), good, None, out) for a in results.answers]
        return Rendering(tables, facts)
    size = (int(_number(reader, "width_level0_px")), int(_number(reader, "height_level0_px")))
    mpp = (_number(reader, "mpp_x"), _number(reader, "mpp_y"))
    ground = _ground(reader, mpp[0])
    pictures, tables, area = list[Artefact](), list[Artefact](), None
    for answer in results.answers:
        named, areas = _Named(answer, results), None
        if answer.task.exclusive:
            where = class_map(results.rows, answer.probabilities, size)
            areas = where.areas_px()[: len(answer.task.classes)] * mpp[0] * mpp[1] / 1e6  # mm2
            area = float(areas.sum())
            pictures.append(_draw_overlay(ground, where, named, out))
        tables.append(_write_classes(named, good, areas, out))
    facts |= {} if area is None else _area_facts(results.rows, area)
    facts |= _slide_facts(reader, results.rows, size, mpp)
    return Rendering([*pictures, _draw_plain(ground, out), *tables], facts)


@dataclass(frozen=True)
class _Named:
    """An answer, and how its files and titles are told apart from those of other tasks."""

    answer: Answer
    results: Results

    def file(self, stem: str, suffix: str) -> str:
        """``stem.suffix``, or ``stem-TASK.suffix`` where there are several tasks."""
        alone = len(self.results.answers) == 1
        return f"{stem}.{suffix}" if alone else f"{stem}-{self.answer.task.name}.{suffix}"

    def title(self, text: str) -> str:
        """The title, with the task where there are several."""
        alone = len(self.results.answers) == 1
        return text if alone else f"{text}: {self.answer.task.name}"


def _write_classes(
    named: _Named, good: int, areas: NDArray[np.float64] | None, out: Path
) -> Artefact:
    counts = named.answer.chosen().sum(axis=0)
    columns: dict[Column, Any] = {
        Column("class"): named.answer.task.classes,
        Column("tiles", "count"): counts,
    }
    if areas is not None:
        columns[Column("area_mm2", "number", "area mm²")] = areas.round(6)
    columns[Column("share", "share")] = (counts / max(1, good)).round(6)
    said = "Tiles by predicted class; share is a part of the tiles that could be read."
    return write_typed_csv(
        out / named.file("classes", "csv"), named.title("Classes"), said, columns
    )


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


def _draw_overlay(ground: _Ground, where: ClassMap, named: _Named, out: Path) -> Artefact:
    """Class colours over the picture; the legend names what is there."""
    answer = named.answer
    classes = where.on_picture((ground.image.shape[0], ground.image.shape[1]), ground.ratio)
    present = set(np.unique(where.cells).tolist())
    legend = [
        Entry(name, rgb(answer.colours[number]))
        for number, name in enumerate(answer.task.classes)
        if number in present
    ]
    caption = "Colour is the class with the best score; what is left uncoloured was not analysed."
    if where.unreadable in present:
        legend.append(Entry("unreadable", None))
        caption += " Hatched tiles could not be read."
    painted = paint(ground.image, classes, answer.colours)
    file = named.file("overlay", "png")
    with atomic_path(out / file) as part:
        with_strip(painted, ground.um_per_px, legend).save(part, format="png")
    return Artefact(file, "picture", named.title("Predicted classes"), caption)


def _draw_plain(ground: _Ground, out: Path) -> Artefact:
    with atomic_path(out / "thumbnail.jpg") as part:
        with_strip(ground.image, ground.um_per_px, []).save(part, format="jpeg", quality=90)
    caption = "" if ground.whole else "Plain grey could not be read."
    return Artefact("thumbnail.jpg", "picture", "The same without colours", caption)


def _count_facts(reader: Reader, good: int, unreadable: int) -> dict[str, str]:
    facts = {"Tiles analysed": _grouped(good)}
    facts["Tiles that could not be read"] = _grouped(unreadable)
    facts["Read with"] = ", ".join(
        str(reader.facts[name]) for name in ("reader", "vendor") if reader.facts.get(name)
    )
    if "stain_fit" in reader.facts:
        facts["Stain normalisation"] = str(reader.facts["stain_fit"])
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
