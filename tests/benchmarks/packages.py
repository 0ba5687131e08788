"""Packages whose answers mean nothing, for benchmarks in which only their work counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from histoscope.core.contracts import Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.store import Store
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling
from histoscope.domains.pathology.phantom.sections import make_section
from histoscope.domains.surgery import DOMAIN as SURGERY
from histoscope.domains.surgery.options import FrameSampling
from histoscope.domains.surgery.options import PrepareOptions as VideoOptions

KINDS = ("first", "second", "third")


def make_package(folder: Path, encoder: str, sampling: TileSampling) -> Path:
    """A package of an encoder, ``colour`` or ``random:NAME``, for tiles cut as ``sampling``."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "section.png"
    Image.fromarray(make_section(0, 0, 2048).pixels).save(picture)
    options = PrepareOptions(default_mpp=sampling.tile_mpp)
    return _made_of(folder, encoder, (DOMAIN, {"input": picture}, sampling, options), "kind")


def make_operation_package(
    folder: Path, encoder: str, video: Path, sampling: FrameSampling
) -> Path:
    """The same for operations, sampled as ``sampling``, of a short video."""
    folder.mkdir(parents=True, exist_ok=True)
    options = VideoOptions()
    return _made_of(folder, encoder, (SURGERY, {"input": video}, sampling, options), "phase")


def _made_of(folder: Path, encoder: str, told: tuple[Any, ...], task: str) -> Path:
    """Learn labels that go by turns, of a store that is made of what ``prepare`` is told."""
    prepare(*told, folder / "store", engine=Local(0), progress=Silent())
    store = Store(folder / "store")
    ids = store.index.column("id").combine_chunks()
    kinds = pa.array([KINDS[place % len(KINDS)] for place in range(len(ids))])
    LabelTable.make(Task(task, KINDS), ids, [kinds], "made").write(folder / "labels.parquet")
    spec = ProbeSpec(fraction=0.5, draws=1)
    labels, out = folder / "labels.parquet", folder / "package"
    finetune(store, encoder, spec, out, labels=labels, progress=Silent())
    return out
