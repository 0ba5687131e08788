"""Phases by a head that reads operations in order, through the commands, on short operations."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from histoscope.apps.cli import run
from histoscope.core.contracts import Task
from histoscope.core.data.store import Store
from histoscope.core.evaluation.predictions import read_predictions
from histoscope.core.heads.contract import Bags
from histoscope.core.inference.runner import Runner
from histoscope.core.packages.package import open_package
from histoscope.core.runtime.device import AUTO
from histoscope.domains.surgery.phantom import write_phantom
from histoscope.domains.surgery.phases import PHASES, TOOLS

UNKNOWN = range(60, 120)  # of 300 in an operation: 12 s without a phase
ENCODER = "random:test_resnet"
LEARN = ("--method", "mstcn", "--set", "mstcn.layers=5", "--set", "mstcn.learning_rate=0.002")
FEW = ("--task", "phase", "--fraction", 1, "--draws", 1)


def command(*words: object) -> int:
    return run([str(word) for word in words])


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four to learn from, two to test on, and one more; of the first a stretch has no phase."""
    out = tmp_path_factory.mktemp("operations")
    write_phantom(out, 0, train=4, valid=0, test=2, new=1, seconds=60, spread_s=0)
    file = out / "labelled" / "train" / "phase_annotations" / "video01-phase.txt"
    rows = file.read_text().splitlines()
    kept = [row for row in rows if not row[0].isdigit() or int(row.split()[0]) not in UNKNOWN]
    file.write_text("\n".join(kept) + "\n")
    cut = ("--domain", "surgery", "--size-px", 32, "--fps", 1, "--workers", 0)
    assert command("prepare", out / "labelled", *cut, "--out", out / "store") == 0
    return out


@pytest.fixture(scope="module")
def package(operations: Path) -> Path:
    out = operations / "package"
    learn = ("finetune", operations / "store", "--encoder", ENCODER, *FEW, *LEARN)
    assert command(*learn, "--set", "mstcn.steps=300", "--out", out) == 0
    return out


def answers(package: Path, store: Store, source: str, place: int = 0) -> np.ndarray:
    """What the head says of an operation, from the images of the store."""
    opened = open_package(package)
    runner, index = Runner.of(opened.encoder(), AUTO), store.index.to_pylist()
    rows = [place for place, row in enumerate(index) if row["source"] == source]
    assert all(one["at_s"] < two["at_s"] for one, two in pairwise(index[place] for place in rows))
    features = runner.features(store.reader.image(row) for row in rows)
    return opened.head(place).probabilities(Bags.of_one(features))


def test_a_stretch_without_phases_has_no_label_and_is_read_all_the_same(
    operations: Path, package: Path
) -> None:
    store = Store(operations / "store")
    table = store.labels("phase")
    told = table.truth(store.index.column("id")).known
    assert (~told).sum() == len(UNKNOWN) // 5
    (head,) = open_package(package).info.heads
    train = np.array(store.index.column("split").to_pylist()) == "train"
    assert head.labels == [int((told & train).sum())]
    assert (head.kind, head.settings) == ("mstcn", [{"causal": True}])


def test_it_is_scored_on_other_operations_and_changes_its_mind_less_than_single_frames_do(
    operations: Path, package: Path
) -> None:
    """That it knows more, ``tests/benchmarks/phases.py`` tells, on more operations."""
    found = {}
    probe = operations / "probe"
    learn = ("finetune", operations / "store", "--encoder", ENCODER, *FEW)
    assert command(*learn, "--out", probe) == 0
    for one in (probe, package):
        out = operations / f"{one.name}-evaluation"
        assert command("evaluate", one, operations / "store", "--record", "--out", out) == 0
        body = json.loads((out / "metrics.json").read_text())["tasks"]["phase"]
        assert (body["samples"], body["units"]) == (120, 2)
        (scores,) = read_predictions(out, Task("phase", PHASES), 1).scores
        found[one.name] = np.count_nonzero(np.diff(scores.argmax(axis=1)))
    assert 1 < found["package"] < 0.8 * found["probe"]


