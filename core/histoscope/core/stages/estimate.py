"""How long a prediction will take, and how much it will write: told from a few sources.

Each of these is predicted into a folder that is thrown away, with few of its samples and with more:
what is added between the two is the price of a sample, the rest that of a source.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.core.config import Spec
from histoscope.core.contracts import Roots, Source
from histoscope.core.inference.runner import BATCH
from histoscope.core.packages.package import Package
from histoscope.core.runtime.device import Compute
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.stages.predict import PREDICT, RESULTS, PredictJob
from histoscope.core.stages.suspects import Suspicion
from histoscope.core.work.folder import OutFolder
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.local import ONE_WORKER
from histoscope.core.work.outcome import Outcome
from histoscope.core.work.reading import Opening, Reading

SOURCES = 10  # that are looked at
FEW, MORE = BATCH, 4 * BATCH  # samples of each: one of more or less costs the network a whole batch


@dataclass(frozen=True)
class Estimate:
    """What a prediction will take.

    Attributes:
        sources, looked_at: how many there are, and how many of those tried gave samples.
        samples: of all, about.
        seconds: of one process on this machine, about.
        bytes_: that it will write, about.
    """

    sources: int
    looked_at: int
    samples: float
    seconds: float
    bytes_: float

    @property
    def said(self) -> str:
        """In words."""
        if not self.looked_at:
            return "how long it takes is not known: no source that was looked at gave a sample"
        return (
            f"about {self.samples:,.0f} samples, {in_hours(self.seconds)} with one worker on this "
            f"machine, {self.bytes_ / 1e9:.2g} GB of results (told from {self.looked_at} of "
            f"{self.sources} sources)"
        )


def in_hours(seconds: float) -> str:
    """``40 s``, ``12 min``, ``7.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Sampled(Opening):
    """Opens sources with the first samples of their plan alone.

    Neighbours, as in a whole run: what lies apart costs more to read, since neighbours share what
    is decoded.
    """

    most: int = MORE

    @contextmanager
    def read(self, source: Source, turn: Turn) -> Iterator[Reading]:
        """As of all samples."""
        with super().read(source, turn) as reading:
            some = reading.plan.rows.slice(0, self.most)
            yield replace(reading, plan=replace(reading.plan, rows=some))


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Up to so many places of ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


@dataclass(frozen=True)
class Tried:
    """A source: its samples, and of few and of more of them how many, seconds, bytes."""

    samples: int
    few: tuple[int, float, int]
    more: tuple[int, float, int]

    def of_all(self, place: int) -> float:
        """Seconds (1) or bytes (2) of all samples, on a line through both."""
        count, value = self.more[0], self.more[place]
        added, samples = value - self.few[place], count - self.few[0]
        each = added / samples if samples > 0 and added > 0 else value / max(1, count)
        return value + each * (self.samples - count)


@dataclass
class TrialJob:
    """Predict a source with few samples, again, and with more; ``more`` of its outcome says how."""

    job: PredictJob
    opening: Sampled

    @property
    def out(self) -> OutFolder:
        """The folder that is thrown away."""
        return self.job.out

    def load(self) -> None:
        """As the job's."""
        self.job.load()

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Try one source."""
        with self.opening.open(source) as reader:
            samples = len(reader.plan().rows)
        turn.beat()
        self._timed(source, turn, FEW)  # what is slow once only
        found = [self._timed(source, turn, most) for most in (FEW, MORE)]
        return Outcome(source, "done", samples, more={"tried": Tried(samples, *found)})

    def _timed(self, source: Source, turn: Turn, most: int) -> tuple[int, float, int]:
        self.job.opening = replace(self.opening, most=most)
        folder = self.out.of(source)
        shutil.rmtree(folder, ignore_errors=True)
        began = time.perf_counter()
        outcome = self.job(source, turn)
        seconds = time.perf_counter() - began
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return outcome.samples + outcome.corrupt, seconds, size


def estimate_prediction(
    package: Package,
    roots: Roots,
    options: Spec,
    sources: Sequence[Source],
    compute: Compute,
    engine: Engine = ONE_WORKER,
    suspicious: Suspicion | None = None,
    uncertain_below: float = 0.0,
) -> Estimate:
    """Try some sources, evenly spread over all.

    Args:
        package: the model.
        roots: where sources lie.
        options: the domain's options of ``predict``.
        sources: all that will be predicted.
        compute: where the network runs.
        engine: who tries; a source that crashes ends no more than its trial.
        suspicious, uncertain_below: see :func:`histoscope.core.stages.predict.predict`.
    """
    places = _spread(len(sources), SOURCES)
    domain, sampling = package.info.encoder.domain, package.info.encoder.cut(str(package.folder))
    with tempfile.TemporaryDirectory(prefix="histoscope-") as scratch, StopFlag() as stop:
        folder = OutFolder(Path(scratch), PREDICT, parts=RESULTS)
        opening = Sampled(domain, roots, sampling)
        parts = package.folder, compute, folder, suspicious, uncertain_below
        job = TrialJob(PredictJob(opening, options, *parts), opening)
        outcomes = list(engine.run(job, [sources[place] for place in places], stop))
    tried = [one.more["tried"] for one in outcomes if one.status == "done"]
    known = [one for one in tried if one.samples]
    scale = len(sources) / max(1, len(places))  # what cannot be read takes no time
    return Estimate(
        len(sources),
        len(known),
        scale * sum(one.samples for one in known),
        scale * sum(one.of_all(1) for one in known),
        scale * sum(one.of_all(2) for one in known),
    )
