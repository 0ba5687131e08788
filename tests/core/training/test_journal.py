"""TensorBoard's event files tell what the tables tell, also after a run was cut off."""

from __future__ import annotations

import sys

import pytest

from histoscope.core.config import build
from histoscope.core.errors import CannotWrite, UsageError
from histoscope.core.progress import Silent
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.journal import Journal, read_metrics
from histoscope.core.training.spec import PretrainSpec
from tests.core.training.test_resume import Killed, KilledAfter
from tests.full_disk import no_room

pytestmark = pytest.mark.usefixtures("no_pictures")


def spec_of(**more) -> PretrainSpec:
    training = {"steps": 6, "batch_size": 8, "threads": 1, "workers": 0, "checkpoint_every": 2}
    training |= {"tensorboard": True, "monitor": {"every": 2, "images": 8}, **more}
    return build(PretrainSpec, {"encoder": "test_resnet", "training": training}, "test")


def events(folder) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by name, as TensorBoard shows them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        name: [(event.step, event.value) for event in shown.Scalars(name)]
        for name in shown.Tags()["scalars"]
    }


def tables(folder) -> dict[str, list[tuple[int, float]]]:
    """The same of the tables."""
    return {
        f"{group}/{name}": [
            (int(row["step"]), pytest.approx(float(row[name]), rel=1e-5)) for row in rows
        ]
        for group, rows in (
            ("train", read_metrics(folder / "metrics.csv")),
            ("monitor", read_metrics(folder / "monitors.csv")),
        )
        for name in rows[0]
        if name != "step"
    }


@pytest.mark.parametrize("killed_after", [1, 3])
def test_events_are_the_tables_of_a_run_that_was_cut_off(toy, toy_store, tmp_path, killed_after):
    run = tmp_path / "run"
    with pytest.raises(Killed):
        pretrain(toy_store, toy.DOMAIN, spec_of(), run, progress=KilledAfter(killed_after))
    pretrain(toy_store, toy.DOMAIN, spec_of(), run, progress=Silent())
    found = events(run)
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in found["monitor/effective_rank"]] == [2, 4, 6]
    assert found == tables(run)


def test_a_row_is_on_disk_at_once(tmp_path):
    journal = Journal(tmp_path, 0, events=True)
    journal.trained({"step": 1, "loss": 0.5})
    assert events(tmp_path) == {"train/loss": [(1, 0.5)]}


def test_events_change_no_weight(toy, toy_store, tmp_path):
    for name, events_too in (("with", True), ("without", False)):
        spec = spec_of(tensorboard=events_too)
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / name, progress=Silent())
    one, other = ((tmp_path / n / "encoder.safetensors").read_bytes() for n in ("with", "without"))
    assert one == other
    assert not (tmp_path / "without" / "tensorboard").exists()


def test_without_the_package_it_is_refused_before_anything_is_written(
    toy, toy_store, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match="pip install tensorboard"):
        pretrain(toy_store, toy.DOMAIN, spec_of(), tmp_path / "run", progress=Silent())
    assert not (tmp_path / "run").exists()


def write_many(folder):
    with Journal(folder, 0, events=True) as journal:
        for step in range(1, 60):
            journal.trained({"step": step, "loss": 1})


def test_a_full_disk_under_tensorboard_is_said_once(tmp_path, capfd):
    """Its thread would print a traceback beside it."""
    pytest.importorskip("tensorboard")
    with no_room(400), pytest.raises(CannotWrite, match="tensorboard: cannot be written"):
        write_many(tmp_path)
    assert "Traceback" not in capfd.readouterr().err
