"""Features of sources: one Parquet table each, and the files that the domain's field reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from histoscope.core import __version__
from histoscope.core.config import Spec
from histoscope.core.contracts import Export, Features, NamedExport, Roots, Source
from histoscope.core.contracts.installed import find_sources, load_domain
from histoscope.core.data.units import behind_ids, sample_keys
from histoscope.core.files import remove_left, write_table
from histoscope.core.inference.runner import Runner
from histoscope.core.progress import Progress
from histoscope.core.runtime.device import AUTO, Compute
from histoscope.core.stages.encoders import open_folder
from histoscope.core.tensors import digest_tensors
from histoscope.core.work.folder import OutFolder, read_outcomes, work_through
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.local import ONE_WORKER
from histoscope.core.work.names import with_names
from histoscope.core.work.outcome import Outcome, write_manifest
from histoscope.core.work.reading import Opening
from histoscope.core.work.said import say_found, write_unused

FEATURES = ("histoscope.features", 1)
EMBED = ("histoscope.embed", 2)
PARTS = "features"


@dataclass
class EmbedJob:
    """Features of one source into ``features/<id>`` of a folder, and where its field looks."""

    opening: Opening
    encoder: Path
    compute: Compute
    out: OutFolder
    export: Export
    _runner: Runner = field(init=False, repr=False)
    _weights: str = field(init=False, repr=False)

    def load(self) -> None:
        """Open the encoder."""
        opened = open_folder(self.encoder)
        self._weights = digest_tensors(opened.module.state_dict())
        self._runner = Runner.of(opened, self.compute.start())

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Embed one source."""
        runner, folder = self._runner, self.out.of(source)
        with self.opening.read(source, turn) as reading:
            parts = [batch.features for batch in runner.run(reading.samples())]
            features = np.concatenate([np.zeros((0, runner.dim), np.float32), *parts])
            good, planned = pa.array(reading.good()), reading.plan.rows
            rows = planned.filter(good)
            place = self.out.path if isinstance(self.export, NamedExport) else folder
            given = Features(source, rows, features, self._weights)
            self.export.write(reading.reader, given, place)
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
    parameters = {
        "encoder": info.model_dump(mode="json"),
        "weights": digest_tensors(opened.module.state_dict()),
        "options": options.named(),
        "precision": compute.precision,
    }
    folder = OutFolder(out, EMBED, parts=PARTS)
    usual = {"options": type(options)().named()}
    folder.check(parameters, usual)
    export, sources = domain.export(options, info.architecture, sampling), found.sources
    named = export if isinstance(export, NamedExport) else None
    if named:
        sources = with_names(sources, named, _with_files(out), roots)
    folder.claim(parameters, {"program": __version__}, usual)
    remove_left(out)
    say_found(found, progress)
    if named:
        progress.say(named.said)
    compute.say(progress)
    job = EmbedJob(Opening(domain.name, roots, sampling), encoder, compute, folder, export)
    outcomes = work_through("embed", sources, job, engine, progress)
    write_unused(out, found.unused)
    every = read_outcomes(out / PARTS)
    if named:
        named.close(every, out)
    write_manifest(out, every)
    return outcomes


def _with_files(out: Path) -> list[Source]:
    """Sources that an earlier call has done."""
    before = read_outcomes(out / PARTS) if any((out / PARTS).glob("*")) else []
    return [one.source for one in before if one.status == "done"]
