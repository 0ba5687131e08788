"""Run one job over many sources in reused worker processes.

A source that raises, or takes its whole process down, becomes an outcome with a reason; the
rest goes on. Workers start by spawn, so nothing assumes fork.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Literal, Protocol

from histoscope.core.allocator import give_back_freed_memory
from histoscope.core.batch.stop import StopFlag, deaf_children
from histoscope.core.contracts import Source
from histoscope.core.errors import HistoscopeError, UnreadableSource
from histoscope.core.progress import Progress

log = logging.getLogger(__name__)

GRACE_S = 10.0  # for a worker to clean up after itself

Status = Literal["done", "empty", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of one source.

    Attributes:
        source: which one.
        status: ``done``; ``empty``: readable, but no sample came of it; ``failed``.
        samples: images read.
        corrupt: samples that could not be read.
        reason: why failed or empty, or what was left out; one line.
    """

    source: Source
    status: Status
    samples: int = 0
    corrupt: int = 0
    reason: str = ""


def still_good(
    sources: Sequence[Source], before: Mapping[str, Outcome], progress: Progress
) -> dict[str, Outcome]:
    """Outcomes of earlier calls that stand, by source; a source that was told otherwise has none.

    Args:
        sources: of this call.
        before: by source's id what is done or empty.
        progress: told how many.
    """
    good = {
        source.id: replace(before[source.id], source=source)
        for source in sources
        if source.id in before and source.as_before(before[source.id].source)
    }
    if good:
        progress.say(f"{len(good)} of {len(sources)} sources are done already")
    if len(good) < len(before):
        progress.say(
            f"{len(before) - len(good)} are done again: what was given about them has changed "
            "(labels, drawings, cases or scale)"
        )
    return good


def status_of(samples: int, corrupt: int) -> Status:
    """Status of a source that opened: nothing to read is a result, nothing readable is not."""
    return "done" if samples else "failed" if corrupt else "empty"


def outcome_of(source: Source, samples: int, corrupt: int, reason: str) -> Outcome:
    """The outcome of a source that opened; unreadable samples are added to the reason."""
    if corrupt:
        reason = "; ".join(filter(None, [reason, f"{corrupt} samples unreadable"]))
    return Outcome(source, status_of(samples, corrupt), samples, corrupt, reason)


class Job(Protocol):
    """Work on one source. Picklable; whatever is costly is made on the first call."""

    def __call__(self, source: Source) -> Outcome:
        """Do the work; raise UnreadableSource with the reason where the source is at fault."""


def run_job(job: Job, source: Source) -> Outcome:
    """Run a job on one source in this process, turning a failure into an outcome."""
    try:
        return job(source)
    except UnreadableSource as fault:
        return Outcome(source, "failed", reason=fault.reason)
    except HistoscopeError:
        raise  # wrong use or our own fault: not this source's
    except Exception as fault:  # a decoder may raise anything; the row names it
        log.warning("source %s failed:\n%s", source.id, traceback.format_exc())
        text = " ".join(str(fault).split())
        return Outcome(source, "failed", reason=f"{type(fault).__name__}: {text}"[:300])
    finally:
        give_back_freed_memory()


def run_all(job: Job, sources: Sequence[Source], workers: int, stop: StopFlag) -> Iterator[Outcome]:
    """Outcomes in the order in which they are ready.

    Args:
        job: what to do.
        sources: on which.
        workers: processes; 0 runs in this one (nothing protects it from a crash then).
        stop: read between sources.

    Raises:
        Interrupted: the flag was set; what is finished stays.
    """
    if workers == 0 or not sources:
        for done, source in enumerate(sources):
            stop.check(f"{done} of {len(sources)} sources are finished")
            yield run_job(job, source)
        return
    pool = [_Worker(job) for _ in range(min(workers, len(sources)))]
    try:
        yield from _serve(pool, list(sources), stop)
    finally:
        for worker in pool:
            worker.close()


def _serve(pool: list[_Worker], sources: list[Source], stop: StopFlag) -> Iterator[Outcome]:
    waiting, total, done = list(reversed(sources)), len(sources), 0
    while done < total:
        said = f"{done} of {total} sources are finished"
        stop.check(said)
        for worker in pool:
            if worker.source is None and waiting:
                worker.give(waiting.pop())
        busy = [worker for worker in pool if worker.source is not None]
        for ready in wait([worker.pipe for worker in busy], timeout=0.5):
            worker = next(worker for worker in busy if worker.pipe is ready)
            outcome = worker.take()
            if outcome is None:
                stop.check(said)  # the signal went to all processes: no fault of the source
                outcome = worker.bury()
            done += 1
            yield outcome


class _Worker:
    """A process and the pipe to it; started again after a crash."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.source: Source | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(self._job, theirs), daemon=True)
        with deaf_children(signal.SIGINT):
            self._process.start()
        theirs.close()

    def give(self, source: Source) -> None:
        self.source = source
        try:
            self.pipe.send(source)
        except OSError:  # died while idle
            self._start()
            self.pipe.send(source)

    def take(self) -> Outcome | None:
        """The outcome that is ready; None when the process is gone."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            return None
        self.source = None
        if isinstance(answer, BaseException):
            raise answer
        outcome: Outcome = answer
        return outcome

    def bury(self) -> Outcome:
        """The outcome of the source that took the process down; a new process is started."""
        source, self.source = self.source, None
        assert source is not None
        self._process.join()
        reason = f"its reader crashed the process ({_why(self._process.exitcode)})"
        self._start()
        return Outcome(source, "failed", reason=reason)

    def close(self) -> None:
        self._process.terminate()
        self._process.join(GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()


def _why(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
    return f"{name}, out of memory?" if name == "SIGKILL" else name


def _leave(number: int, place: object) -> None:
    sys.exit(128 + number)  # an exception: half-written files are removed on the way out


def _work(job: Job, pipe: Connection) -> None:
    signal.signal(signal.SIGTERM, _leave)
    while True:
        try:
            source = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(run_job(job, source))
        except HistoscopeError as fault:
            pipe.send(fault)
