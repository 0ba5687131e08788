"""Files of what is learnt from labels of whole slides, for the page that describes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_of_sources(command: Callable[..., None], given: Path, out: Path) -> None:
    """Labels of whole slides, learnt, scored where they were learnt, and predicted."""
    store, split = out / "store", ("--split", f"{given / 'split.csv'}:train")
    for task, kinds in (("size", ("large", "small")), ("site", ("near", "far"))):
        lines = [
            f"{name}.tif,{kind}" for name, kind in zip(("aperio", "oblong"), kinds, strict=True)
        ]
        file = given / f"labels-{task}.csv"
        file.write_text("\n".join(["source,label", *lines]) + "\n")
        command(0, "labels", store, file, "--task", task)
    (given / "labels-site.csv").unlink()
    few = ("--encoder", "colour", "--fraction", 1, "--draws", 1, *split)
    weighed = ("--config", given / "finetune-attention.yaml", "--set", "attention.steps=2")
    both = ("--task", "size", "--task", "site", *weighed)
    ways = {"of-sources": ("--task", "size"), "by-attention": ("--task", "size", *weighed)}
    for kind, way in {**ways, "by-two-attentions": both}.items():
        package = out / f"package-{kind}"
        command(0, "finetune", store, *few, *way, "--out", package)
        if kind == "of-sources":
            seen = (*split, "--allow-seen", "--record", "--out", out / "evaluation-of-sources")
            command(0, "evaluate", package, store, *seen)
        by = ("--package", package, "--workers", 0)
        by += ("--suspicious", "large") if kind == "by-attention" else ()
        command(1, "predict", given / "slides", "--out", out / f"predictions-{kind}", *by)
