"""What reads of a source has ended before it is closed, and gets no more than it needs."""

import pickle
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from histoscope.core.contracts import Plan, Sample, Source
from histoscope.core.errors import UnreadableSource
from histoscope.core.work.job import Turn
from histoscope.core.work.reading import CHUNK, Opening, chunk_of


@dataclass
class Slow:
    """A reader that notes whether it is closed while it reads, as OpenSlide cannot bear."""

    reads: bool = False
    begun: threading.Event = field(default_factory=threading.Event)
    given: int = 0
    closed_while_it_reads: bool | None = None
    divisible: bool = False
    facts: dict = field(default_factory=dict)

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        self.closed_while_it_reads = self.reads

    def plan(self):
        return Plan(pa.table({"key": [str(row) for row in range(50)]}))

    def read(self, rows):
        for _ in range(len(rows)):
            self.reads = True
            self.begun.set()
            time.sleep(0.1)
            self.reads = False
            self.given += 1
            yield Sample(np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize("kind", [SystemExit, UnreadableSource, ValueError])
def test_nothing_reads_when_a_source_is_closed_by_an_exception(monkeypatch, kind):
    reader = Slow()
    monkeypatch.setattr(Opening, "open", lambda self, source: reader)
    opening, source = Opening("toy", {}, None), Source("a", "a", "a")

    def work():
        with opening.read(source, Turn()) as reading:
            samples = reading.samples()  # alive in the traceback, so nothing else ends it
            next(samples)
            reader.begun.clear()
            assert reader.begun.wait(600)
            raise kind("stop")

    with pytest.raises(kind):
        work()
    assert reader.closed_while_it_reads is False
    assert reader.given < 50


def test_a_reading_process_is_sent_its_own_rows_and_no_others():
    rows = pa.table({"key": [str(row) for row in range(10_000)], "x": range(10_000)})
    assert chunk_of(rows, 32).equals(rows.slice(32, CHUNK))
    assert chunk_of(rows, 9_999).equals(rows.slice(9_999))
    assert len(pickle.dumps(chunk_of(rows, 32))) < 2000
