"""Truth and examples made from numbers."""

import numpy as np

from histoscope.core.config import build
from histoscope.core.contracts import Task
from histoscope.core.data.examples import Examples
from histoscope.core.data.planes import write_planes
from histoscope.core.data.store import Store
from histoscope.core.data.truth import Truth
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local


def truth(values, classes=None, level="sample"):
    """Class ids, or one column a class, as the truth of a task with so many classes."""
    values = np.asarray(values, np.int64)
    count = classes or (values.shape[1] if values.ndim == 2 else int(values.max()) + 1)
    return Truth(Task("made", tuple("abcdefgh"[:count]), values.ndim == 1, level), values)


def examples(values, units, classes=None, sources=None):
    """Samples with this truth; each unit is a source, unless others are given."""
    told, count = truth(values, classes), len(values)
    names = [str(place) for place in range(count)]
    rows = np.arange(count)
    places = np.arange(count + 1)
    return Examples(told, names, rows, places, list(units), names, sources or list(units), "made")


def write_masks(store, provider="left@1"):
    """Masks of every readable sample: its left half, from a column that its row says."""
    index = store.index.to_pylist()
    for source in dict.fromkeys(row["source"] for row in index):
        rows = [row["row"] for row in index if row["source"] == source and row["shard"]]
        side = store.sampling.size_px
        masks = [np.tile(np.arange(side) < side // 2 + row % 3, (side, 1)) for row in rows]
        write_planes(store, f"mask:{provider}", source, [255 * m.astype(np.uint8) for m in masks])


def write_model(store, out, encoder="colour", tasks=(), **more):
    """A package of a store's only task, or of those named, by probes of all labels."""
    spec = build(FinetuneSpec, {"fraction": 1.0, "draws": 1, **more}, "test")
    return finetune(store, encoder, spec, out, tasks=tasks, progress=Silent())


def prepared_by_case(toy, folder, out):
    """A store of a folder's stacks, each a case of the name that its file begins with."""
    prepare(
        toy.DOMAIN,
        {"input": folder},
        toy.ToySampling(),
        toy.ToyOptions(with_cases=True),
        out,
        encoding="lossless",
        engine=Local(0),
        progress=Silent(),
    )
    return Store(out)
