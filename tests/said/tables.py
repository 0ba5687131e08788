"""Tables and drawings that speak of slides."""

from __future__ import annotations

import json
from pathlib import Path

from tests.said.case import SLIDES, Case, Chapter
from tests.said.slides import slide, tissue


def _two(folder: Path, *lines: str, table: str = "cases.csv") -> None:
    slide(folder / "P1" / "same.tif")
    slide(folder / "P2" / "same.tif", tissue(1))
    (folder.parent / table).write_text("\n".join(lines) + "\n")


def _one(folder: Path, *lines: str, table: str = "cases.csv") -> None:
    slide(folder / "S22-123.tif")
    slide(folder / "S22-124.tif", tissue(1))
    (folder.parent / table).write_text("\n".join(lines) + "\n")


def box(x: int, y: int, side: int, kind: str) -> dict[str, object]:
    """A square annotation of QuPath."""
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": kind}},
    }


def _drawn(folder: Path, names: dict[str, list[dict[str, object]]]) -> None:
    for seed, name in enumerate(("a.ome.tif", "b.tif")):
        slide(folder / name, tissue(seed, 128))
    drawings = folder.parent / "drawings"
    drawings.mkdir()
    for name, features in names.items():
        body = {"type": "FeatureCollection", "features": features}
        (drawings / name).write_text(json.dumps(body))


def _names_of_drawings(folder: Path) -> None:
    found = {name: [box(0, 0, 64, "Tumor")] for name in ("A.geojson", "b.tif.geojson", "c.geojson")}
    _drawn(folder, found)
    (folder.parent / "drawings" / "notes.docx").write_text("x")


def _nested(folder: Path) -> None:
    _drawn(folder, {"a.geojson": [box(0, 0, 128, "Tissue"), box(32, 32, 64, "Tumor")]})


def _spellings(folder: Path) -> None:
    found = {"a.geojson": [box(0, 0, 64, "Tumor")], "b.geojson": [box(0, 0, 64, "tumor")]}
    _drawn(folder, found)


CASES_OF = "--cases cases.csv"
DRAWN = "--annotations drawings"
CASES = (
    Case(
        "A name that two files have",
        "Refused with both.",
        lambda folder: _two(folder, "slide,case", "same.tif,P1"),
        SLIDES,
        CASES_OF,
    ),
    Case(
        "A name in another case, without its suffix, with back-slashes",
        "The file that it means.",
        lambda folder: _two(folder, "slide,case", "p1\\SAME,one", "P2/same.tif,two"),
        SLIDES,
        CASES_OF,
    ),
    Case(
        "A word for none where a patient is expected",
        "Refused: it is no patient.",
        lambda folder: _two(folder, "slide,case", "P1/same.tif,NA", "P2/same.tif,two"),
        SLIDES,
        CASES_OF,
    ),
    Case(
        "A slide that `--cases` does not name",
        "Refused until it is said what it is.",
        lambda folder: _one(folder, "slide,case", "S22-123,one", "S22-0124,two"),
        SLIDES,
        CASES_OF,
        way="--missing-cases source",
    ),
    Case(
        "Rows and columns that nothing uses",
        "Listed with what is near; never used by a guess.",
        lambda folder: _one(
            folder, "slide,mpp,scanner", "S22-123,0.5,x", "S22-0124,0.5,x", table="mpp.csv"
        ),
        SLIDES,
        "--mpp-csv mpp.csv",
    ),
    Case(
        "A table that fits nothing",
        "Refused.",
        lambda folder: _one(folder, "slide,mpp", "x,0.5", "y,0.5", table="mpp.csv"),
        SLIDES,
        "--mpp-csv mpp.csv",
    ),
    Case(
        "A row of more cells than columns",
        "Refused by line.",
        lambda folder: _one(folder, "slide,case", "S22-123,one", "S22-124,two,three"),
        SLIDES,
        CASES_OF,
    ),
    Case(
        "Drawings under names that differ a little, and of no slide",
        "Names meet by one rule; what is of no slide is listed.",
        _names_of_drawings,
        SLIDES,
        DRAWN,
    ),
    Case(
        "A drawing inside another",
        "The innermost labels its tiles: 4 Tumor, 12 Tissue.",
        _nested,
        SLIDES,
        DRAWN,
    ),
    Case(
        "Two spellings of one class",
        "Refused until it is said what is meant.",
        _spellings,
        SLIDES,
        DRAWN,
        way="--class-names tumor=Tumor",
    ),
)
CHAPTER = Chapter("Tables and drawings", CASES)
