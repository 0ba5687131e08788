"""Features of sources: one Parquet table each, and the layouts that the domain's field reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from histoscope.core import __version__
from histoscope.core.config import Spec
from histoscope.core.contracts import Roots, Source
from histoscope.core.contracts.installed import find_sources, load_domain
from histoscope.core.data.units import behind_ids, sample_keys
from histoscope.core.files import write_table
from histoscope.core.inference.runner import Runner
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.encoders import open_folder
from histoscope.core.tensors import digest_tensors
from histoscope.core.work.folder import OutFolder, read_outcomes, work_through
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.local import ONE_WORKER
from histoscope.core.work.outcome import Outcome, write_manifest
from histoscope.core.work.reading import Opening
from histoscope.core.work.said import say_found, write_unused

FEATURES = ("histoscope.features", 1)
EMBED = ("histoscope.embed", 2)
PARTS = "features"


@dataclass
class EmbedJob:
    """Features of one source into ``features/<id>`` of a folder."""

    opening: Opening
    encoder: Path
    compute: Compute
    out: OutFolder
    architecture: str
    _runner: Runner = field(init=False, repr=False)

    def load(self) -> None:
        """Open the encoder."""
        self._runner = Runner.of(open_folder(self.encoder), self.compute.start())

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Embed one source."""
        runner, folder = self._runner, self.out.of(source)
        domain = load_domain(self.opening.domain)
        with self.opening.read(source, turn) as reading:
            parts = [batch.features for batch in runner.run(reading.samples())]
            features = np.concatenate([np.zeros((0, runner.dim), np.float32), *parts])
            good, planned = pa.array(reading.good()), reading.plan.rows
            rows = planned.filter(good)
            attributes = {"name": source.id, "encoder": self.architecture}
            domain.export_features(reading.reader, rows, features, attributes, folder)
            ids = pa.array(sample_keys(source, planned), pa.string()).filter(good)
            table = behind_ids(rows, ids)
            vectors = pa.FixedSizeListArray.from_arrays(features.ravel(), runner.dim)
            table = table.append_column("features", vectors)
            write_table(folder / "features.parquet", *FEATURES, table)
            return reading.outcome(runner.where)


def embed(
    encoder: Path,
    roots: Roots,
    options: Spec,
    out: Path,
    *,
    engine: Engine = ONE_WORKER,
    compute: Compute = AUTO,
    progress: Progress,
) -> list[Outcome]:
    """Write features of every source below the roots; goes on after a bad one, skips what is done.

    Args:
        encoder: a run's or a package's folder.
        roots: name to folder or file.
        options: the domain's options of ``embed``.
        out: folder of the features; of this encoder only.
        engine: who does the work.
        compute: where the network runs.
        progress: who is told.
    """
    opened = open_folder(encoder)
    info = opened.info
    sampling = info.cut(str(encoder))
    domain = load_domain(info.domain)
    found = find_sources(domain, roots, options)
    say_found(found, progress)
    parameters = {
        "encoder": info.model_dump(mode="json"),
        "weights": digest_tensors(opened.module.state_dict()),
        "options": options.named(),
        "precision": compute.precision,
    }
    folder = OutFolder(out, EMBED, parts=PARTS)
    folder.claim(parameters, {"program": __version__})
    compute.say(progress)
    job = EmbedJob(
        Opening(domain.name, roots, sampling), encoder, compute, folder, info.architecture
    )
    outcomes = work_through("embed", found.sources, job, engine, progress)
    write_unused(out, found.unused)
    write_manifest(out, read_outcomes(out / PARTS))
    return outcomes
