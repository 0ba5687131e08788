"""Heads of slides from features alone: the same numbers as from slides, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.apps.command_line.road import HERE, TILE, Answer, Road, paint, write_slide

SLIDES, SIDE = 12, 128
ATTENTION = ("--method", "attention", "--set", "attention.steps=60")
DRAWN = ("--fraction", "0.6", "--draws", "2", "--draw-by", "case")
TOLD = ("--feature-encoder", "colour", "--patch-px", 32, "--magnification", 20)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides a case, every second case with a tumour; cases 0 to 3 are for training."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "in").mkdir()
    lines = ["slide,label,case,split"]
    for number in range(SLIDES):
        case = number // 2
        pixels = paint("stroma", SIDE, number)
        if case % 2:
            pixels[32:64, 64:96] = paint("tumour", 32, 100 + number)
        write_slide(folder / "in" / f"s{number:02}.tif", pixels)
        split = "train" if case < 4 else "test"
        lines.append(f"s{number:02}.tif,{'tumour' if case % 2 else 'free'},P{case},{split}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def scored(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Metrics of the only task, without what names the model, and what was said of each slide."""
    (task,) = json.loads((folder / "metrics.json").read_text())["tasks"].values()
    (table,) = folder.glob("scored-*.parquet")
    rows = pq.read_table(table).to_pylist()
    kept = [{n: v for n, v in row.items() if n != "id"} for row in rows]
    apart = ("read", "cautions", "drawn", "tested")  # the last two are digests of ids
    return {name: one for name, one in task.items() if name not in apart}, kept


@pytest.fixture(scope="module")
def from_slides(road: Road, slides: Path) -> Path:
    """The evaluation of a head that was learnt from a store of the slides."""
    from histoscope.apps.cli import run

    store, labels = slides / "store", slides / "labels.csv"
    cut = ("--domain", "pathology", *TILE, *HERE, "--encoding", "lossless", "--layout", "slides")
    train, test = ("--split", f"{labels}:train"), ("--split", f"{labels}:test")
    learnt, of = slides / "package", ("--encoder", road.package, "--task", "tumour")
    for words in (
        ("prepare", slides / "in", "--out", store, "--cases", labels, *cut),
        ("labels", store, labels, "--task", "tumour"),
        ("finetune", store, *of, *train, *ATTENTION, *DRAWN, "--out", learnt),
        ("evaluate", learnt, store, *test, "--out", slides / "scored"),
    ):
        assert run([str(word) for word in words]) == 0
    return slides / "scored"


def learn(call: Callable[..., Answer], features: Path, slides: Path, out: Path, *more: Any) -> None:
    """A package of features, and its evaluation beside it."""
    asked = ("--features", features, "--labels", slides / "labels.csv", *more)
    made = call("finetune", *asked, "--task", "tumour", "--out", out / "p", *ATTENTION, *DRAWN)
    assert made.code == 0, made.err
    told = call("evaluate", out / "p", *asked, "--out", out / "scored")
    assert told.code == 0, told.err


@pytest.mark.parametrize("layout", ["trident", "clam"])
def test_features_alone_give_the_numbers_of_the_slides(
    layout: str,
    road: Road,
    slides: Path,
    from_slides: Path,
    call: Callable[..., Answer],
    tmp_path: Path,
):
    there = ("--layout", layout, "--out", tmp_path / "features", *HERE)
    assert call("embed", slides / "in", "--package", road.package, *there).code == 0
    told = TOLD if layout == "clam" else ()
    learn(call, tmp_path / "features", slides, tmp_path, *told)
    assert scored(tmp_path / "scored") == scored(from_slides)


def manifest(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "manifest.parquet").to_pylist()
    return rows


def rewritten(road: Road, slides: Path, call: Callable[..., Answer], out: Path) -> Path:
    """Features of the slides, as ``embed`` gives them."""
    there = ("--layout", "trident", "--out", out, *HERE)
    assert call("embed", slides / "in", "--package", road.package, *there).code == 0
    (folder,) = out.glob("*overlap/features_*")
    return folder


