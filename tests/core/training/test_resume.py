"""A run that is cut off goes on as if it had not been: the same bits."""

from __future__ import annotations

import json
import shutil
from itertools import product

import pytest
import torch

from histoscope.core.config import build, load_yaml, merge
from histoscope.core.data.store import Store
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.errors import DataError, UsageError
from histoscope.core.progress import Silent
from histoscope.core.runtime.alone import alone
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.tensors import save_tensors
from histoscope.core.training.checkpoint import finished
from histoscope.core.training.journal import read_metrics
from histoscope.core.training.spec import PretrainSpec
from tests.made import write_masks

pytestmark = pytest.mark.usefixtures("no_pictures")

STEPS, AN_EPOCH = 8, 5  # 40 samples, 8 a step
OBJECTIVES = {
    "simclr": {"base": "simclr"},
    "moco_v2": {"base": "moco_v2", "momentum": {"rows": 12, "groups": 1}},
}
FORMATS = {
    "float32": {"precision": "float32", "memory_format": "contiguous"},
    "float32 channels-last": {"precision": "float32", "memory_format": "channels_last"},
    "bf16 channels-last": {"precision": "bf16", "memory_format": "channels_last"},
}
SLOW = pytest.mark.slow  # bf16, which a processor without it computes slowly, and workers' starts
BASES = {"adamw": "simclr", "sgd": "moco_v2", "lars": "simclr"}


class Killed(BaseException):
    """Stands for the end of the process."""


class Hearing(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class KilledAfter(Silent):
    """Ends the run when so many steps are done, without a word to it."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left == 0:
            raise Killed


def spec_of(kind: str, numbers: str, **more) -> PretrainSpec:
    training = {
        "steps": STEPS,
        "batch_size": 8,
        "threads": 1,
        "checkpoint_every": 2,
        "optimiser": {"kind": kind},
        **FORMATS[numbers],
        **more,
    }
    # oneDNN reads memory that nobody wrote for bf16, stride 2 and a map of one pixel, which a view
    # of up to 32 px is to the last stage
    views = {"geometry": {"size_px": 48}}
    objective = OBJECTIVES[BASES[kind]]
    body = {"encoder": "test_resnet", "objective": objective, "views": views, "training": training}
    return build(PretrainSpec, body, "test")


def outcome(folder):
    """All that must not differ: the weights' bytes, and every row but its seconds."""
    rows = [
        {k: v for k, v in row.items() if k != "seconds"}
        for row in read_metrics(folder / "metrics.csv")
    ]
    return (folder / "encoder.safetensors").read_bytes(), rows


def test_backgrounds_and_their_opponents_go_on_bit_for_bit(toy, toy_store, tmp_path):
    write_masks(toy_store)
    spec = spec_of("sgd", "float32", workers=0)
    changed = {"background": {"kind": "swap", "p": 0.5, "area": [0.01, 0.99]}}
    spec = build(PretrainSpec, merge(dump_of(spec), {"views": changed}), "test")
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "whole", progress=Silent())
    whole = outcome(tmp_path / "whole")
    shares = [(float(row["matched"]), float(row["background_fits"])) for row in whole[1]]
    assert all(0 < matched < 1 and 0 < fits <= 1 for matched, fits in shares)
    assert cut_off(toy_store, toy, spec, tmp_path / "killed", 3) == whole


def test_backgrounds_at_p_zero_are_the_base_bit_for_bit(toy, toy_store, tmp_path):
    """And nobody asks for masks."""
    spec = spec_of("sgd", "float32", workers=0)
    changed = {"background": {"kind": "swap", "p": 0}}
    zero = build(PretrainSpec, merge(dump_of(spec), {"views": changed}), "test")
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "base", progress=Silent())
    pretrain(toy_store, toy.DOMAIN, zero, tmp_path / "zero", progress=Silent())
    assert outcome(tmp_path / "base") == outcome(tmp_path / "zero")


