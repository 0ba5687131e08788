"""Features of sources: one Parquet table each, and the layouts that the domain's field reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from histoscope.core import __version__
from histoscope.core.config import Spec, build
from histoscope.core.contracts import CorruptSample, Roots, Sample, Sampling, Source
from histoscope.core.contracts.installed import find_sources, load_domain
from histoscope.core.data.index import sample_keys
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.files import write_table
from histoscope.core.inference.features import encode_batch
from histoscope.core.progress import Progress
from histoscope.core.stages.encoders import open_folder
from histoscope.core.stages.predict import BATCH
from histoscope.core.tensors import digest_tensors
from histoscope.core.work.folder import claim, work_through
from histoscope.core.work.outcome import Outcome, outcome_of

FEATURES = ("histoscope.features", 1)


EMBED = ("histoscope.embed", 1)


@dataclass
class EmbedJob:
    """Features of one source into ``features/<id>`` of a folder."""

    domain: str
    roots: Roots
    sampling: Sampling
    options: Spec
    encoder: Path
    out: Path
    _opened: LoadedEncoder | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the opened encoder behind: a worker opens its own."""
        return {**self.__dict__, "_opened": None}

    def __call__(self, source: Source) -> Outcome:
        """Embed one source."""
        if self._opened is None:
            self._opened = open_folder(self.encoder)
        domain = load_domain(self.domain)
        folder = self.out / "features" / source.id
        with domain.open(source, self.roots, self.sampling, self.options) as reader:
            plan = reader.plan()
            good, features = (
                _embed(reader.read(plan.rows), self._opened)
                if len(plan.rows)
                else (
                    np.zeros(0, dtype=bool),
                    np.zeros((0, self._opened.info.dim), dtype=np.float32),
                )
            )
            corrupt = int((~good).sum())
            outcome = outcome_of(source, len(features), corrupt, plan.reason)
            rows = plan.rows.filter(pa.array(good))
            attributes = {"name": source.id, "encoder": self._opened.info.architecture}
            domain.export_features(reader, rows, features, attributes, folder)
            ids = pa.array(sample_keys(source, plan.rows), pa.string()).filter(pa.array(good))
        table = rows.drop_columns([c for c in ("key",) if c in rows.column_names])
        table = table.add_column(0, "id", ids)
        vectors = pa.FixedSizeListArray.from_arrays(features.ravel(), self._opened.info.dim)
        write_table(
            folder / "features.parquet", *FEATURES, table.append_column("features", vectors)
        )
        return outcome


def _embed(samples: Any, loaded: LoadedEncoder) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which samples could be read, and the features of those; batches are padded."""
    good, out = list[bool](), [np.zeros((0, loaded.info.dim), dtype=np.float32)]
    while batch := list(islice(samples, BATCH)):
        images = [sample.image for sample in batch if isinstance(sample, Sample)]
        good += [not isinstance(sample, CorruptSample) for sample in batch]
        if images:
            padded = np.stack(images + [images[-1]] * (BATCH - len(images)))
            out.append(encode_batch(loaded, torch.from_numpy(padded)).numpy()[: len(images)])
    return np.array(good, dtype=bool), np.concatenate(out)


def embed(
    encoder: Path, roots: Roots, options: Spec, out: Path, *, workers: int, progress: Progress
) -> list[Outcome]:
    """Write features of every source below the roots; goes on after a bad one, skips what is done.

    Args:
        encoder: a run's or a package's folder.
        roots: name to folder or file.
        options: the domain's options of ``embed``.
        out: folder of the features; of this encoder only.
        workers: processes; 0 works in this one.
        progress: who is told.
    """
    opened = open_folder(encoder)
    info = opened.info
    domain = load_domain(info.domain)
    sources = find_sources(domain, roots, options)
    body = {
        "encoder": info.model_dump(mode="json"),
        "weights": digest_tensors(opened.module.state_dict()),
        "options": options.model_dump(mode="json"),
        "program": __version__,
    }
    guarded = {"encoder": "another encoder", "weights": "other weights", "options": "other options"}
    claim(out, EMBED, body, guarded)
    sampling = build(domain.sampling, info.sampling, str(encoder))
    job = EmbedJob(domain.name, roots, sampling, options, encoder, out)
    return work_through(
        out, sources, job, lambda s: out / "features" / s.id / "features.parquet", workers, progress
    )
