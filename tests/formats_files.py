"""Files of every kind, written by the commands themselves, for the page that describes them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pyarrow.compute as pc
import pytest
import tifffile
from numpy.typing import NDArray

from histoscope.core.contracts.installed import load_domain
from histoscope.core.work.local import Local
from tests.formats_drawn import write_drawings
from tests.formats_sources import write_of_sources, write_tuned


def noise(side_px: int, dark: bool, seed: int) -> NDArray[np.uint8]:
    """Stained in one of two ways."""
    colour = (150, 60, 140) if dark else (220, 150, 190)
    grain = np.random.default_rng(seed).integers(-25, 25, (side_px, side_px, 3))
    return np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)


def write_set(folder: Path) -> list[str]:
    """Class folders of 64 px, one picture a case and one damaged; returns paths of the good."""
    names = []
    for split, count in (("train", 6), ("valid", 1), ("test", 3)):
        for dark in (True, False):
            place = folder / split / ("dark" if dark else "pale")
            place.mkdir(parents=True)
            for _ in range(count):
                path = place / f"case-{len(names)}_tile.png"
                assert cv2.imwrite(str(path), noise(64, dark, len(names)))
                names.append(path.relative_to(folder.parent).as_posix())
    (folder / "train" / "dark" / "case-99_tile.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return names


def write_slide(path: Path, **tags: Any) -> None:
    """A tiled slide: a square of tissue on glass."""
    path.parent.mkdir(exist_ok=True)
    pixels = np.full((256, 256, 3), 245, np.uint8)
    pixels[40:200, 40:200] = noise(160, True, 0)
    compression = "jpeg" if "description" in tags else "zlib"
    tifffile.imwrite(
        path,
        pixels,
        tile=(64, 64),
        photometric="rgb",
        compression=compression,
        metadata=None,
        **tags,
    )


def write_stack(path: Path) -> None:
    """Three focal planes of tissue, and a label beside them."""
    size = {f"PhysicalSize{axis}": 1.0 for axis in "XY"}
    planes = np.stack([noise(256, True, seed) for seed in range(3)])
    with tifffile.TiffWriter(path, ome=True) as out:
        for name, axes, pixels in (("scan", "ZYXS", planes), ("label", "YXS", planes[0, :64])):
            out.write(pixels, photometric="rgb", metadata={"axes": axes, "Name": name, **size})


def write_inputs(given: Path) -> None:
    """A labelled set, slides of every fate, and files for all that a user may give."""
    names = write_set(given / "set")
    aperio = "Aperio Image Library v1\r\n256x256 (64x64) |AppMag = 10|MPP = 1.0"
    write_slide(given / "slides" / "aperio.tif", description=aperio)
    per_cm = {"resolution": (10_000, 9_900), "resolutionunit": "CENTIMETER"}
    write_slide(given / "slides" / "oblong.tif", **per_cm)
    (given / "slides" / "broken.tif").write_bytes(b"II*\0")
    glass = np.full((64, 64, 3), 245, np.uint8)
    tifffile.imwrite(given / "slides" / "glass.tif", glass, photometric="rgb", **per_cm)
    write_slide(given / "bare" / "bare.tif")
    write_stack(given / "bare" / "stack.ome.tif")
    lines = ["path,label,case,split"]
    for name in names:
        _, split, label, file = name.split("/")
        lines.append(f"{name},{label},{file.partition('_')[0]},{split}")
    (given / "labels.csv").write_text("\n".join(lines) + "\n")
    (given / "mpp.csv").write_text("slide,mpp\nbare.tif,1.0\nother,\ngone.tif,1.0\n")
    (given / "cases.csv").write_text("slide,case\nbare,case-bare\nstack,case-stack\n")
    with h5py.File(given / "pcam_x.h5", "w") as file:
        file["x"] = np.stack([noise(64, dark, 7) for dark in (True, False)])
    with h5py.File(given / "pcam_y.h5", "w") as file:
        file["y"] = np.array([0, 1], np.uint8).reshape(2, 1, 1, 1)


def command(code: int, *words: object) -> None:
    """Run one command line."""
    from histoscope.apps.cli import run

    assert run([str(word) for word in words]) == code, words


BY_CASES = {  # how some methods' settings draw
    "swav": {"cases_per_class": 2},
    "probe_full": {"whole_cases": 2},
    "mstcn": {"subsets": [["a", "b"], ["c"]]},
}
METHODS = {  # settings of the objective, so that together they write every key of it
    "byol": ("base=byol", "continual=cassle"),
    "barlow-twins": ("base=barlow_twins",),
    "swav": ("base=swav", "local=1", "codes.prototypes=8", "codes.queue=4"),
    "dino": ("base=dino", "local=1", "prototypes=16"),
    "relicv2": ("base=relicv2", "local=1"),
    "simreg": ("base=simreg", "teacher=colour"),
    "ibot": ("base=ibot", "prototypes=16"),
    "ifnd": ("negatives={kind: ifnd, clusters: [2, 4]}",),
    "interclr": ("positives={kind: interclr, clusters: 2, pool: 4, negatives: 2}",),
    "backgrounds": ("views.background={kind: swap, p: 0.5, provider: tissue, area: [0, 1]}",),
}
SMALL_CROPS = "views.families={local: {geometry: {size_px: 16, scale: [0.1, 0.4]}}}"


def write_runs(step: Sequence[object], methods: Mapping[str, Sequence[str]], out: Path) -> None:
    """A step of each way of learning, and of each choice."""
    for name, settings in methods.items():
        sets = [f"objective.{one}" if "views." not in one else one for one in settings]
        sets += [SMALL_CROPS] * ("local=1" in settings) + ["encoder=test_vit"] * (name == "ibot")
        sets += ["init=random:test_resnet"] * ("continual=cassle" in settings)
        words = [word for one in sets for word in ("--set", one)]
        command(0, *step, *words, "--out", out / f"run-of-{name}")


def write_by_commands(given: Path, out: Path) -> None:
    """Each command on inputs that reach all of its files; 1: a slide is broken."""
    from histoscope.core.config import build, dump
    from histoscope.core.data.store import Store
    from histoscope.core.learning.spec import FinetuneSpec

    cut = ("--mpp", 0.5, "--tile-mpp", 1, "--size-px", 32, "--workers", 0)
    slides = ("prepare", "--domain", "pathology", *cut)
    first = (given / "set", given / "slides", "--case-regex", r"(case-\d+)_")
    command(1, *slides, *first, "--out", out / "store")
    lists = ("--mpp-csv", given / "mpp.csv", "--cases", given / "cases.csv")
    lists += ("--stain-normalisation", "macenko")
    second = (given / "labels.csv", given / "pcam_x.h5", given / "bare", *lists)
    command(0, *slides, *second, "--out", out / "store-of-lists")
    rows = Store(out / "store").index.select(["id", "source", "case", "split"]).to_pylist()
    command(0, "stain", out / "store", "--out", given / "stain.yaml")
    small = ("--set", "encoder=test_resnet", "--set", "training.batch_size=8", "--workers", 0)
    step = ("pretrain", out / "store", "--steps", 1, *small)
    command(0, *step, "--config", given / "stain.yaml", "--out", out / "run-of-statistics")
    short = ("--set", "views.domain.stain=hed-light")
    watched = ("--set", "training.monitor={every: 1, images: 8, task: tissue}")
    watched += ("--set", "training.tensorboard=true")
    command(0, *step, *short, *watched, "--out", out / "run-of-short-forms")
    write_masks(out)
    write_runs(step, METHODS, out)
    parts = [row | {"case": row["case"] or "", "split": row["split"] or "train"} for row in rows]
    lines = [",".join(row.values()) for row in parts]  # tiles of slides are to be learnt from
    (given / "split.csv").write_text("\n".join(["id,source,case,split", *lines]) + "\n")
    for method in ("probe", "knn", "probe_full", "swav", "attention", "topk", "mstcn"):
        share = BY_CASES.get(method, {"fraction": 0.5})
        spec = build(FinetuneSpec, {"method": method, "draws": 1, **share}, "test")
        (given / f"finetune-{method}.yaml").write_text(dump(spec))
    few = ("--split", f"{given / 'split.csv'}:train", "--config", given / "finetune-probe.yaml")
    learn = ("finetune", out / "store", "--encoder", "colour", *few)
    command(0, *learn, "--out", out / "package")
    taught = ("base=distil", f"teacher={out / 'package'}", "task=tissue")
    write_runs(step, {"distil": taught}, out)
    command(0, "evaluate", out / "package", out / "store", "--out", out / "evaluation")
    by_folds = ("--folds", 2, "--fraction", 1, "--draws", 2)
    for name, scaling in (("evaluation-by-folds", "unit"), ("evaluation-otherwise", "standard")):
        way = ("--set", f"scaling={scaling}", "--out", out / name)
        command(0, "finetune", out / "store", "--encoder", "colour", *by_folds, *way)
    pair = (out / "evaluation-by-folds", out / "evaluation-otherwise")
    command(0, "compare", *pair, "--margin", 0.1, "--out", out / "comparison")
    by = ("--package", out / "package", "--workers", 0)
    (given / "more").mkdir()
    (given / "more" / "mpp.csv").write_text("slide,mpp\naperio.tif,1.0\ngone.tif,1.0\n")
    lists = ("--mpp-csv", given / "more" / "mpp.csv")
    looked_for = ("--suspicious", "dark", "--uncertain-below", 0.6, "--zoom", "aperio.tif")
    command(1, "predict", given / "slides", *lists, *looked_for, "--out", out / "predictions", *by)
    command(1, "embed", given / "slides", *lists, "--out", out / "features", *by)
    for layout in ("clam", "trident"):
        named = ("--layout", layout, "--out", out / f"features-for-{layout}")
        command(1, "embed", given / "slides", *lists, *named, *by)
    write_imported(given, out)
    write_suggestions(given, out)
    write_drawings(given)
    drawn = ("--rest-is", "pale", "--out", out / "annotations")
    command(0, "annotations", out / "store", given, *drawn)
    command(
        1, "tissue", given / "slides", "--size-px", 32, "--tile-mpp", 1, "--out", out / "tissue"
    )
    write_presence(out / "store")
    two = out / "package-of-two"
    near = ("--config", given / "finetune-knn.yaml", "--task", "tissue", "--task", "signs")
    command(0, *learn[:6], *near, "--out", two)
    by = ("--package", two, "--workers", 0)
    command(0, "predict", given / "slides" / "aperio.tif", "--out", out / "predictions-of-two", *by)
    write_of_sources(command, given, out)
    write_tuned(command, given, out)


def write_imported(given: Path, out: Path) -> None:
    """A checkpoint of another size than the tiles, as an encoder, and a package of it."""
    import timm
    from safetensors.torch import save_file

    save_file(timm.create_model("test_vit").state_dict(), given / "weights.safetensors")
    asked = ("--architecture", "timm:test_vit", "--note", "by hand")
    file = given / "weights.safetensors"
    command(0, "import-weights", file, *asked, "--out", out / "imported")
    few = ("--split", f"{given / 'split.csv'}:train", "--config", given / "finetune-probe.yaml")
    learn = ("finetune", out / "store", "--encoder", out / "imported", *few)
    command(0, *learn, "--out", out / "package-of-imported")
    file.unlink()


def write_suggestions(given: Path, out: Path) -> None:
    """Tiles to label, and their labels taken into the store."""
    split = ("--split", f"{given / 'split.csv'}:train")
    by = ("--task", "mine", "--classes", "dark,pale", "--encoder", "colour", *split)
    suggested = out / "suggestions"
    command(0, "suggest", out / "store", *by, "--count", 20, "--out", suggested)
    ids = re.findall(r'^\d+,"(.+?)"', (suggested / "suggested.csv").read_text(), re.MULTILINE)
    lines = [f"{sample},mine,{'dark' if place % 2 else ''}" for place, sample in enumerate(ids)]
    file = given / "labels-mine.csv"
    file.write_text("\n".join(["sample,task,label", *lines]) + "\n")
    command(0, "labels", out / "store", file, "--classes", "dark,pale")
    file = given / "labels-signs.csv"
    file.write_text(f"sample,dark,pale\n{ids[0]},true,\n")
    table = given / "signs.parquet"
    command(0, "labels", out / "store", file, "--task", "signs", "--out", table)
    table.unlink()


def write_presence(store: Path) -> None:
    """Labels of classes that may be present together, and a plane, as another program may."""
    from histoscope.core.contracts import Task
    from histoscope.core.data.labels import LabelTable
    from histoscope.core.data.planes import write_planes
    from histoscope.core.data.store import Store

    opened = Store(store)
    known = opened.labels("tissue").rows
    dark = pc.equal(known.column("label"), "dark")
    table = LabelTable.make(
        Task("signs", ("dark", "pale"), exclusive=False),
        known.column("sample"),
        [dark, pc.invert(dark)],
        "by hand",
    )
    table.write(store / "labels" / "signs.parquet")
    rows = opened.index.to_pylist()
    (first, *_) = (row["source"] for row in rows if row["shard"])
    count = sum(row["source"] == first and row["shard"] is not None for row in rows)
    write_planes(opened, "depth:by-hand@1", first, [np.zeros((32, 32), np.uint8)] * count)


def write_masks(out: Path) -> None:
    """Masks of a provider that was told something, and a sheet of them."""
    sheet = out / "mask-sheet" / "masks.png"
    sheet.parent.mkdir()
    by = ("--provider", "tissue", "--set", "stain=0.06", "--workers", 0, "--sheet", sheet)
    command(0, "masks", out / "store", *by)


def write_demo(given: Path, out: Path) -> None:
    """``demo`` with a tiny phantom, a small network and two steps, in this process."""
    from histoscope.apps import demonstration
    from histoscope.core.contracts import Phantom
    from histoscope.domains.pathology.phantom.slides import write_phantom

    domain = load_domain("pathology")
    training = {"steps": 2, "batch_size": 8, "workers": 0, "threads": 1, "checkpoint_every": 1}
    views = {"domain": {"stain": {"p": 0.5, "sigma": 0.1, "bias": 0.1}}}

    def phantom(folder: Path, seed: int) -> Phantom:
        write_phantom(folder, seed, train=1, valid=0, test=0, new=1, side_px=256)
        return Phantom(
            labelled=given / "set",
            new=given / "slides",
            sampling=domain.sampling(size_px=32, tile_mpp=1),
            prepare_options=domain.options["prepare"](mpp=0.5),
            predict_options=domain.options["predict"](),
            pretrain={"encoder": "test_resnet", "training": training, "views": views},
            tasks=["tissue"],
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain, "phantom", phantom)
        for name in ("prepare", "predict"):
            here = functools.partial(getattr(demonstration, name), engine=Local(0))
            patch.setattr(demonstration, name, here)
        command(0, "demo", "--domain", "pathology", "--draws", 2, "--out", out)