def cut_off(store, toy, spec, folder, killed_after):
    """Run, die, and run again."""
    with pytest.raises(Killed):
        pretrain(store, toy.DOMAIN, spec, folder, progress=KilledAfter(killed_after))
    assert not (folder / "encoder.safetensors").exists()
    pretrain(store, toy.DOMAIN, spec, folder, progress=Silent())
    return outcome(folder)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        pytest.param(kind, numbers, marks=SLOW if "bf16" in numbers and kind != "lars" else ())
        for kind, numbers in product(BASES, FORMATS)
    ],
)
def test_a_killed_run_ends_as_an_unbroken_one(toy, toy_store, tmp_path, kind, numbers):
    spec = spec_of(kind, numbers, workers=0)
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "whole", progress=Silent())
    whole = outcome(tmp_path / "whole")
    assert len(whole[1]) == STEPS
    for killed_after in (3, AN_EPOCH + 2):
        folder = tmp_path / f"killed {killed_after}"
        assert cut_off(toy_store, toy, spec, folder, killed_after) == whole


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        pytest.param(kind, numbers, marks=SLOW if kind != "adamw" else ())
        for kind, numbers in zip(BASES, FORMATS, strict=True)
    ],
)
def test_workers_change_no_bit(toy, toy_store, tmp_path, kind, numbers):
    without, with_two = (spec_of(kind, numbers, workers=count) for count in (0, 2))
    pretrain(toy_store, toy.DOMAIN, without, tmp_path / "none", progress=Silent())
    found = cut_off(toy_store, toy, with_two, tmp_path / "two", 3)
    assert found == outcome(tmp_path / "none")


def test_formats_are_not_all_the_same_numbers(toy, toy_store, tmp_path):
    """The comparisons above can fail."""
    for numbers in ("float32 channels-last", "bf16 channels-last"):
        spec = spec_of("adamw", numbers, workers=0)
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / numbers, progress=Silent())
    one, other = (outcome(tmp_path / n) for n in ("float32 channels-last", "bf16 channels-last"))
    assert one[0] != other[0]


def test_threads_are_those_of_the_checkpoint(toy, toy_store, tmp_path, monkeypatch):
    spec = spec_of("adamw", "float32", workers=0, threads=None)
    monkeypatch.setattr("histoscope.core.runtime.threads.cores", lambda: 2)
    with pytest.raises(Killed):
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=KilledAfter(3))
    monkeypatch.setattr("histoscope.core.runtime.threads.cores", lambda: 1)
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    said = (tmp_path / "run" / "log.txt").read_text()
    assert said.count("float32, 2 threads") == 2


def test_parts_are_said_and_must_divide_the_batch(toy, toy_store, tmp_path):
    spec = spec_of("adamw", "float32", workers=0, accumulate=2, steps=2, batch_size=16)
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    assert "batch 16 in 2 parts: batch norm sees 8 images" in (tmp_path / "run/log.txt").read_text()
    spec = spec_of("adamw", "float32", workers=0, accumulate=3)
    with pytest.raises(UsageError, match="8 does not divide by 3"):
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "other", progress=Silent())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("kind", "accumulate", "said"),
    [
        ("adamw", 2, r"parts of 4, but simclr needs 8 \(batch norm\)"),
        ("adamw", 8, "parts of 1, but simclr needs 8"),
        ("sgd", 2, "parts of 4, but moco_v2 needs 8"),
    ],
)
def test_parts_too_small_for_batch_norm_are_refused(
    toy, toy_store, tmp_path, kind, accumulate, said
):
    spec = spec_of(kind, "float32", workers=0, accumulate=accumulate)
    with pytest.raises(UsageError, match=said):
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    assert not (tmp_path / "run").exists()


def test_parts_of_an_odd_number_cannot_be_mixed(toy, toy_store, tmp_path):
    spec = spec_of("adamw", "float32", workers=0, batch_size=9)
    mixed = build(PretrainSpec, {**dump_of(spec), "objective": {"mixing": "unmix"}}, "test")
    with pytest.raises(UsageError, match="parts of 9, but images are mixed in twos"):
        pretrain(toy_store, toy.DOMAIN, mixed, tmp_path / "run", progress=Silent())
    assert not (tmp_path / "run").exists()


def dump_of(spec):
    return spec.model_dump(mode="json")


def test_a_checkpoint_that_does_not_say_enough_is_refused(toy, toy_store, tmp_path):
    spec = spec_of("adamw", "float32", workers=0)
    with pytest.raises(Killed):
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=KilledAfter(3))
    (file,) = (tmp_path / "run" / "checkpoints").glob("*/checkpoint.json")
    file.write_text(file.read_text().replace("batch_parts", "other"))
    with pytest.raises(UsageError, match=r"no batch_parts\); give another --out"):
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())


