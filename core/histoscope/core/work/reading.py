"""Reading a source: in this process, or several processes that share one source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import (
    CorruptSample,
    Plan,
    Reader,
    Roots,
    Sample,
    Sampling,
    Source,
)
from histoscope.core.contracts.installed import load_domain
from histoscope.core.errors import HistoscopeError, UnreadableSource
from histoscope.core.runtime.ahead import read_ahead
from histoscope.core.runtime.stop import start_process
from histoscope.core.work.job import Turn, as_reason
from histoscope.core.work.outcome import Outcome, Status

CHUNK = 16  # rows that a process reads at a time
AHEAD = 2  # chunks that each has before it
WORTH = 512  # rows, below which starting a process costs more than it saves
DEPTH = 64
NOTHING: Mapping[str, float] = {}  # one for all samples of which nothing was measured


@dataclass(frozen=True)
class Opening:
    """How sources are opened; goes to the processes that open them.

    Attributes:
        domain: of the sources.
        roots: where they lie.
        sampling: how they are cut.
        staged: folder of copies, see :mod:`histoscope.core.work.staging`.
    """

    domain: str
    roots: Roots
    sampling: Sampling
    staged: Path | None = None

    def open(self, source: Source) -> Reader:
        """Open a source. Raises UnreadableSource with a true reason."""
        if source.refused:
            raise UnreadableSource(source.refused)
        return load_domain(self.domain).open(source, self._roots(source), self.sampling)

    def _roots(self, source: Source) -> Roots:
        """Where it is opened: its copy where that is whole."""
        place = self.staged / source.id if self.staged else None
        return {**self.roots, source.root: place} if place and place.is_dir() else self.roots

    @contextmanager
    def read(self, source: Source, turn: Turn) -> Iterator[Reading]:
        """Open a source and plan it, for this turn; errors as :meth:`open`."""
        with self.open(source) as reader, ExitStack() as begun:
            plan = reader.plan()
            turn.beat()
            yield Reading(self, source, reader, plan, turn, begun)


@dataclass(frozen=True)
class Reading:
    """A source that is read, and what reading said of each row.

    Attributes:
        opening: for further processes.
        source: what is read.
        reader: of it, open.
        plan: what it holds.
        turn: how many processes may read, and who hears the beat.
        begun: ends what still reads, before the reader is closed under it.
        status: ``ok`` or the reason of a corrupt sample.
        quality: what was measured.
        marks: of each row, once it was judged.
    """

    opening: Opening
    source: Source
    reader: Reader
    plan: Plan
    turn: Turn
    begun: ExitStack
    status: list[str] = field(default_factory=list)
    quality: list[Mapping[str, float]] = field(default_factory=list)
    marks: list[str | None] = field(default_factory=list)

    def samples(self) -> Iterator[Sample | CorruptSample]:
        """Samples in row order, read ahead; each is a beat, and is counted.

        Raises:
            UnreadableSource: whatever its reader raises, so that it is told from what goes wrong
                with the samples later.
        """
        rows, readers = self.plan.rows, self.turn.readers
        if not len(rows):
            return
        if readers > 1 and self.reader.divisible and len(rows) >= WORTH:
            samples = _read_by_several(self.opening, self.source, rows, readers)
        else:
            samples = read_ahead(self.reader.read(rows), DEPTH)
        try:
            for sample in self.begun.enter_context(closing(samples)):
                self.turn.beat()
                self.status.append("ok" if isinstance(sample, Sample) else sample.reason)
                measured = sample.quality if isinstance(sample, Sample) else None
                self.quality.append(measured or NOTHING)
                yield sample
        except HistoscopeError:
            raise
        except Exception as fault:
            raise as_reason(self.source, fault) from fault

    def good(self) -> NDArray[np.bool_]:
        """Which rows could be read, (rows,)."""
        return np.array([one == "ok" for one in self.status], np.bool_)

    def judged(self) -> pa.Table:
        """The plan's rows with one column a quality, ``status`` and ``mark``."""
        rows = self.plan.rows
        for name in sorted({key for measured in self.quality for key in measured}):
            values = [measured.get(name) for measured in self.quality]
            rows = rows.append_column(name, pa.array(values, pa.float64()))
        rows = rows.append_column("status", pa.array(self.status, pa.string()))
        self.marks[:] = self.reader.marks(rows) if len(rows) else []
        return rows.append_column("mark", pa.array(self.marks, pa.string()))

    def outcome(self, more: Mapping[str, Any]) -> Outcome:
        """What became of it: nothing to read is a result, nothing readable is not.

        Unreadable samples are added to the reason, and a mark that all others carry.
        """
        samples = self.status.count("ok")
        corrupt = len(self.status) - samples
        reason = "; ".join(filter(None, [self.plan.reason, self._unreadable(), self._doubt()]))
        status: Status = "done" if samples else "failed" if corrupt else "empty"
        facts = dict(self.reader.facts)
        return Outcome(self.source, status, samples, corrupt, reason, facts, more)

    def _unreadable(self) -> str:
        """How many samples are corrupt, and the most frequent reason; empty where none is."""
        counts = Counter(one for one in self.status if one != "ok").most_common()
        if not counts:
            return ""
        also = f" and {len(counts) - 1} other reasons" * (len(counts) > 1)
        why = counts[0][0].removeprefix("unreadable (").removesuffix(")")
        return f"{sum(n for _, n in counts)} samples unreadable ({why}{also})"

    def _doubt(self) -> str:
        """A mark that no readable sample is without, empty where there is none."""
        found = {mark for mark, one in zip(self.marks, self.status, strict=False) if one == "ok"}
        if len(found) != 1 or None in found:
            return ""
        (mark,) = found
        return f"all samples are marked {mark}, which is doubtful: marked=true reads them"


def _read_by_several(
    opening: Opening, source: Source, rows: pa.Table, count: int
) -> Generator[Sample | CorruptSample, None, None]:
    """Chunks go round the processes; answers are taken in the same round."""
    processes, pipes = list[SpawnProcess](), list[Connection]()
    try:
        for _ in range(count):
            process, ours = start_process(_read_chunks, opening, source)
            processes.append(process)
            pipes.append(ours)
        starts = range(0, len(rows), CHUNK)
        for place, start in enumerate(starts[: AHEAD * count]):
            pipes[place % count].send(chunk_of(rows, start))
        for place in range(len(starts)):
            pipe, following = pipes[place % count], place + AHEAD * count
            try:
                answer = pipe.recv()
                if following < len(starts):
                    pipe.send(chunk_of(rows, starts[following]))
            except (EOFError, OSError):
                raise UnreadableSource("its reader crashed a reading process") from None
            if isinstance(answer, BaseException):
                raise answer
            yield from answer
    finally:
        for process, pipe in zip(processes, pipes, strict=True):
            pipe.close()
            process.terminate()
            process.join()


def chunk_of(rows: pa.Table, start: int) -> pa.Table:
    """Rows from a place on, alone: a pickled slice would carry the whole table with it."""
    return rows.take(pa.array(range(start, min(start + CHUNK, len(rows)))))


def _read_chunks(pipe: Connection, opening: Opening, source: Source) -> None:
    """The life of a reading process: chunks of rows come, lists of samples or a fault go."""
    try:
        with opening.open(source) as reader:
            while True:
                pipe.send(list(reader.read(pipe.recv())))
    except (EOFError, BrokenPipeError):
        return
    except Exception as fault:  # raised where the source is at work
        pipe.send(fault)
