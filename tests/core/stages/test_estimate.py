"""How long a prediction takes is told from a few sources, whatever these do."""

from __future__ import annotations

import pytest

from histoscope.core.contracts.installed import find_sources
from histoscope.core.inference.runner import BATCH
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages import estimate
from histoscope.core.stages.estimate import Sampled, Tried, estimate_prediction, in_hours
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.work.job import Turn
from histoscope.core.work.local import Local
from histoscope.core.work.reading import Opening


@pytest.fixture
def package(toy_store, tmp_path):
    spec = ProbeSpec(fraction=0.5, draws=1)
    finetune(toy_store, "colour", spec, tmp_path / "package", progress=Silent())
    return open_package(tmp_path / "package")


def estimated(package, toy, folder, engine=None):
    roots, options = {"input": folder}, toy.ToyOptions()
    sources = find_sources(toy.DOMAIN, roots, options).sources
    return estimate_prediction(package, roots, options, sources, AUTO, engine or Local(0))


def written(package, toy, folder, out):
    outcomes = predict(
        package.folder,
        {"input": folder},
        toy.ToyOptions(),
        out,
        engine=Local(0),
        progress=Silent(),
    )
    size = sum(f.stat().st_size for f in (out / "results").rglob("*") if f.name != "done.json")
    return sum(one.samples + one.corrupt for one in outcomes), size


def test_samples_and_bytes_are_those_of_the_run(package, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "SOURCES", 4)
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(12):
        toy.write_stack(folder / f"good-{number}.npy", 600, number, 0)
    told = estimated(package, toy, folder)
    samples, size = written(package, toy, folder, tmp_path / "out")
    assert (told.sources, told.looked_at, told.samples) == (12, 4, samples)
    assert 0.5 < told.bytes_ / size < 2
    assert told.seconds > 0
    assert f"{samples:,.0f} samples" in told.said
    assert "(told from 4 of 12 sources)" in told.said


def test_what_cannot_be_read_takes_no_time_and_ends_nothing(package, toy, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("crash-1", "bad-1", "z-good", "z-other"):
        toy.write_stack(folder / f"{name}.npy", 6, 7, 0)
    told = estimated(package, toy, folder, Local(1))
    assert (told.sources, told.looked_at, told.samples) == (4, 2, 12)
    for name in ("z-good", "z-other"):
        (folder / f"{name}.npy").unlink()
    assert "is not known" in estimated(package, toy, folder, Local(1)).said


def test_what_is_tried_are_whole_batches_of_neighbours(package, toy, tmp_path):
    assert estimate.FEW % BATCH == estimate.MORE % BATCH == 0
    (tmp_path / "new").mkdir()
    toy.write_stack(tmp_path / "new" / "a.npy", 600, 7, 0)
    roots, sampling = {"input": tmp_path / "new"}, package.info.encoder.cut("")
    (source,) = find_sources(toy.DOMAIN, roots, toy.ToyOptions()).sources
    with (
        Opening("toy", roots, sampling).read(source, Turn()) as whole,
        Sampled("toy", roots, sampling, most=64).read(source, Turn()) as some,
    ):
        assert some.plan.rows.equals(whole.plan.rows.slice(0, 64))


def test_a_line_through_few_and_more_is_drawn_to_all():
    one = Tried(10_000, (16, 3.0 + 0.16, 500 + 160), (256, 3.0 + 2.56, 500 + 2560))
    assert one.of_all(1) == pytest.approx(3 + 100)
    assert one.of_all(2) == pytest.approx(500 + 100_000)
    assert Tried(9, (9, 1.0, 50), (9, 0.9, 50)).of_all(1) == 0.9  # none is left to be added
    hiccup = Tried(900, (16, 2.0, 50), (256, 1.92, 90))  # a hiccup is no gain
    assert hiccup.of_all(1) == pytest.approx(1.92 / 256 * 900)


def test_time_is_told_in_words():
    assert [in_hours(one) for one in (40, 720, 27_000)] == ["40 s", "12 min", "7.5 h"]
