"""A model that knows the truth draws it where it is: what is lost, geometry has lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.contracts import Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.store import Store
from histoscope.core.files import read_json
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.packages.package import PACKAGE
from histoscope.core.progress import Silent
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.canvas import ALPHA, BORDER_ALPHA, rgb
from histoscope.domains.pathology.options import PrepareOptions, ReadOptions, TileSampling
from tests.domains.pathology.coded_slides import STEP, Coded, Pixels
from tests.domains.pathology.test_coded_formats import FORMATS, MPP

WIDE, TALL = 1408, 1152
CLASSES = {  # as dark and as far apart as stains
    "glass": (243, 242, 244),
    "left": (190, 60, 150),
    "middle": (60, 70, 180),
    "right": (150, 110, 40),
}
ENOUGH = 0.9
SPACING = 3  # level-0 px between the places of the overlay that are looked at


@cache
def truth() -> NDArray[np.intp]:
    """Class of each level-0 pixel of the scan: a wavy section on glass, with a disc in it."""
    x, y = np.meshgrid(np.arange(WIDE) + 0.5, np.arange(TALL) + 0.5)
    inside = ((x - 704) / 640) ** 2 + ((y - 576) / 520) ** 2 < 1
    side = np.where(x + 60 * np.sin(y / 90) < 620, 1, 3)
    disc = (x - 800) ** 2 + (y - 620) ** 2 < 240**2
    return np.where(inside, np.where(disc, 2, side), 0)


@cache
def painted() -> list[Pixels]:
    """The truth in colours, and a level that is its mean."""
    large = np.array(list(CLASSES.values()), np.uint8)[truth()]
    parts = large.reshape(TALL // STEP, STEP, WIDE // STEP, STEP, 3).mean(axis=(1, 3))
    return [large, np.ascontiguousarray(parts.astype(np.uint8))]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A package that was told the class that most of each tile is."""
    made = dict[TileSampling, Path]()

    def act(cut: TileSampling) -> Path:
        if cut not in made:
            folder = tmp_path_factory.mktemp("package")
            coded = FORMATS["deflate"][1](folder / "slide", painted(), (MPP, MPP))
            told = (DOMAIN, {"input": coded.path}, cut, PrepareOptions(), folder / "store")
            prepare(*told, encoding="lossless", engine=Local(0), progress=Silent())
            store = Store(folder / "store")
            label_by_truth(store, folder / "labels.parquet")
            spec, labels = ProbeSpec(fraction=1.0, draws=1), folder / "labels.parquet"
            out = folder / "package"
            finetune(store, "colour", spec, out, labels=labels, progress=Silent())
            made[cut] = out
        return made[cut]

    return act


def label_by_truth(store: Store, file: Path) -> None:
    kinds, known = [], truth()
    for row in store.index.to_pylist():
        x, y = row["x_level0_px"], row["y_level0_px"]
        part = known[y : y + round(row["height_level0_px"]), x : x + round(row["width_level0_px"])]
        kinds.append([*CLASSES][np.bincount(part.ravel()).argmax()])
    ids = store.index.column("id").combine_chunks()
    task = Task("part", tuple(CLASSES))
    LabelTable.make(task, ids, [pa.array(kinds)], "made").write(file)


def agreement(found: NDArray[np.intp], coded: Coded) -> dict[str, float]:
    """IoU of each class on the canvas; -1 is no class, which is right outside of the scan."""
    wanted = np.full(coded.levels[0].shape[:2], -1)
    x, y, width, height = coded.scanned
    wanted[y : y + height, x : x + width] = truth()
    return {
        name: float(((found == n) & (wanted == n)).sum() / ((found == n) | (wanted == n)).sum())
        for n, name in enumerate(CLASSES)
    }