def as_trident(made: Path, out: Path) -> Path:
    """A job of TRIDENT's, with nothing but its own fields."""
    folder = out / "20x_32px_0px_overlap" / "features_uni_v2"
    folder.mkdir(parents=True)
    (out / "20x_32px_0px_overlap" / "patches").mkdir()
    for file in sorted(made.glob("*.h5")):
        with h5py.File(file) as ours:
            features, coords = ours["features"][:], ours["coords"][:]
        patches = out / "20x_32px_0px_overlap" / "patches" / f"{file.stem}_patches.h5"
        for path, both in ((patches, False), (folder / file.name, True)):
            with h5py.File(path, "w") as theirs:
                places = theirs.create_dataset("coords", data=coords, dtype="int64")
                told = {"patch_size": 32, "patch_size_level0": 32.0, "level0_magnification": 20}
                told |= {"target_magnification": 20, "overlap": 0, "name": file.stem}
                told |= {"savetodir": str(out), "level0_width": SIDE, "level0_height": SIDE}
                places.attrs.update(told)
                if both:
                    said = {"name": file.stem, "savetodir": str(out), "encoder": "uni_v2"}
                    theirs.create_dataset("features", data=features).attrs.update(said)
    return out


def as_clam(made: Path, out: Path) -> Path:
    """Folders of CLAM's: features without a word, and files of patches that say their side."""
    (out / "patches").mkdir(parents=True)
    (out / "h5_files").mkdir()
    for file in sorted(made.glob("*.h5")):
        with h5py.File(file) as ours:
            features, coords = ours["features"][:], ours["coords"][:]
        with h5py.File(out / "h5_files" / file.name, "w") as theirs:
            theirs["features"], theirs["coords"] = features, coords.astype(np.int32)
        with h5py.File(out / "patches" / file.name, "w") as theirs:
            places = theirs.create_dataset("coords", data=coords)
            told = {"patch_size": 32, "patch_level": 0, "downsample": np.ones(2)}
            size = np.array([SIDE, SIDE])
            told |= {"downsampled_level_dim": size, "level_dim": size, "name": file.stem}
            places.attrs.update({**told, "save_path": ""})
    return out


def test_files_in_tridents_and_clams_own_layout_give_the_same_numbers(
    road: Road, slides: Path, from_slides: Path, call: Callable[..., Answer], tmp_path: Path
):
    made = rewritten(road, slides, call, tmp_path / "made")
    trident, clam = as_trident(made, tmp_path / "trident"), as_clam(made, tmp_path / "clam")
    for name, folder, told in (
        ("a", trident, ()),
        ("b", clam, ("--feature-encoder", "uni_v2", "--magnification", 20)),
    ):
        (tmp_path / name).mkdir()
        learn(call, folder, slides, tmp_path / name, *told)
        assert scored(tmp_path / name / "scored") == scored(from_slides)
    answer = call("predict", "--features", trident, "--package", tmp_path / "a" / "p", *HERE)
    assert answer.code == 2  # no --out
    there = ("--package", tmp_path / "a" / "p", "--out", tmp_path / "night", *HERE)
    assert call("predict", "--features", trident, *there).code == 0
    lines = (tmp_path / "night" / "answers.csv").read_text().splitlines()
    assert len(lines) == SLIDES + 1
    assert (tmp_path / "night" / "report.html").is_file()
    # a package of TRIDENT's features reads CLAM's, where a person says that they are alike
    alike = ("--feature-encoder", "uni_v2", "--magnification", 20)
    there = ("--package", tmp_path / "a" / "p", "--out", tmp_path / "other", *HERE)
    assert call("predict", "--features", clam, *alike, *there).code == 0
    assert (tmp_path / "other" / "answers.csv").read_text().splitlines()[0] == lines[0]


def test_what_files_do_not_say_is_told_and_the_grid_tells_the_rest(
    road: Road, slides: Path, call: Callable[..., Answer], tmp_path: Path
):
    clam = as_clam(rewritten(road, slides, call, tmp_path / "made"), tmp_path / "clam")
    shutil.rmtree(clam / "patches")
    told = ("--features", clam, *TOLD)
    asked = (*told, "--labels", slides / "labels.csv", "--out", tmp_path / "p")
    assert call("finetune", *asked, *ATTENTION, *DRAWN).code == 0
    there = ("--package", tmp_path / "p", "--out", tmp_path / "night", *HERE)
    assert call("predict", *told, *there).code == 0
    folder = min((tmp_path / "night" / "results").iterdir())
    assert {"attention.png", "attention.csv", "tiles.geojson"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "thumbnail.jpg").exists()
    done = json.loads((folder / "done.json").read_text())
    assert "the step of the grid" in done["facts"]["side_of_patches"]
    assert "32 px of the full resolution; the step of the grid" in done["shown"]["One tile"]


