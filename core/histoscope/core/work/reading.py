"""Reading a source: in this process, or several processes that share one source."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import pyarrow as pa

from histoscope.core.contracts import CorruptSample, Reader, Roots, Sample, Sampling, Source
from histoscope.core.contracts.installed import load_domain
from histoscope.core.errors import UnreadableSource
from histoscope.core.runtime.ahead import read_ahead
from histoscope.core.runtime.stop import deaf_children
from histoscope.core.work.job import Turn

CHUNK = 16  # rows that a process reads at a time
AHEAD = 2  # chunks that each has before it
WORTH = 512  # rows, below which starting a process costs more than it saves
DEPTH = 64


@dataclass(frozen=True)
class Opening:
    """How sources are opened; goes to the processes that open them."""

    domain: str
    roots: Roots
    sampling: Sampling

    def open(self, source: Source) -> Reader:
        """Open a source. Raises UnreadableSource with a true reason."""
        return load_domain(self.domain).open(source, self.roots, self.sampling)


@dataclass
class Tally:
    """What reading said of each row.

    Attributes:
        status: ``ok`` or the reason of a corrupt sample.
        quality: what was measured.
    """

    status: list[str] = field(default_factory=list)
    quality: list[Mapping[str, float]] = field(default_factory=list)

    @property
    def corrupt(self) -> int:
        """How many could not be read."""
        return sum(one != "ok" for one in self.status)

    @property
    def read(self) -> int:
        """How many could."""
        return len(self.status) - self.corrupt

    def judged(self, rows: pa.Table, reader: Reader) -> pa.Table:
        """Rows with one column a quality, ``status`` and ``mark``."""
        for name in sorted({key for measured in self.quality for key in measured}):
            values = [measured.get(name) for measured in self.quality]
            rows = rows.append_column(name, pa.array(values, pa.float64()))
        rows = rows.append_column("status", pa.array(self.status, pa.string()))
        marks = list(reader.marks(rows)) if len(rows) else []
        return rows.append_column("mark", pa.array(marks, pa.string()))


def read_samples(
    opening: Opening, source: Source, reader: Reader, rows: pa.Table, turn: Turn, tally: Tally
) -> Iterator[Sample | CorruptSample]:
    """Samples in row order, read ahead; each is a beat, and is counted.

    Args:
        opening: for further processes.
        source: what is read.
        reader: of it, open.
        rows: of its plan.
        turn: how many processes may read, and who hears the beat.
        tally: filled.
    """
    samples: Iterator[Sample | CorruptSample] = iter(())
    if turn.readers > 1 and reader.divisible and len(rows) >= WORTH:
        samples = _read_by_several(opening, source, rows, turn.readers)
    elif len(rows):
        samples = read_ahead(reader.read(rows), DEPTH)
    for sample in samples:
        turn.beat()
        tally.status.append("ok" if isinstance(sample, Sample) else sample.reason)
        tally.quality.append(sample.quality if isinstance(sample, Sample) else {})
        yield sample


def _read_by_several(
    opening: Opening, source: Source, rows: pa.Table, count: int
) -> Iterator[Sample | CorruptSample]:
    """Chunks go round the processes; answers are taken in the same round."""
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], list[Connection]()
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_read_chunks, args=(opening, source, theirs))
            with deaf_children(signal.SIGINT):
                process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        starts = range(0, len(rows), CHUNK)
        for place, start in enumerate(starts[: AHEAD * count]):
            pipes[place % count].send(rows.slice(start, CHUNK))
        for place in range(len(starts)):
            pipe, following = pipes[place % count], place + AHEAD * count
            try:
                answer = pipe.recv()
                if following < len(starts):
                    pipe.send(rows.slice(starts[following], CHUNK))
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


def _read_chunks(opening: Opening, source: Source, pipe: Connection) -> None:
    """The life of a reading process: chunks of rows come, lists of samples or a fault go."""
    try:
        with opening.open(source) as reader:
            while True:
                pipe.send(list(reader.read(pipe.recv())))
    except (EOFError, BrokenPipeError):
        return
    except Exception as fault:  # raised where the source is at work
        pipe.send(fault)