def drawn(file: Path, offset: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Classes of a GeoJSON file's polygons, drawn on a canvas."""
    out = np.full(shape, -1, np.int32)
    for one in json.loads(file.read_text("utf-8"))["features"]:
        number = [*CLASSES].index(one["properties"]["classification"]["name"])
        for rings in polygons(one["geometry"]):
            points = [np.rint(np.array(ring) + offset - 0.5).astype(np.int32) for ring in rings]
            cv2.fillPoly(out, points, number)
    return out.astype(np.intp)


def polygons(geometry: Mapping[str, Any]) -> Iterator[Any]:
    many = geometry["type"] == "MultiPolygon"
    yield from geometry["coordinates"] if many else [geometry["coordinates"]]


def seen(folder: Path, colours: list[str], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Classes of the overlay's pixels, told by what paint makes of the picture below it."""
    shrink = min(1, 1600 / max(shape))
    row, column = (np.arange(0, side, SPACING) * shrink for side in shape)
    places = np.ix_(row.astype(int), column.astype(int))
    pictures = [
        Image.open(folder / name).convert("RGB") for name in ("overlay.png", "thumbnail.jpg")
    ]
    over, below = (np.asarray(one)[places].astype(float) for one in pictures)
    made = [below]
    for alpha in (ALPHA, BORDER_ALPHA):
        made += [below + (np.array(rgb(one)) - below) * alpha for one in colours]
    best = np.argmin([np.abs(one - over).sum(axis=2) for one in made], axis=0) - 1
    best[best >= len(colours)] -= len(colours)
    return np.asarray(best.repeat(SPACING, 0).repeat(SPACING, 1)[: shape[0], : shape[1]])


def predicted(coded: Coded, package: Path, out: Path, **options: Any) -> Path:
    """Run the package over a slide; the folder of its results."""
    told = ReadOptions(allow_anisotropic=True, **coded.options, **options)
    roots = {"input": coded.path}
    (outcome,) = predict(package, roots, told, out, engine=Local(0), progress=Silent())
    assert outcome.status == "done"
    return out / "results" / outcome.source.id


OWN = {"size_px": 32, "tile_mpp": MPP}
BETWEEN = {"size_px": 16, "tile_mpp": 1.5 * MPP}
LOWER = {"size_px": 8, "tile_mpp": STEP * MPP}


@pytest.mark.parametrize(
    ("name", "mpp_y", "cut"),
    [
        ("JPEG 4:2:0", MPP, OWN),
        ("OME-TIFF", MPP, LOWER),
        ("DICOM", MPP, BETWEEN),
        ("MIRAX", MPP, LOWER),
        ("deflate", 0.3, BETWEEN),
        ("Leica", MPP, {**LOWER, "stride_px": 5}),
    ],
)
def test_maps_and_polygons_lie_on_the_truth(
    tmp_path: Path, package: Any, name: str, mpp_y: float, cut: dict[str, Any]
) -> None:
    coded = FORMATS[name][1](tmp_path / "slide", painted(), (MPP, mpp_y))
    model = package(TileSampling(min_tissue=0, partial="fill", **cut))
    folder = predicted(coded, model, tmp_path / "out")
    shape = coded.levels[0].shape[:2]
    colours = [
        one["colour"] for one in read_json(model / "package.json", *PACKAGE)["heads"][0]["classes"]
    ]
    maps = {
        "regions": drawn(folder / "regions.geojson", coded.scanned[:2], shape),
        "overlay": seen(folder, colours, shape),
    }
    if "stride_px" not in cut:  # where tiles overlap, the last one drawn would win
        maps["tiles"] = drawn(folder / "tiles.geojson", coded.scanned[:2], shape)
    for what, found in maps.items():
        assert min(agreement(found, coded).values()) >= ENOUGH, what
    areas = pyarrow.csv.read_csv(folder / "classes.csv").column("area_mm2").to_numpy()
    assert areas.sum() == pytest.approx(
        WIDE * MPP * TALL * mpp_y / 1e6, abs=2e-6
    )  # all of the scan, once


def test_level_0_coordinates_are_those_of_the_whole_canvas(tmp_path: Path, package: Any) -> None:
    coded = FORMATS["Leica"][1](tmp_path / "slide", painted(), (MPP, MPP))
    model = package(TileSampling(min_tissue=0, partial="fill", **OWN))
    folder = predicted(coded, model, tmp_path / "out", coordinates="level0")
    found = drawn(folder / "regions.geojson", (0, 0), coded.levels[0].shape[:2])
    assert min(agreement(found, coded).values()) >= ENOUGH