def test_new_operations_are_answered_as_its_head_does_in_order(
    operations: Path, package: Path
) -> None:
    results, by = operations / "results", ("--package", package, "--workers", 0)
    told = ("--write", "cholec80", "--out", results)
    assert command("predict", operations / "new", *by, *told) == 0
    (file,) = (results / "results").glob("*/predictions.parquet")
    found = pq.read_table(file)
    scores = np.stack([found.column(f"p:phase:{name}").to_numpy() for name in PHASES], axis=1)
    cut = ("--domain", "surgery", "--size-px", 32, "--fps", 1, "--workers", 0)
    again = operations / "store-of-new"
    assert (
        command("prepare", operations / "new", *cut, "--encoding", "lossless", "--out", again) == 0
    )
    wanted = answers(package, Store(again), file.parent.name)
    assert np.allclose(scores, wanted, atol=1e-6)
    truth = ("--truth", operations / "new-truth" / "phase_annotations", "--source-fps", 5)
    assert command("score", "phases", *truth, "--predicted", results / "results") == 0


def test_the_same_labels_give_the_same_package(operations: Path, tmp_path: Path) -> None:
    learn = ("finetune", operations / "store", "--encoder", ENCODER, *FEW, *LEARN)
    sums = []
    for name in ("one", "two"):
        assert command(*learn, "--set", "mstcn.steps=5", "--out", tmp_path / name) == 0
        sums.append((tmp_path / name / "SHA256SUMS").read_bytes())
    assert sums[0] == sums[1]


def test_it_is_scored_by_folds_and_says_what_to_label(
    operations: Path, package: Path, tmp_path: Path
) -> None:
    store = operations / "store"
    few = ("--set", "mstcn.steps=3", "--folds", 2, "--out")
    learn = ("finetune", store, "--encoder", ENCODER, *FEW[2:], *LEARN)
    assert command(*learn, "--task", "phase", *few, tmp_path / "folds") == 0
    of_tools = ("--task", "tools", "--set", "mstcn.balanced=true", *few, tmp_path / "of-tools")
    assert command(*learn, *of_tools) == 0
    tools = json.loads((tmp_path / "of-tools" / "metrics.json").read_text())["tasks"]["tools"]
    assert tools["samples"] == 360
    assert set(tools["average_precision"]) == set(TOOLS)
    asked = ("--package", package, "--task", "phase", "--count", 3)
    assert command("suggest", store, *asked, "--out", tmp_path / "suggested") == 0
    rows = (tmp_path / "suggested" / "suggested.csv").read_text().splitlines()
    assert len(rows) == 4


@pytest.fixture(scope="module")
def of_both(operations: Path) -> Path:
    """A package of phases and tools, where no operation says anything of the last tool."""
    unknown = operations / "store" / "labels" / "tools.parquet"
    kept = unknown.read_bytes()
    table = pq.read_table(unknown)
    names = table.column_names
    nothing = pa.nulls(len(table), table.schema.field(names[-1]).type)
    pq.write_table(
        table.set_column(len(names) - 1, table.schema.field(names[-1]), nothing), unknown
    )
    out = operations / "package-of-both"
    tasks = ("--task", "phase", "--task", "tools", *FEW[2:])
    learn = ("finetune", operations / "store", "--encoder", ENCODER, *tasks, *LEARN)
    assert command(*learn, "--set", "mstcn.steps=60", "--out", out) == 0
    unknown.write_bytes(kept)
    return out


def test_tools_are_learnt_beside_phases_with_thresholds_of_held_out_operations(
    operations: Path, of_both: Path, tmp_path: Path
) -> None:
    opened = open_package(of_both)
    phase, tools = opened.info.heads
    assert (phase.kind, tools.kind, tools.exclusive) == ("mstcn", "mstcn", False)
    assert phase.settings == [{"causal": True}]
    assert phase.calibration["reason"] == "a class has 2 labels, fewer than 10; scores only rank"
    assert tools.settings == [{"causal": True, "held_out": "cases"}]
    assert tools.calibration["kind"] == "none"
    assert tools.thresholds is not None
    (cut,) = tools.thresholds
    assert cut[-1] == 1
    assert any(one not in (0.5, 1) for one in cut)
    alone = tmp_path / "alone"
    learn = ("finetune", operations / "store", "--encoder", ENCODER, *FEW, *LEARN)
    assert command(*learn, "--set", "mstcn.steps=60", "--out", alone) == 0
    other = open_package(alone).head(0).tensors()
    for name, values in opened.head(0).tensors().items():
        assert np.array_equal(values, other[name])


