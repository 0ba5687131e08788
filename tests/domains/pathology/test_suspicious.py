"""Looking for a class on slides: ranks that size does not raise, and tiles shown where they lie."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import beta

from histoscope.core.contracts import CloseUp, CorruptSample, Source, Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.store import Store
from histoscope.core.errors import UsageError
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.suspects import Suspicion
from histoscope.core.work.folder import read_outcomes
from histoscope.core.work.local import Local
from histoscope.core.work.outcome import Outcome
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, ReadOptions, TileSampling
from tests.domains.pathology.conftest import write_pyramid

SIDE = 32
CUT = TileSampling(size_px=SIDE, tile_mpp=1.0, min_tissue=0.0)
PINK, PURPLE = np.array([225.0, 150, 190]), np.array([95.0, 45, 140])
FEW, MANY = 8, 30  # tiles along each side of a slide
RARE = Suspicion("tissue", "rare")


def paint(path: Path, purple: NDArray[np.float64]) -> None:
    """A picture of tiles, each between pink and purple; (rows, columns), from 0 to 1."""
    colours = PINK + purple[..., None] * (PURPLE - PINK)
    image = np.kron(colours, np.ones((SIDE, SIDE, 1)))
    image += np.random.default_rng(0).normal(0, 6, image.shape)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)


def usual(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """What tissue without the class looks like: some tiles resemble it, as many a hundred."""
    count = side * side
    levels = beta.ppf((np.arange(count) + 0.5) / count, 2, 6)
    return rng.permutation(levels).reshape(side, side)


@pytest.fixture(scope="module")
def looked_for(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three small and three large slides without the class, one of each with 2 % of it."""
    folder, rng = tmp_path_factory.mktemp("suspicious"), np.random.default_rng(1)
    package = learn(folder, rng)
    (folder / "new").mkdir()
    for side in (FEW, MANY):
        for number in range(3):
            paint(folder / "new" / f"usual-{side}-{number}.png", usual(rng, side))
        with_it = usual(rng, side)
        chosen = rng.choice(side * side, max(1, side * side // 50), replace=False)
        with_it.flat[chosen] = 0.95
        paint(folder / "new" / f"rare-{side}.png", with_it)
    roots, options = {"input": folder / "new"}, ReadOptions(default_mpp=1.0)
    out = folder / "out"
    predict(package, roots, options, out, engine=Local(0), suspicious=RARE, progress=Silent())
    return {"out": out, "new": folder / "new", "package": package}


def learn(folder: Path, rng: np.random.Generator) -> Path:
    """A package that was told of tiles of a slide, some of which are of the class."""
    purple = usual(rng, MANY)
    purple[:6] = 0.95
    (folder / "old").mkdir()
    paint(folder / "old" / "old.png", purple)
    options = PrepareOptions(layout="slides", default_mpp=1.0)
    roots, place = {"input": folder / "old"}, folder / "store"
    prepare(DOMAIN, roots, CUT, options, place, engine=Local(0), progress=Silent())
    store = Store(place)
    tops = store.index.column("y_level0_px").to_numpy() // SIDE
    kinds = pa.array(np.where(tops < 6, "rare", "usual"))
    ids = store.index.column("id").combine_chunks()
    LabelTable.make(Task("tissue", ("rare", "usual")), ids, [kinds], "made").write(
        folder / "labels.parquet"
    )
    spec = ProbeSpec(fraction=0.2, draws=1)
    told = folder / "labels.parquet"
    finetune(store, "colour", spec, folder / "package", labels=told, progress=Silent())
    return folder / "package"


def ranked(out: Path) -> list[dict[str, str]]:
    with (out / "suspicious.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_rare_class_decides_the_rank_and_size_does_not(looked_for):
    rows = ranked(looked_for["out"])
    assert [row["rank"] for row in rows] == [str(place) for place in range(1, 9)]
    assert {rows[0]["path"], rows[1]["path"]} == {f"rare-{FEW}.png", f"rare-{MANY}.png"}
    scores = {row["path"]: float(row["score"]) for row in rows}
    small, large = ([scores[f"usual-{side}-{n}.png"] for n in range(3)] for side in (FEW, MANY))
    assert np.mean(large) < np.mean(small) + 0.02 < np.mean(large) + 0.12
    with_it = min(float(row["score"]) for row in rows[:2])
    assert with_it > max(small + large) + 0.05


def test_by_the_highest_score_of_all_size_would_decide(looked_for):
    """What the rank must not be: the test above can fail."""
    highest = {
        one.source.path: max(shown["score"] for shown in one.more["suspicious"]["shown"])
        for one in read_outcomes(looked_for["out"] / "results")
    }
    small, large = ([highest[f"usual-{side}-{n}.png"] for n in range(3)] for side in (FEW, MANY))
    assert min(large) > max(small)
    assert np.mean(large) - np.mean(small) > 0.1


def test_each_picture_shows_what_lies_at_its_coordinates(looked_for):
    for outcome, folder in results(looked_for["out"]):
        slide = np.asarray(Image.open(looked_for["new"] / outcome.source.path)).astype(int)
        with (folder / "suspicious.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(outcome.more["suspicious"]["shown"]) == 12
        assert [row["rank"] for row in rows] == [str(place) for place in range(1, 13)]
        for row in rows:
            x, y = int(row["x_level0_px"]), int(row["y_level0_px"])
            left, top = (int(float(row[name])) for name in ("left_px", "top_px"))
            shown = np.asarray(Image.open(folder / row["file"])).astype(int)
            inside = slice(8, SIDE - 8)  # within the frame
            tile = slide[y : y + SIDE, x : x + SIDE][inside, inside]
            seen = shown[top : top + SIDE, left : left + SIDE][inside, inside]
            noise = [(one - one.mean(axis=(0, 1))).ravel() for one in (tile, seen)]
            assert np.corrcoef(*noise)[0, 1] > 0.7  # through JPEG; a pixel beside it is near 0


def test_what_lies_beside_one_that_is_shown_is_not_shown_again(looked_for):
    for outcome, folder in results(looked_for["out"]):
        if f"-{MANY}" not in outcome.source.path:
            continue
        with (folder / "suspicious.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        places = [(int(row["x_level0_px"]), int(row["y_level0_px"])) for row in rows]
        for at, (x, y) in enumerate(places):
            for other, below in places[:at]:
                assert max(abs(x - other), abs(y - below)) >= 2 * SIDE
        scores = [float(row["score"]) for row in rows]
        assert scores == sorted(scores, reverse=True)


def test_another_class_or_none_is_another_prediction(looked_for):
    roots, options = {"input": looked_for["new"]}, ReadOptions(default_mpp=1.0)
    with pytest.raises(UsageError, match="made with other settings"):
        predict(looked_for["package"], roots, options, looked_for["out"], progress=Silent())


def test_surroundings_end_with_the_slide_and_of_a_large_tile_they_are_made_smaller(
    tmp_path, open_one
):
    rng = np.random.default_rng(0)
    noise = rng.integers(90, 160, (700, 900, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    cut = TileSampling(size_px=64, tile_mpp=1.0, min_tissue=0)
    with open_one(tmp_path / "a.png", cut, default_mpp=1.0) as reader:
        rows = reader.plan().rows
        corner, last = DOMAIN.close_ups(reader, rows, [0, len(rows) - 1])
    assert isinstance(corner, CloseUp)
    assert isinstance(last, CloseUp)
    assert corner.box == (0, 0, 64, 64)
    assert np.array_equal(corner.image, noise[:288, :288])
    left, top, *_ = last.box
    x, y = rows.column("x_level0_px")[-1].as_py(), rows.column("y_level0_px")[-1].as_py()
    assert last.where == f"x {x}, y {y}, 64 px of the full resolution"
    height, width = last.image.shape[:2]
    assert np.array_equal(last.image, noise[y - int(top) :, x - int(left) :][:height, :width])


def test_what_cannot_be_read_is_said_and_the_others_are_shown(tmp_path, open_one, monkeypatch):
    Image.fromarray(np.full((300, 300, 3), 120, np.uint8)).save(tmp_path / "a.png")
    cut = TileSampling(size_px=100, tile_mpp=1.0, min_tissue=0)
    with open_one(tmp_path / "a.png", cut, default_mpp=1.0) as reader:
        rows = reader.plan().rows
        lost = CorruptSample("unreadable (lost)")
        monkeypatch.setattr(reader, "window", lambda box, size: lost)
        assert list(DOMAIN.close_ups(reader, rows, [1])) == [lost]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        *(("rare", RARE), ("tissue:rare", RARE), ("grade:high", Suspicion("grade", "high"))),
        ("whole", Suspicion("outcome", "whole")),
    ],
)
def test_a_class_is_known_by_its_name(word, found):
    whole = Task("outcome", ("whole", "part"), level="source")
    tasks = [Task("tissue", ("rare", "usual")), Task("grade", ("high", "usual")), whole]
    assert Suspicion.of(tasks, word) == found
    assert asdict(found)["kind"] == found.kind


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("usual", "a class of several tasks; give one of tissue:usual, grade:usual"),
        ("rear", "the package has no such class, did you mean 'rare'.*known: rare, usual, high"),
    ],
)
def test_a_class_that_is_not_known_or_known_twice_is_refused(word, said):
    tasks = [Task("tissue", ("rare", "usual")), Task("grade", ("high", "usual"), level="source")]
    with pytest.raises(UsageError, match=said):
        Suspicion.of(tasks, word)


def results(out: Path) -> Iterator[tuple[Outcome, Path]]:
    for one in read_outcomes(out / "results"):
        yield one, out / "results" / one.source.id


def test_of_a_large_tile_a_coarser_level_is_read(tmp_path, open_one):
    levels = [np.full((side, side, 3), grey, np.uint8) for side, grey in ((6000, 90), (3000, 150))]
    write_pyramid(tmp_path / "a.tif", levels, (0.25, 0.25))
    cut = TileSampling(size_px=64, tile_mpp=16.0, min_tissue=0)  # 4,096 px of level 0
    with open_one(tmp_path / "a.tif", cut) as reader:
        (one,) = DOMAIN.close_ups(reader, reader.plan().rows, [0])
    assert isinstance(one, CloseUp)
    assert max(one.image.shape) == 2048
    assert (one.image == 150).all()
    assert one.box[2] == pytest.approx(4096 * 2048 / 4608, rel=0.01)


def test_files_of_a_slide_are_all_or_none(tmp_path):
    for name in ("a.tif", "b.mrxs", "b/Slidedat.ini", "b/Data0.dat", "c.dcm", "d.vsi", "e.vms"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = {}
    for name, kind in (
        *(("a.tif", "slide"), ("a.tif#2", "slide-2"), ("b.mrxs", "slide"), ("c.dcm", "slide")),
        *(("d.vsi", "slide"), ("e.vms", "slide"), (".", "set-folders"), ("gone.tif", "slide")),
    ):
        source = Source("0" * 16, name, kind=kind)
        files = DOMAIN.files(source, {"input": tmp_path})
        found[name] = [path.relative_to(tmp_path).as_posix() for path in files]
    assert found == {
        "a.tif": ["a.tif"],
        "a.tif#2": ["a.tif"],
        "b.mrxs": ["b.mrxs", "b/Data0.dat", "b/Slidedat.ini"],
        **{key: [] for key in ("c.dcm", "d.vsi", "e.vms", ".", "gone.tif")},
    }
