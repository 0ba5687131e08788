"""Files of what is learnt from labels of whole slides, for the page that describes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from histoscope.core.config import build, dump
from histoscope.core.files import write_json
from histoscope.core.learning.spec import FinetuneSpec


def write_of_sources(command: Callable[..., None], given: Path, out: Path) -> None:
    """Labels of whole slides, learnt, scored where they were learnt, and predicted."""
    store, split = out / "store", ("--split", f"{given / 'split.csv'}:train")
    for task, kinds in (("size", ("large", "small")), ("site", ("near", "far"))):
        lines = [
            f"{name}.tif,{kind},{name},train"
            for name, kind in zip(("aperio", "oblong"), kinds, strict=True)
        ]
        file = given / f"labels-{task}.csv"
        file.write_text("\n".join(["source,label,case,split", *lines]) + "\n")
        command(0, "labels", store, file, "--task", task)
    (given / "labels-site.csv").unlink()
    few = ("--encoder", "colour", "--fraction", 1, "--draws", 1, *split)
    weighed = ("--config", given / "finetune-attention.yaml", "--set", "attention.steps=2")
    both = ("--task", "size", "--task", "site", *weighed)
    highest = ("--config", given / "finetune-topk.yaml", "--set", "topk.steps=2")
    few_dims = (*weighed, "--set", "attention.components=4")
    ways = {"of-sources": (), "by-attention": few_dims, "by-topk": highest}
    alone = {kind: ("--task", "size", *way) for kind, way in ways.items()}
    for kind, way in {**alone, "by-two-attentions": both}.items():
        package = out / f"package-{kind}"
        command(0, "finetune", store, *few, *way, "--out", package)
        if kind == "of-sources":
            seen = (*split, "--allow-seen", "--record", "--out", out / "evaluation-of-sources")
            command(0, "evaluate", package, store, *seen)
        by = ("--package", package, "--workers", 0)
        by += ("--suspicious", "large") if kind == "by-attention" else ()
        command(1, "predict", given / "slides", "--out", out / f"predictions-{kind}", *by)
    trans = ("--task", "size", *weighed, "--set", "attention.mode=att_trans")
    trans += ("--set", "attention.heads=1", "--set", "attention.components=null")
    learnt = (store, "--encoder", "random:test_resnet", *few[2:], *trans)
    command(0, "finetune", *learnt, "--out", out / "package-of-att-trans")
    write_of_layers(command, given, out, split)
    write_of_features(command, given, out)


def write_in_order(command: Callable[..., None], given: Path, store: Path, out: Path) -> None:
    """A head of phases that reads operations in order; two questions of which each has one answer.

    The second is answered by segments that were written by hand.
    """
    few = ("--encoder", "colour", "--task", "phase", "--cases-per-class", 1, "--draws", 1)
    way = ("--method", "mstcn", "--set", "mstcn.steps=2", "--set", "mstcn.maps=8")
    named = ("--set", "subsets=[[video01]]", "--out", out / "package-by-mstcn")
    command(0, "finetune", store, *few[:4], *way, *named)
    alone = ("--whole-cases", 1, "--draws", 1, "--out", out / "package-of-one-case")
    command(0, "finetune", store, *few[:4], *alone)
    halves = [("early", "0:00:00", 30), ("late", 30, 50), (None, 50, 60.5)]
    names = ("class", "start_s", "end_s")
    told = {"source": "0" * 16, "operation": "video01", "task": "half", "classes": []}
    told["segments"] = [dict(zip(names, half, strict=True)) for half in halves]
    write_json(given / "segments.json", "histoscope.segments", 1, told)
    command(0, "labels", store, given / "segments.json")
    package = out / "package-of-two-phases"
    command(0, "finetune", store, *few[:4], "--task", "half", *few[4:], "--out", package)
    by = ("--package", package, "--workers", 0, "--out", out / "predictions-of-two-phases")
    command(0, "predict", out / "demo-of-operations" / "phantom" / "new", *by)


def write_of_layers(
    command: Callable[..., None], given: Path, out: Path, split: Sequence[object]
) -> None:
    """The best layer of a run and of its head, as learnt from tiles."""
    spec = build(FinetuneSpec, {"cut": "choose", "fraction": 0.5, "draws": 1}, "test")
    (given / "finetune-layers.yaml").write_text(dump(spec))
    run, package = out / "run-of-barlow-twins", out / "package-of-layers"
    few = ("--task", "tissue", "--config", given / "finetune-layers.yaml", *split)
    command(0, "finetune", out / "store", "--encoder", run, *few, "--out", package)


def write_of_features(command: Callable[..., None], given: Path, out: Path) -> None:
    """Features as another program has them, learnt and predicted."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("aperio", "oblong")):
        with h5py.File(given / f"features-{name}.h5", "w") as file:
            rows = rng.normal(number, 1, (9, 8)).astype(np.float32)
            corners = np.stack(np.divmod(np.arange(9), 3), 1).astype(np.int64) * 32
            file.create_dataset("features", data=rows).attrs["encoder"] = "other"
            said = {"patch_size": 32, "target_magnification": 10, "target_mpp": 1.0, "overlap": 0}
            said |= {"level0_magnification": 10, "patch_size_level0": 32}
            said |= {"level0_width": 96, "level0_height": 96}
            file.create_dataset("coords", data=corners).attrs.update(said)
            file.attrs.update(
                {"weights": "0" * 64, "source_id": f"{number:016x}", "complete": True}
            )
    labels = given / "labels-others.csv"
    labels.write_text("slide,label\nfeatures-aperio,a\nfeatures-oblong,b\n")
    of, package = ("--features", given), out / "package-of-features"
    weighed = ("--config", given / "finetune-attention.yaml", "--set", "attention.steps=2")
    few = ("--fraction", 1, "--draws", 1, "--labels", labels)
    command(0, "finetune", *of, *few, *weighed, "--out", package)
    by = ("--package", package, "--workers", 0, "--out", out / "predictions-of-features")
    command(0, "predict", *of, *by)
    labels.unlink()


def write_tuned(command: Callable[..., None], given: Path, out: Path) -> None:
    """Two recipes, and an encoder as it is, compared on a store's labelled set."""
    from histoscope.core.data.store import Store

    ids = Store(out / "store").index.column("id").to_pylist()
    lines = [f"{name},{('train', 'valid')[place % 2]}" for place, name in enumerate(ids)]
    (given / "more" / "split.csv").write_text("\n".join(["id,split", *lines]) + "\n")
    training = "training: {batch_size: 8, workers: 0}"
    (given / "arms.yaml").write_text(
        "steps: 1\nrounds: 1\narms:\n  colour: {start: colour}\n"
        f"  usual: {{preset: simclr, set: {{encoder: test_resnet, {training}}}}}\n"
    )
    asked = ("--arms", given / "arms.yaml", "--split", given / "more" / "split.csv")
    few = ("--task", "tissue", "--fraction", 1, "--draws", 1, "--workers", 0)
    command(0, "tune", out / "store", *asked, *few, "--out", out / "tuned")