def test_what_does_not_agree_is_refused_with_both_figures(
    road: Road,
    slides: Path,
    call: Callable[..., Answer],
    refused: Callable[..., str],
    tmp_path: Path,
):
    made = rewritten(road, slides, call, tmp_path / "made")
    trident, clam = as_trident(made, tmp_path / "trident"), as_clam(made, tmp_path / "clam")
    labels = ("--labels", slides / "labels.csv")
    package = tmp_path / "p"
    few = ("--method", "probe", *DRAWN)
    there = ("--features", trident, *labels, "--out", package, *few)
    assert call("finetune", *there).code == 0
    ours = "uni_v2, 18 wide, of images of 32 px at mpp 0.5"
    for name, told, theirs in (
        ("gigapath", ("--magnification", 20), "gigapath, 18 wide, of images of 32 px at mpp 0.5"),
        ("uni_v2", ("--magnification", 40), "uni_v2, 18 wide, of images of 32 px at mpp 0.25"),
    ):
        asked = ("--features", clam, "--feature-encoder", name, *told)
        refused("predict", "--package", package, *asked, *HERE, says=(package, ours, theirs))
        refused("evaluate", package, *asked, *labels, says=(package, ours, theirs))
    with h5py.File(trident / "20x_32px_0px_overlap/features_uni_v2/s03.h5", "a") as file:
        wide = np.hstack([file["features"][:], file["features"][:]])
        del file["features"]
        file["features"] = wide
    says = ("--features", trident, "11 of uni_v2, 18 wide", "1 of uni_v2, 36 wide", "s03.h5")
    refused("predict", "--package", package, "--features", trident, *HERE, says=says)
    says = ("--features", clam, "its files do not say all (?, 18 wide, 32 px at ?x)")
    refused("finetune", "--features", clam, *labels, says=(*says, "--feature-encoder"))
    refused("predict", slides / "in", "--package", package, *HERE, says=("give --features",))
    says = ("made from images with colour", "not --features")
    asked = ("--features", made)
    refused("predict", *asked, "--package", road.package, *HERE, says=says)
    refused("embed", slides / "in", "--package", package, *HERE, says=("has no encoder",))
    both = ("--features", made, "--suspicious", "tumour")
    refused("predict", *both, "--package", package, says=("leave --suspicious away",))
    refused("finetune", "--features", made, "--encoder", "colour", *labels, says=("--encoder",))
    refused("finetune", "--features", made, says=("give --labels",))
    refused("finetune", road.store, "--encoder", "colour", "--patch-px", 3, says=("--features",))


def test_one_bad_file_ends_nothing(
    road: Road, slides: Path, call: Callable[..., Answer], tmp_path: Path
):
    made = rewritten(road, slides, call, tmp_path / "made")
    folder = as_trident(made, tmp_path / "trident") / "20x_32px_0px_overlap" / "features_uni_v2"
    whole = (folder / "s00.h5").read_bytes()
    (folder / "s00.h5").write_bytes(whole[: len(whole) // 2])
    with h5py.File(folder / "s01.h5", "a") as file:
        file["features"][2, 3] = np.nan
    (folder / "s02.h5.lock").touch()
    with h5py.File(folder / "s03.h5", "a") as file:  # a slide without tissue
        for name in ("features", "coords"):
            shape = (0, file[name].shape[1])
            del file[name]
            file[name] = np.zeros(shape)
    labels = ("--labels", slides / "labels.csv", "--split", f"{slides / 'labels.csv'}:train")
    asked = ("--features", folder, *labels, "--out", tmp_path / "p", "--method", "probe", *DRAWN)
    answer = call("finetune", *asked)
    assert answer.code == 0, answer.err
    for told in ("s00.h5: not an HDF5 file", "s02.h5: s02.h5.lock", "s03.h5: no features in it"):
        assert (
            f"not used: features_uni_v2/{told}" in answer.err or f"not used: {told}" in answer.err
        )
    there = ("--package", tmp_path / "p", "--out", tmp_path / "night", *HERE)
    assert call("predict", "--features", folder, *there).code == 1
    rows = {Path(one["path"]).name: one for one in manifest(tmp_path / "night")}
    status = {name: one["status"] for name, one in rows.items()}
    assert status.pop("s03.h5") == "empty"
    assert {status.pop("s00.h5"), status.pop("s02.h5")} == {"failed"}
    assert set(status.values()) == {"done"}
    assert "1 samples unreadable (features that are no numbers)" in rows["s01.h5"]["reason"]