def killed(store, toy, folder, steps, **more):
    """A run that was killed after so many steps; its settings."""
    spec = spec_of("adamw", "float32", **{"workers": 0, **more})
    with pytest.raises(Killed):
        pretrain(store, toy.DOMAIN, spec, folder, progress=KilledAfter(steps))
    return spec


FREE = {"workers": 1, "device": "auto", "checkpoint_every": 3, "tensorboard": True, "threads": None}


def test_a_second_call_in_the_folder_of_a_run_is_refused(toy, toy_store, tmp_path):
    run = tmp_path / "run"
    spec = killed(toy_store, toy, run, 3)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    with alone(run), pytest.raises(UsageError, match="run: another call is writing here"):
        pretrain(toy_store, toy.DOMAIN, spec, run, progress=Silent())
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    pretrain(toy_store, toy.DOMAIN, spec, run, progress=Silent())


def test_a_run_may_go_on_elsewhere_and_write_more_often(toy, toy_store, tmp_path):
    spec = killed(toy_store, toy, tmp_path / "run", 7, device="cpu")
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "whole", progress=Silent())
    more = spec_of("adamw", "float32", **FREE, monitor={"every": 3})
    pretrain(toy_store, toy.DOMAIN, more, tmp_path / "run", progress=Silent())
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


KEPT = [
    ({"batch_size": 16}, r"\(training.batch_size: 8 there, 16 now\); give the same again, or an"),
    ({"steps": 9, "seed": 3}, "training.steps: 8 there, 9 now; training.seed: 0 there, 3 now"),
    ({"precision": "bf16"}, "training.precision: float32 there, bf16 now"),
    ({"threads": 2}, "was trained on 1 threads, training.threads is now 2: other numbers give"),
]


def test_what_a_run_cannot_go_on_with_is_named(toy, toy_store, tmp_path):
    spec = killed(toy_store, toy, tmp_path / "run", 3)
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    for more, said in KEPT:
        changed = spec.model_copy(update={"training": spec.training.model_copy(update=more)})
        with pytest.raises(UsageError, match=said):
            pretrain(toy_store, toy.DOMAIN, changed, tmp_path / "run", progress=Silent())
        assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def gone(file):
    file.unlink()


def of_others(file):
    save_tensors(file, {"900.step": torch.zeros(1), "odd": torch.zeros(1)})


TENSORS = ["model.safetensors", "optimiser.safetensors"]
DAMAGES = [("checkpoint.json", cut), *product(TENSORS, [cut, gone, of_others])]


def test_a_damaged_checkpoint_names_the_older_one_and_how_it_is_taken(toy, toy_store, tmp_path):
    run = tmp_path / "run"
    spec = killed(toy_store, toy, run, 7)
    last = run / "checkpoints" / "step-000006"
    older = "; step-000004 is older: --from-step 4 goes on from there"
    with pytest.raises(UsageError, match=r"--from-step 5: .* holds no such checkpoint \(4, 6\)"):
        pretrain(toy_store, toy.DOMAIN, spec, run, from_step=5, progress=Silent())
    for name, damage in DAMAGES:
        whole = (last / name).read_bytes()
        damage(last / name)
        with pytest.raises(DataError, match=f"{last}.*{older}"):
            pretrain(toy_store, toy.DOMAIN, spec, run, progress=Silent())
        (last / name).write_bytes(whole)
    cut(last / "model.safetensors")
    said = Hearing()
    pretrain(toy_store, toy.DOMAIN, spec, run, from_step=4, progress=said)
    assert "resumes after step 4; later checkpoints are removed" in said.lines
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "whole", progress=Silent())
    assert outcome(run) == outcome(tmp_path / "whole")


def test_the_only_checkpoint_is_removed_where_it_is_damaged(toy, toy_store, tmp_path):
    run = tmp_path / "run"
    spec = killed(toy_store, toy, run, 3)
    (only,) = (run / "checkpoints").iterdir()
    cut(only / "model.safetensors")
    with pytest.raises(DataError, match=f"there is no older one: remove {only} to begin anew"):
        pretrain(toy_store, toy.DOMAIN, spec, run, progress=Silent())
    shutil.rmtree(only)
    pretrain(toy_store, toy.DOMAIN, spec, run, progress=Silent())


