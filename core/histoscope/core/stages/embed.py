"""Features of sources: one Parquet table each, and the layouts that the domain's field reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histoscope.core import __version__
from histoscope.core.config import Spec
from histoscope.core.contracts import Roots, Source
from histoscope.core.contracts.installed import find_sources, load_domain
from histoscope.core.data.units import sample_keys
from histoscope.core.files import write_table
from histoscope.core.inference.runner import Runner
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.encoders import open_folder
from histoscope.core.tensors import digest_tensors
from histoscope.core.work.folder import OutFolder, read_outcomes, work_through
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.local import ONE_WORKER
from histoscope.core.work.outcome import Outcome, outcome_of, write_manifest
from histoscope.core.work.reading import Opening, Tally, read_samples

FEATURES = ("histoscope.features", 1)
EMBED = ("histoscope.embed", 2)
PARTS = "features"


@dataclass
class EmbedJob:
    """Features of one source into ``features/<id>`` of a folder."""

    opening: Opening
    encoder: Path
    compute: Compute
    out: Path
    architecture: str
    _runner: Runner | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the opened encoder behind: a worker opens its own."""
        return {**self.__dict__, "_runner": None}

    def load(self) -> None:
        """Open the encoder."""
        self._runner = Runner.of(open_folder(self.encoder), self.compute.start())

    def folder(self, source: Source) -> Path:
        """Where its features lie."""
        return self.out / PARTS / source.id

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Embed one source."""
        assert self._runner is not None
        runner, folder = self._runner, self.folder(source)
        domain = load_domain(self.opening.domain)
        with self.opening.open(source) as reader:
            plan, tally = reader.plan(), Tally()
            turn.beat()
            samples = read_samples(self.opening, source, reader, plan.rows, turn, tally)
            parts = [batch.features for batch in runner.run(samples)]
            features = np.concatenate([np.zeros((0, runner.dim), np.float32), *parts])
            good = pa.array([status == "ok" for status in tally.status], pa.bool_())
            rows = plan.rows.filter(good)
            attributes = {"name": source.id, "encoder": self.architecture}
            domain.export_features(reader, rows, features, attributes, folder)
            ids = pa.array(sample_keys(source, plan.rows), pa.string()).filter(good)
            facts = dict(reader.facts)
        table = rows.drop_columns([c for c in ("key",) if c in rows.column_names])
        table = table.add_column(0, "id", ids)
        vectors = pa.FixedSizeListArray.from_arrays(features.ravel(), runner.dim)
        table = table.append_column("features", vectors)
        write_table(folder / "features.parquet", *FEATURES, table)
        more = {"device": runner.device.type, "precision": runner.precision}
        return outcome_of(source, tally.read, tally.corrupt, plan.reason, facts, more)


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
    sources = find_sources(domain, roots, options)
    parameters = {
        "encoder": info.model_dump(mode="json"),
        "weights": digest_tensors(opened.module.state_dict()),
        "options": options.model_dump(mode="json"),
        "precision": compute.precision,
    }
    folder = OutFolder(out, EMBED, parts=PARTS)
    folder.claim(parameters, {"program": __version__})
    compute.say(progress)
    job = EmbedJob(Opening(domain.name, roots, sampling), encoder, compute, out, info.architecture)
    outcomes = work_through("embed", folder, sources, job, engine, progress)
    write_manifest(out, read_outcomes(out / PARTS))
    return outcomes
