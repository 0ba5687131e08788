"""A real result folder: the toy domain, a package made by hand, and sources of every fate."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histoscope.core.contracts import Artefact, Column, Rendering, Task
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.folder import EncoderInfo, LoadedEncoder
from histoscope.core.heads.linear import LinearHead
from histoscope.core.packages.info import HeadInfo, PackageInfo, class_infos
from histoscope.core.packages.package import DRAWN, write_package
from histoscope.core.tables.typed import write_typed_csv
from histoscope.core.work.local import Local

PLUGIN = Path(__file__).parents[1] / "toy_plugin"
TASK = Task("hue", ("blue <b>", "green & co"))
LONG = "a/" + "very-long-folder-name-without-a-break" * 4 + "/x.npy"
HOSTILE = "<script>document.title='run'</script><img src=x onerror=alert(1)>.npy"
TURNED = "good\u202egnp.npy"  # shows as another ending where direction marks are obeyed


@pytest.fixture(scope="session")
def toy() -> Iterator[ModuleType]:
    """The toy distribution on the path, as an installed plug-in would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        importlib.invalidate_caches()
        module = importlib.import_module("toy_domain")
        patch.setattr(module.ToyDomain, "render", draw)
        yield module
        sys.modules.pop("toy_domain", None)


def draw(domain: Any, reader: Any, results: Any, options: Any, out: Path) -> Rendering:
    """A picture, a table and facts, as a domain of medicine gives them."""
    noise = np.random.default_rng(0).integers(0, 255, (900, 1300, 3), np.uint8)
    Image.fromarray(noise).save(out / "map.png")
    table = {
        Column("class"): TASK.classes,
        Column("share"): ["007", None],
        Column("pieces", "count"): [98765, None],
        Column("area_mm2", "number", "area, mm²"): [0.123456, 2.0],
        Column("part_read", "share"): [0.25, 0.75],
    }
    artefacts = [
        Artefact("map.png", "picture", "Where", "A caption with <em>marks</em>."),
        write_typed_csv(out / "classes.csv", "Classes", "", table, TASK.name),
        Artefact("../../../outside.png", "picture", "Not ours"),
    ]
    return Rendering(artefacts, {"Count": str(len(results.rows)), "Path": "/x" * 120})


def package_info(evaluation: dict[str, Any] | None) -> PackageInfo:
    """What a package says of itself."""
    encoder = EncoderInfo(
        network={"kind": "colour"},
        dim=18,
        domain="toy",
        sampling={"size_px": 16, "pitch": 1.0},
        scale={"pitch": 1.0},
        provenance={"kind": "colour"},
    )
    head = HeadInfo(
        task=TASK.name,
        level="sample",
        classes=class_infos(TASK),
        method="probe",
        labels=[5, 6],
        drawn=["a", "b"],
        fraction=0.1,
        draw_by="sample",
        seed=0,
        calibration={"kind": "none", "reason": "none is fitted; scores only rank"},
        evaluation=evaluation,
    )
    return PackageInfo(encoder=encoder, heads=[head])


def metric(value: float, low: float, high: float) -> dict[str, Any]:
    """One metric as ``evaluate`` writes it."""
    return {
        "value": value,
        "interval": [low, high],
        "sd_over_draws": 0.01,
        "per_draw": [value, value],
    }


def evaluation(*cautions: str) -> dict[str, Any]:
    """A recorded evaluation."""
    return {
        "samples": 1234,
        "read": "split 'test'",
        "interval_over": "cases",
        "units": 17,
        "draws": 2,
        "labels": [5, 6],
        "unit": "fraction",
        "balanced_accuracy": metric(0.871, 0.801, 0.912),
        "auc": metric(0.951, 0.902, 0.987),
        "recall": {
            "blue <b>": metric(0.755, 0.653, 0.857),
            "green & co": metric(0.977, 0.935, 0.999),
        },
        "cautions": list(cautions),
    }


def make_package(folder: Path, info: PackageInfo) -> None:
    """Write a package of the colour encoder and a head of zeros."""
    loaded = LoadedEncoder(ColourEncoder(), info.encoder, frozenset())  # type: ignore[arg-type]
    heads = [
        LinearHead(np.zeros((2, 18), np.float32), np.array([0, 1], np.float32)) for _ in range(2)
    ]
    write_package(folder, info, [loaded], [heads], frozenset(), DRAWN.empty_table())


@pytest.fixture(scope="session")
def predicted(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``predict`` writes of good, damaged, empty, failing and badly named sources."""
    from histoscope.core.progress import Silent
    from histoscope.core.stages.predict import predict

    folder = tmp_path_factory.mktemp("reports")
    new = folder / "new"
    (new / LONG).parent.mkdir(parents=True)
    for seed, (name, corrupt) in enumerate([("good.npy", 0), ("damaged.npy", 3), (LONG, 0)]):
        toy.write_stack(new / name, 9, seed, corrupt)
    (new / HOSTILE).parent.mkdir()
    toy.write_stack(new / HOSTILE, 4, 5)
    toy.write_stack(new / TURNED, 4, 6)
    toy.write_stack(new / "bad-one.npy", 4, 7)
    np.save(new / "nothing.npy", np.zeros((0, 16, 16, 3), np.uint8))
    cautions = "cases are unknown: intervals are over samples", "SEEN BEFORE: 3 of 9 cases"
    make_package(folder / "package", package_info(evaluation(*cautions)))
    predict(
        folder / "package",
        {"input": new},
        toy.ToyOptions(),
        folder / "out",
        engine=Local(0),
        progress=Silent(),
    )
    return folder / "out"


@pytest.fixture
def result_folder(predicted: Path, tmp_path: Path) -> Path:
    """A copy of the result folder that a test may change."""
    return Path(shutil.copytree(predicted, tmp_path / "out"))


@pytest.fixture
def store(toy: ModuleType, tmp_path: Path) -> Path:
    """A store of the toy domain, labelled throughout, with a train and a test part."""
    from histoscope.core.progress import Silent
    from histoscope.core.stages.prepare import prepare

    folder = tmp_path / "toy"
    folder.mkdir()
    for seed, part in enumerate(("train", "test")):
        toy.write_stack(folder / f"a{seed}-{part}.npy", 30, seed)
    options = toy.ToyOptions(with_cases=True)
    more = {"encoding": "lossless", "engine": Local(0), "progress": Silent()}
    out = tmp_path / "store"
    prepare(toy.DOMAIN, {"input": folder}, toy.ToySampling(), options, out, **more)
    return out