def test_what_a_kill_left_of_a_checkpoint_goes_with_the_next_call(toy, toy_store, tmp_path):
    run = tmp_path / "run"
    spec = killed(toy_store, toy, run, 3)
    half = run / "checkpoints" / "step-000003"
    half.mkdir()
    for file in (half / "model.safetensors", half / "optimiser.safetensors.77.part"):
        file.write_bytes(b"half")
    (run / "encoder.safetensors.77.part").write_bytes(b"half")
    pretrain(toy_store, toy.DOMAIN, spec, run, progress=Silent())
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {"step-000006", "step-000008"}
    assert not list(run.rglob("*.part"))


@pytest.mark.parametrize("tail", [b"5,3.1,", b"\0\0\0\0\0\0", b"5,3.1\0\0\0,0.1,0.1,\n"])
def test_a_torn_table_does_not_keep_a_run_from_going_on(toy, toy_store, tmp_path, tail):
    """What a machine leaves that lost its power."""
    spec, run = spec_of("adamw", "float32", workers=0), tmp_path / "run"
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "whole", progress=Silent())
    with pytest.raises(Killed):
        pretrain(toy_store, toy.DOMAIN, spec, run, progress=KilledAfter(7))
    lines = (run / "metrics.csv").read_bytes().splitlines(keepends=True)
    (run / "metrics.csv").write_bytes(b"".join(lines[:5]) + tail)  # the checkpoint is of step 6
    said = Hearing()
    pretrain(toy_store, toy.DOMAIN, spec, run, progress=said)
    assert any("the rows of 2 steps before step 7 are torn off" in line for line in said.lines)
    weights, rows = outcome(tmp_path / "whole")
    assert outcome(run) == (weights, [row for row in rows if row["step"] not in {"5", "6"}])


def test_a_store_that_was_cut_otherwise_is_other_data(toy, toy_store, toy_folder, tmp_path):
    """Its samples have the same ids."""
    spec = spec_of("adamw", "float32", workers=0)
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    about = json.loads((toy_store.path / "store.json").read_text())
    about["sampling"]["pitch"] *= 2
    (toy_store.path / "store.json").write_text(json.dumps(about))
    with pytest.raises(UsageError, match="trained on other data"):
        pretrain(Store(toy_store.path), toy.DOMAIN, spec, tmp_path / "run", progress=Silent())


def test_another_start_is_refused_and_the_network_is_that_of_the_start(toy, toy_store, tmp_path):
    spec = spec_of("adamw", "float32", workers=0)
    for seed, name in enumerate(("one", "other")):
        changed = spec.model_copy(
            update={"training": spec.training.model_copy(update={"seed": seed})}
        )
        pretrain(toy_store, toy.DOMAIN, changed, tmp_path / name, progress=Silent())
    start = spec.model_copy(
        update={"encoder": TimmSpec(name="resnet18"), "init": str(tmp_path / "one")}
    )
    run = tmp_path / "run"
    with pytest.raises(Killed):
        pretrain(toy_store, toy.DOMAIN, start, run, progress=KilledAfter(3))
    assert load_yaml(run / "config.yaml")["encoder"]["name"] == "test_resnet"
    (tmp_path / "one").rename(tmp_path / "kept")
    (tmp_path / "other").rename(tmp_path / "one")
    with pytest.raises(UsageError, match=r"began from weights \w+, --init is now weights \w+"):
        pretrain(toy_store, toy.DOMAIN, start, run, progress=Silent())
    (tmp_path / "one").rename(tmp_path / "other")
    (tmp_path / "kept").rename(tmp_path / "one")
    pretrain(toy_store, toy.DOMAIN, start, run, progress=Silent())
    wrong = start.model_copy(update={"encoder": TimmSpec(name="resnet50")})
    with pytest.raises(UsageError, match="is a test_resnet, but encoder is resnet50"):
        pretrain(toy_store, toy.DOMAIN, wrong, tmp_path / "wrong", progress=Silent())


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    for step in (999_900, 1_000_000, 1_000_100):
        (tmp_path / f"step-{step:06d}").mkdir()
        (tmp_path / f"step-{step:06d}" / "checkpoint.json").touch()
    assert [path.name for path in finished(tmp_path)][-1] == "step-1000100"
