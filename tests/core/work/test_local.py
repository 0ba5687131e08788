"""Sources that hang, crash or are stopped, and large ones that several processes read."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from histoscope.core.errors import UnreadableSource
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.work import reading
from histoscope.core.work.job import Turn
from histoscope.core.work.local import Local
from histoscope.core.work.reading import Opening

PLUGIN = Path(__file__).parents[2] / "toy_plugin"


@pytest.fixture
def package(toy_store, tmp_path):
    """A package on colour, which loads quickly."""
    finetune(
        toy_store,
        "colour",
        ProbeSpec(fraction=0.5, draws=1),
        tmp_path / "package",
        progress=Silent(),
    )
    return tmp_path / "package"


@pytest.fixture
def hanging(toy, tmp_path):
    """Three sources; the second never gives its second sample, and hears no signal."""
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("a-good", "hang-1", "z-good"):
        toy.write_stack(folder / f"{name}.npy", 6, 7)
    return folder


def test_a_source_that_hangs_costs_one_row_and_the_deadline(toy, package, hanging, tmp_path):
    engine, out = Local(1, deadline_s=15), tmp_path / "out"
    roots, options = {"input": hanging}, toy.ToyOptions()
    outcomes = predict(package, roots, options, out, engine=engine, progress=Silent())
    told = {outcome.source.path: (outcome.status, outcome.reason) for outcome in outcomes}
    assert told["a-good.npy"] == told["z-good.npy"] == ("done", "")
    assert told["hang-1.npy"] == ("failed", "its reader hung: no sample for 15 s (--deadline)")


def test_a_slow_source_is_none_that_hangs(toy, package, tmp_path):
    """It gives samples all the time, for longer than the deadline in all."""
    folder = tmp_path / "new"
    folder.mkdir()
    toy.write_stack(folder / "slow.npy", 12, 7)
    engine, out = Local(1, deadline_s=9), tmp_path / "out"
    (outcome,) = predict(
        package, {"input": folder}, toy.ToyOptions(), out, engine=engine, progress=Silent()
    )
    assert (outcome.status, outcome.samples) == ("done", 12)


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
def test_sigterm_while_a_source_hangs_ends_with_3(package, hanging, tmp_path):
    out = tmp_path / "out"
    words = ["predict", hanging, "--package", package, "--out", out]
    path = os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "histoscope", *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, "TOY_HANGS": str(tmp_path / "hangs")},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "hangs").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 3, said
    assert said.splitlines()[-1].endswith(
        "interrupted; 1 of 3 sources are finished; the same command goes on"
    )
    worker = int((tmp_path / "hangs").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def samples_of(toy, folder, readers):
    """All samples of the only source, by so many processes."""
    opening = Opening("toy", {"input": folder}, toy.ToySampling())
    (source,) = toy.DOMAIN.find(opening.roots, toy.ToyOptions())
    with opening.read(source, Turn(readers=readers)) as told:
        return list(told.samples()), told


def test_several_processes_give_what_one_gives_in_its_order(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "WORTH", 8)
    folder = tmp_path / "new"
    folder.mkdir()
    toy.write_stack(folder / "large.npy", 75, 7, corrupt=3)
    one, told = samples_of(toy, folder, 1)
    several, also_told = samples_of(toy, folder, 2)
    assert len(one) == len(several) == 75
    assert told.status == also_told.status
    assert told.good().sum() == 72
    for a, b in zip(one[3:], several[3:], strict=True):
        assert np.array_equal(a.image, b.image)
        assert a.quality == b.quality


def test_a_crash_of_one_of_several_is_the_sources_fault(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "WORTH", 8)
    folder = tmp_path / "new"
    folder.mkdir()
    toy.write_stack(folder / "large-late-crash.npy", 75, 7)
    with pytest.raises(UnreadableSource, match="crashed a reading process"):
        samples_of(toy, folder, 2)
