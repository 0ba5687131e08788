"""The engine of one machine: reused worker processes.

A source that raises, takes its whole process down, or hangs becomes an outcome with a reason; the
rest goes on. Workers start by spawn, so nothing assumes fork.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from histoscope.core.contracts import Source
from histoscope.core.errors import HistoscopeError
from histoscope.core.runtime.stop import StopFlag, start_process
from histoscope.core.work.job import Job, Turn, run_job
from histoscope.core.work.outcome import Outcome

GRACE_S = 10.0  # for a worker to clean up after itself
DEADLINE_S = 300.0
BEATS_A_DEADLINE = 20  # at most: a beat a sample would fill the pipe


@dataclass(frozen=True)
class Local:
    """Runs jobs on this machine.

    Attributes:
        workers: processes; 0 runs in this one (nothing protects it from a crash or a hang then).
        deadline_s: how long a source may take from one sample to the next.
    """

    workers: int = 1
    deadline_s: float = DEADLINE_S

    def run(self, job: Job, sources: Sequence[Source], stop: StopFlag) -> Iterator[Outcome]:
        """See :class:`histoscope.core.work.job.Engine`."""
        if self.workers == 0 or not sources:
            if sources:
                job.load()
            for done, source in enumerate(sources):
                stop.check(f"{done} of {len(sources)} sources are finished")
                yield run_job(job, source, Turn())
            return
        pool = [_Worker(job, self.deadline_s) for _ in range(min(self.workers, len(sources)))]
        try:
            yield from self._serve(pool, list(sources), stop)
        finally:
            for worker in pool:
                worker.leave()
            for worker in pool:
                worker.close()

    def _serve(
        self, pool: list[_Worker], sources: list[Source], stop: StopFlag
    ) -> Iterator[Outcome]:
        waiting, total, done = list(reversed(sources)), len(sources), 0
        while done < total:
            said = f"{done} of {total} sources are finished"
            stop.check(said)
            for worker in pool:
                if worker.source is None and waiting:
                    others = min(len(pool), 1 + len(waiting))  # that have, or will get, a source
                    worker.give(waiting.pop(), max(1, self.workers // others))
            busy = [worker for worker in pool if worker.source is not None]
            wait([worker.pipe for worker in busy], timeout=min(0.5, self.deadline_s / 4))
            for worker in busy:
                outcome = worker.outcome(stop, said)
                if outcome is not None:
                    done += 1
                    yield outcome


ONE_WORKER = Local()


class _Worker:
    """A process and the pipe to it; where it has ended, the next source starts another."""

    def __init__(self, job: Job, deadline_s: float) -> None:
        self._job, self._deadline_s = job, deadline_s
        self.source: Source | None = None
        self._start()

    def _start(self) -> None:
        pause_s = self._deadline_s / BEATS_A_DEADLINE
        self._process, self.pipe = start_process(_work, self._job, pause_s)
        self._ready = False  # it has not loaded yet what it needs, which counts for no source

    def give(self, source: Source, readers: int) -> None:
        """Hand over a source."""
        self.source, self._heard = source, time.monotonic()
        try:
            self.pipe.send((source, readers))
        except OSError:  # it died while idle, or with its last source
            self.pipe.close()
            self._start()
            self.pipe.send((source, readers))

    def outcome(self, stop: StopFlag, said: str) -> Outcome | None:
        """The outcome of its source, None while it is at work.

        Args:
            stop: checked where the process is gone: a signal may have reached all processes, and
                then it is no fault of the source.
            said: what is safe then.
        """
        try:
            while self.pipe.poll():
                answer = self.pipe.recv()
                self._heard, self._ready = time.monotonic(), True
                if isinstance(answer, BaseException):
                    raise answer
                if isinstance(answer, Outcome):
                    self.source = None
                    return answer
        except (EOFError, OSError):
            stop.check(said)
            self._process.join()
            return self._fail(f"its reader crashed the process ({_why(self._process.exitcode)})")
        if self._ready and time.monotonic() - self._heard > self._deadline_s:
            self._kill()
            return self._fail(f"its reader hung: no sample for {self._deadline_s:g} s (--deadline)")
        return None

    def _fail(self, reason: str) -> Outcome:
        """A failed outcome; the process has ended, and the next source starts another."""
        source, self.source = self.source, None
        assert source is not None
        return Outcome(source, "failed", reason=reason)

    def leave(self) -> None:
        """Ask the process to end."""
        if self.source is None:
            self.pipe.close()
        else:
            self._process.terminate()

    def close(self) -> None:
        """See that it has ended."""
        self._process.join(GRACE_S)
        self._kill()
        self.pipe.close()

    def _kill(self) -> None:
        """End it and what it has started, however they hang."""
        pid = self._process.pid
        if pid is not None and hasattr(os, "killpg"):
            try:
                os.killpg(pid, signal.SIGKILL)  # it leads a group of its own
            except (ProcessLookupError, PermissionError):
                self._process.kill()
        else:
            self._process.kill()
        self._process.join()


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


def _work(pipe: Connection, job: Job, pause_s: float) -> None:
    """The life of a worker.

    Args:
        pipe: sources come, beats (None), outcomes and faults go.
        job: what it does.
        pause_s: least time between two beats.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _leave)
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last >= pause_s:
            last = time.monotonic()
            try:
                pipe.send(None)
            except BrokenPipeError:
                sys.exit(0)  # nobody is there any more

    try:
        job.load()
        pipe.send(None)
        while True:
            source, readers = pipe.recv()
            pipe.send(run_job(job, source, Turn(beat, readers)))
    except (EOFError, BrokenPipeError):
        return  # nobody is there any more
    except HistoscopeError as fault:
        pipe.send(fault)
