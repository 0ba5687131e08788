"""What is drawn and counted of one slide or labelled set after a prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts import Answer, Artefact, Column, Reader, Rendering, Results
from histoscope.core.data.units import sample_keys
from histoscope.core.tables.typed import write_typed_csv
from histoscope.domains.pathology.annotations.qupath import bounds_offset
from histoscope.domains.pathology.attention import (
    Counted,
    counted_in,
    draw_attention,
    half_facts,
    write_first,
)
from histoscope.domains.pathology.canvas import (
    GROUND,
    PNG,
    Entry,
    paint,
    rgb,
    with_strip,
    write_picture,
)
from histoscope.domains.pathology.class_map import ClassMap, class_map
from histoscope.domains.pathology.feature_reader import FeatureReader
from histoscope.domains.pathology.geojson import (
    Feature,
    region_features,
    tile_features,
    write_features,
)
from histoscope.domains.pathology.lettering import NO_FONT, can_be_drawn
from histoscope.domains.pathology.options import Coordinates
from histoscope.domains.pathology.thumbnail import Thumbnail
from histoscope.domains.pathology.tiling import has_places

if TYPE_CHECKING:
    from histoscope.domains.pathology.slide_reader import SlideReader

    Pictured = SlideReader | FeatureReader

LONGEST_PX = 1600
SMALLEST_PX = 800  # a smaller picture is enlarged, or its legend could not be read
MPP_SOURCES = {
    "file": "stated in the file",
    "mpp-csv": "given with --mpp-csv, not by the file",
    "default-mpp": "given with --default-mpp, because the file states none that can be true",
    "--mpp": "given with --mpp",
    "features": "as the file of features says",
}


def render(reader: Reader, results: Results, coordinates: Coordinates, out: Path) -> Rendering:
    """Write tables and, where places on a slide are known, pictures and GeoJSON.

    Of several tasks each has its table and, where its classes are exclusive, its overlay, with
    the task's name in the file's; so has the attention of each answer about the whole slide.

    Args:
        reader: the open slide, set or file of features, of which no picture is drawn.
        results: what the package says of it.
        coordinates: whose pixels are written into GeoJSON.
        out: folder of this source.
    """
    rows, counted = results.rows, counted_in(results)
    told: Mapping[str, Any] = reader.facts
    good = int(pc.sum(pc.equal(rows.column("status"), "ok")).as_py())
    facts = _count_facts(told, good, len(rows) - good) | half_facts(counted)
    # of several tasks, files and titles are told apart by the task's name
    named = [(one, one.task.name if len(results.answers) > 1 else "") for one in results.answers]
    if not has_places(rows):
        return Rendering([_write_classes(*one, good, None, out) for one in named], facts)
    size, mpp = (told["width_level0_px"], told["height_level0_px"]), (told["mpp_x"], told["mpp_y"])
    ground, far = _ground(cast("Pictured", reader)), _far_corner(told)  # sets have no places
    pictures, tables, area = list[Artefact](), list[Artefact](), None
    objects, offset = list[Artefact](), bounds_offset(told, coordinates)
    for answer, name in named:
        areas = None
        if answer.task.exclusive:
            where = class_map(rows, answer.probabilities, far, answer.least)
            areas = where.areas_px()[: len(answer.kinds)] * mpp[0] * mpp[1] / 1e6  # mm2
            area = float(areas.sum())
            pictures.append(_draw_overlay(ground, mpp[0], where, answer, name, out))
            regions = region_features(where, results.source.id, answer, mpp, offset)
            objects.append(_write_objects("regions", name, regions, out))
        tables.append(_write_classes(answer, name, good, areas, out))
        objects.append(_write_tiles(results, answer, name, counted, offset, out))
    for one in counted:
        pictures.append(draw_attention(ground, mpp[0], rows, far, one, out))
        tables.append(write_first(rows, offset, one, out))
    if counted and not named:
        objects.append(_write_tiles(results, None, "", counted, offset, out))
    facts |= {} if area is None else _area_facts(rows, area)
    facts |= _slide_facts(told, rows, size, mpp)
    plain = [] if isinstance(reader, FeatureReader) else [_draw_plain(ground, mpp[0], out)]
    return Rendering([*pictures, *plain, *tables, *objects], facts)


def _far_corner(told: Mapping[str, Any]) -> tuple[int, int]:
    """Where what was scanned ends, level-0 px; behind it nothing has a class or an area."""
    ends = []
    for axis, side in (("x", "width"), ("y", "height")):
        whole = told[f"{side}_level0_px"]
        start = told.get(f"bounds_{axis}_level0_px", 0)
        ends.append(start + told.get(f"bounds_{side}_level0_px", whole - start))
    return ends[0], ends[1]


def _write_classes(
    answer: Answer, name: str, good: int, areas: NDArray[np.float64] | None, out: Path
) -> Artefact:
    counts = answer.chosen().sum(axis=0)
    columns: dict[Column, Any] = {
        Column("class"): answer.kinds,
        Column("tiles", "count"): counts,
    }
    if areas is not None:
        columns[Column("area_mm2", "number", "area mm²")] = areas.round(6)
    columns[Column("share", "share")] = (counts / max(1, good)).round(6)
    said = "Tiles by predicted class; share is a part of the tiles that could be read."
    file = f"classes-{name}.csv" if name else "classes.csv"
    title = f"Classes: {name}" if name else "Classes"
    return write_typed_csv(out / file, title, said, columns, answer.task.name)


def _write_tiles(
    results: Results,
    answer: Answer | None,
    name: str,
    counted: Sequence[Counted],
    offset: tuple[int, int],
    out: Path,
) -> Artefact:
    """With what one head says of each, and how much each counted in what others say of all."""
    ids = sample_keys(results.source, results.rows)
    more = {f"attention {one.task}": one.times for one in counted}
    return _write_objects(
        "tiles", name, tile_features(results.rows, ids, answer, offset, more), out
    )


def _write_objects(kind: str, name: str, features: Iterable[Feature], out: Path) -> Artefact:
    """Tiles or regions of one task for QuPath."""
    file = f"{kind}-{name}.geojson" if name else f"{kind}.geojson"
    write_features(out / file, features)
    of_task = f", {name}" if name else ""
    return Artefact(file, "data", f"{kind.capitalize()} for QuPath{of_task}")


def _ground(reader: Pictured) -> Thumbnail:
    """The slide's picture, unreadable parts grey, enlarged when it is very small."""
    small = reader.overview(LONGEST_PX)
    image = np.where(small.readable[:, :, None], small.image, np.uint8(GROUND[0]))
    ratio = small.ratio
    if (longest := max(image.shape[:2])) < SMALLEST_PX:
        height, width = image.shape[:2]
        times = -(-SMALLEST_PX // longest)
        larger = cv2.resize(image, (width * times, height * times), interpolation=cv2.INTER_CUBIC)
        image, ratio = np.asarray(larger, np.uint8), (ratio[0] / times, ratio[1] / times)
    return replace(small, image=image, ratio=ratio)


def _draw_overlay(
    ground: Thumbnail, mpp_x: float, where: ClassMap, answer: Answer, name: str, out: Path
) -> Artefact:
    """Class colours over the picture; the legend names what is there."""
    classes = where.on_picture((ground.image.shape[0], ground.image.shape[1]), ground.ratio)
    present = set(np.unique(where.cells).tolist())
    there = [one for one in enumerate(answer.kinds) if one[0] in present]
    legend = [Entry(_shown(*one), rgb(answer.kind_colours[one[0]])) for one in there]
    caption = "Colour is the class with the best score; what is left uncoloured was not analysed."
    if answer.doubts:
        caption += f" Uncertain is where the best score is below {answer.least:g}."
    numbered = [f"{_shown(*one)} is {one[1]}" for one in there if _shown(*one) != one[1]]
    if numbered:
        caption += f" In the legend {', '.join(numbered)} ({NO_FONT})."
    if where.unreadable in present:
        legend.append(Entry("unreadable", None))
        caption += " Hatched tiles could not be read."
    painted = paint(ground.image, classes, answer.kind_colours)
    file = f"overlay-{name}.png" if name else "overlay.png"
    picture = with_strip(painted, ground.ratio[0] * mpp_x, legend)
    write_picture(out / file, picture, **PNG)
    title = f"Predicted classes: {name}" if name else "Predicted classes"
    return Artefact(file, "picture", title, caption)


def _shown(number: int, kind: str) -> str:
    """What the legend calls a class: its name, or its row in the table of classes."""
    return kind if can_be_drawn(kind) else f"no. {number + 1}"


def _draw_plain(ground: Thumbnail, mpp_x: float, out: Path) -> Artefact:
    picture = with_strip(ground.image, ground.ratio[0] * mpp_x, [])
    write_picture(out / "thumbnail.jpg", picture, format="jpeg", quality=90)
    caption = "" if ground.readable.all() else "Plain grey could not be read."
    return Artefact("thumbnail.jpg", "picture", "The same without colours", caption)


def _count_facts(told: Mapping[str, Any], good: int, unreadable: int) -> dict[str, str]:
    facts = {
        "Tiles analysed": _grouped(good),
        "Tiles that could not be read": _grouped(unreadable),
        "Read with": ", ".join(str(told[by]) for by in ("reader", "vendor") if told.get(by)),
    }
    if "stain_fit" in told:
        facts["Stain normalisation"] = str(told["stain_fit"])
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
    told: Mapping[str, Any], rows: pa.Table, size: tuple[int, int], mpp: tuple[float, float]
) -> dict[str, str]:
    said_by = str(told.get("mpp_source"))
    scale = " x ".join(dict.fromkeys(f"{um:.4g}" for um in mpp))
    span = rows.column("width_level0_px")[0].as_py()
    by = f"; {told['side_of_patches']}" if "side_of_patches" in told else ""
    return {
        "Scale": f"{scale} µm per pixel of the full resolution, "
        f"{MPP_SOURCES.get(said_by, said_by)}",
        "Slide": f"{_grouped(size[0])} x {_grouped(size[1])} px, "
        f"{size[0] * mpp[0] / 1000:.3g} x {size[1] * mpp[1] / 1000:.3g} mm",
        "One tile": f"{span * mpp[0]:.4g} µm wide ({span:.5g} px of the full resolution{by})",
    }


def _grouped(number: int) -> str:
    """``12 345`` with narrow spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")
