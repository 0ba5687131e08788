"""Prepare and predict read with one reader and preprocess with one function."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from histoscope.apps.cli import run
from histoscope.core.contracts import Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.store import Store
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.files import read_table
from histoscope.core.inference.runner import BATCH
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.packages.package import Package
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.folder import read_outcomes
from histoscope.core.work.local import Local
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, ReadOptions, TileSampling

CUT = TileSampling(size_px=48, tile_mpp=1.3, min_tissue=0.0)  # no whole number of any level


def make_package(slide: Path, sampling: TileSampling, out: Path) -> tuple[Store, Package, Path]:
    """A lossless store of a slide, made-up labels for its tiles, and a package of colours."""
    roots = {"input": slide}
    prepare(
        DOMAIN,
        roots,
        sampling,
        PrepareOptions(),
        out / "store",
        encoding="lossless",
        engine=Local(0),
        progress=Silent(),
    )
    store = Store(out / "store")
    ids = store.index.column("id").combine_chunks()
    kinds = pa.array([("left", "right")[place % 2] for place in range(len(ids))])
    labels = out / "labels.parquet"
    LabelTable.make(Task("side", ("left", "right")), ids, [kinds], "made").write(labels)
    spec = ProbeSpec(fraction=0.5, draws=1)
    package = finetune(store, "colour", spec, out / "package", labels=labels, progress=Silent())
    return store, package, labels


def tensors_of_both(
    slide: Path, sampling: TileSampling, out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """What an encoder is given by ``evaluate`` from a lossless store, and by ``predict``."""
    store, package, labels = make_package(slide, sampling, out)
    given: list[Tensor] = []
    usual = ColourEncoder.forward

    def forward(self: ColourEncoder, images: Tensor) -> Tensor:
        given.append(images.clone())
        return usual(self, images)

    monkeypatch.setattr(ColourEncoder, "forward", forward)
    shutil.rmtree(store.path / "features")  # kept by finetune: nothing would be encoded
    evaluate(package, store, out / "e", labels=labels, allow_seen=True, progress=Silent())
    evaluated = torch.cat(given)[: len(store.index)]
    given.clear()
    roots = {"input": slide}
    predict(out / "package", roots, ReadOptions(), out / "p", engine=Local(0), progress=Silent())
    assert all(len(batch) == BATCH for batch in given)
    return evaluated, torch.cat(given)[: len(evaluated)]


def test_a_tile_gives_the_identical_tensor_from_a_lossless_store_and_from_the_slide(
    coordinate_slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated, predicted = tensors_of_both(coordinate_slide.path, CUT, tmp_path, monkeypatch)
    assert len(evaluated) > 100
    assert evaluated.dtype == predicted.dtype == torch.float32
    assert torch.equal(evaluated, predicted)


def test_places_in_the_store_are_those_of_the_prediction(coordinate_slide, tmp_path: Path) -> None:
    store, _, _ = make_package(coordinate_slide.path, CUT, tmp_path)
    roots = {"input": coordinate_slide.path}
    (outcome,) = predict(
        tmp_path / "package",
        roots,
        ReadOptions(),
        tmp_path / "p",
        engine=Local(0),
        progress=Silent(),
    )
    folder = tmp_path / "p" / "results" / outcome.source.id
    table = read_table(folder / "predictions.parquet", "histoscope.predictions", 1)
    for name in ("id", "x_level0_px", "y_level0_px", "width_level0_px"):
        assert table.column(name).to_pylist() == store.index.column(name).to_pylist()


@pytest.mark.data
def test_predict_over_the_real_slides_without_options(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slides = real_data / "pathology" / "slides"
    small = TileSampling(size_px=64, tile_mpp=1.458)
    make_package(slides / "made-pyramid-mpp0.5.tif", small, tmp_path)
    out = tmp_path / "out"
    words = ["predict", str(slides), "--package", str(tmp_path / "package"), "--out", str(out)]
    assert run(words) == 1
    said = capsys.readouterr().out
    outcomes = {outcome.source.path: outcome for outcome in read_outcomes(out / "results")}
    status = {name: outcome.status for name, outcome in outcomes.items()}
    done = {name for name, word in status.items() if word == "done"}
    assert done == {
        "CMU-1-Small-Region.svs",
        "damaged-inside.svs",
        "made-philips.tiff",
        "made-pyramid-mpp0.5.tif",
        "made.ome.tif",
    }
    assert f"{len(done)} sources predicted" in said
    assert all(outcome.reason for outcome in outcomes.values() if outcome.status != "done")
    assert sum(name.startswith("3dhistech-dicom") for name in outcomes) == 1
    damaged = outcomes["damaged-inside.svs"]
    assert damaged.corrupt > 0
    assert damaged.samples > damaged.corrupt
    assert f"{damaged.corrupt} samples unreadable" in damaged.reason
    finished = {file.parent.name for file in out.glob("results/*/predictions.csv")}
    assert finished == {outcomes[name].source.id for name in done}
    assert all((out / "results" / name / "done.json").is_file() for name in finished)
    assert not list(out.rglob("*.part"))
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}
    assert run(words) == 1
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}
    assert after == before
    probabilities = read_table(
        out / "results" / damaged.source.id / "predictions.parquet", "histoscope.predictions", 1
    ).column("p:side:left")
    assert probabilities.null_count == damaged.corrupt
    assert np.isfinite(probabilities.drop_null().to_numpy()).all()
