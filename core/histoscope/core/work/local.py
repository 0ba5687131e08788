"""Run one job over many sources in reused worker processes.

A source that raises, or takes its whole process down, becomes an outcome with a reason; the
rest goes on. Workers start by spawn, so nothing assumes fork.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait

from histoscope.core.contracts import Source
from histoscope.core.errors import HistoscopeError
from histoscope.core.runtime.stop import StopFlag, deaf_children
from histoscope.core.work.job import Job, run_job
from histoscope.core.work.outcome import Outcome

GRACE_S = 10.0  # for a worker to clean up after itself


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