def test_tools_are_scored_and_kept_in_the_package(
    operations: Path, of_both: Path, tmp_path: Path
) -> None:
    out = tmp_path / "evaluation"
    assert command("evaluate", of_both, operations / "store", "--record", "--out", out) == 0
    body = json.loads((out / "metrics.json").read_text())["tasks"]["tools"]
    assert (body["samples"], body["units"]) == (120, 2)
    kept = open_package(of_both).info.heads[1].evaluation
    assert kept is not None
    assert kept["mean_average_precision"] == body["mean_average_precision"]


def test_tools_of_new_operations_are_answered_as_its_head_does_in_order(
    operations: Path, of_both: Path, tmp_path: Path
) -> None:
    by = ("--package", of_both, "--workers", 0)
    told = ("--write", "cholec80", "--out", tmp_path / "results")
    assert command("predict", operations / "new", *by, *told) == 0
    (file,) = (tmp_path / "results" / "results").glob("*/predictions.parquet")
    found = pq.read_table(file)
    scores = np.stack([found.column(f"p:tools:{name}").to_numpy() for name in TOOLS], axis=1)
    held = np.stack([found.column(f"class:tools:{name}").to_numpy(False) for name in TOOLS], axis=1)
    cut = ("--domain", "surgery", "--size-px", 32, "--fps", 1, "--workers", 0)
    again = tmp_path / "store"
    lossless = ("--encoding", "lossless", "--out", again)
    assert command("prepare", operations / "new", *cut, *lossless) == 0
    wanted = answers(of_both, Store(again), file.parent.name, 1)
    assert np.allclose(scores, wanted, atol=1e-6)
    head = open_package(of_both).head(1)
    assert np.array_equal(held, scores >= head.cut)
    assert (scores[:, -1] == 0.5).all()  # of the tool without labels
    assert not held[:, -1].any()
    use = (file.parent / "use-tools.csv").read_text().splitlines()
    told_s = [row.split(",")[:2] for row in use[1:]]
    assert [name.strip('"') for name, _ in told_s] == [*TOOLS]
    assert [float(seen) for _, seen in told_s] == held.sum(axis=0).tolist()
    assert len((file.parent / "phases.csv").read_text().splitlines()) == 61
    asked = ("--package", of_both, "--task", "tools", "--count", 3)
    assert command("suggest", again, *asked, "--out", tmp_path / "suggested") == 0
    assert command("report", tmp_path / "results") == 0
    assert "Tools by phase" in (tmp_path / "results" / "report.html").read_text()


def cut_off(video: Path, out: Path, end_s: float) -> None:
    """The packets of a film before the first picture that stands for itself at or after a time."""
    out.parent.mkdir()
    with av.open(str(video)) as whole, av.open(str(out), "w") as part:
        stream = part.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            late = packet.pts is not None and packet.pts * packet.time_base >= end_s
            if packet.dts is None or (packet.is_keyframe and late):
                break
            packet.stream = stream
            part.mux(packet)


def scores_of(package: Path, videos: Path, out: Path) -> dict[float, list[float]]:
    """What predict says of each frame, by its time."""
    assert command("predict", videos, "--package", package, "--workers", 0, "--out", out) == 0
    (file,) = (out / "results").glob("*/predictions.parquet")
    rows = pq.read_table(file).to_pylist()
    return {row["at_s"]: [row[f"p:phase:{name}"] for name in PHASES] for row in rows}


def test_what_comes_later_changes_no_answer_of_a_causal_head_by_a_bit(
    operations: Path, package: Path, tmp_path: Path
) -> None:
    (video,) = (operations / "new" / "videos").iterdir()
    cut_off(video, tmp_path / "cut" / video.name, 25.0)
    both = tmp_path / "both"
    learn = ("finetune", operations / "store", "--encoder", ENCODER, *FEW, *LEARN)
    few = ("--set", "mstcn.causal=false", "--set", "mstcn.steps=5", "--out", both)
    assert command(*learn, *few) == 0
    same = {}
    for name, one in (("causal", package), ("both", both)):
        whole = scores_of(one, operations / "new", tmp_path / f"{name}-whole")
        part = scores_of(one, tmp_path / "cut", tmp_path / f"{name}-part")
        assert 25 <= len(part) < len(whole) == 60
        assert set(part) <= set(whole)
        same[name] = [whole[at_s] == told for at_s, told in part.items()]
    assert all(same["causal"])
    assert not any(same["both"])
