"""Sources copied to a local folder ahead of reading, where they lie on storage that is slow.

A thread copies those that come next, up to so many bytes at a time; what is finished is removed. A
source that is not there in time, is too large or cannot be copied is read where it lies.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from histoscope.core.contracts import Movable, Roots, Source
from histoscope.core.contracts.installed import load_domain
from histoscope.core.errors import FULL, writing
from histoscope.core.progress import Progress
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.work.job import Engine, Job
from histoscope.core.work.outcome import Outcome
from histoscope.core.work.reading import Opening

CHUNK_BYTES, RESERVE_BYTES = 8 << 20, 2 << 30
FULL_SOON = "not all could be (less than 2 GiB would be left on that disk)"


@dataclass(frozen=True)
class Staging:
    """An engine whose sources are copied ahead of it. See :class:`Engine`.

    Attributes:
        engine: that does the work.
        place: folder of copies; each call has one of its own in it.
        most_bytes: that copies may take at a time.
        begun: how many sources the engine begins with at once, which are read where they lie.
        progress: who is told.
    """

    engine: Engine
    place: Path
    most_bytes: int
    begun: int
    progress: Progress

    def run(self, job: Job, sources: Sequence[Source], stop: StopFlag) -> Iterator[Outcome]:
        """See :class:`Engine`."""
        opening = getattr(job, "opening", None)
        domain = load_domain(opening.domain) if isinstance(opening, Opening) else None
        if not isinstance(opening, Opening) or not isinstance(domain, Movable) or not sources:
            yield from self.engine.run(job, sources, stop)
            return
        with own_folder(self.place) as folder, Copier(folder, self.most_bytes) as copier:
            jobs: Any = job  # a dataclass, as all that open sources
            moved = replace(jobs, opening=replace(opening, staged=folder))
            copier.begin(domain, opening.roots, sources[self.begun :])
            for outcome in self.engine.run(moved, sources, stop):
                copier.release(outcome.source.id)
                yield outcome
        told = f"{copier.copied} of {len(sources)} sources were copied to {self.place} first"
        self.progress.say("; ".join(filter(None, [told, copier.fault])))


@contextmanager
def own_folder(place: Path) -> Iterator[Path]:
    """A folder of this process in ``place``; what processes that have ended left is removed."""
    mine = f"histoscope-stage-{socket.gethostname()}-"
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob(f"{mine}*"):
            if not _alive(old.name.removeprefix(mine).partition("-")[0]):
                shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{mine}{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


class Copier:
    """A thread that copies sources in order, within a bound.

    Args:
        folder: of the copies.
        most_bytes: that they may take.

    Attributes:
        copied: sources that were copied.
        fault: why some were not, one line; empty where all could be.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.copied, self.fault = 0, ""
        self._folder, self._most = folder, most_bytes
        self._held: dict[str, int] = {}
        self._finished = set[str]()
        self._change, self._ended = threading.Condition(), False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        with self._change:
            self._ended = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def begin(self, domain: Movable, roots: Roots, sources: Sequence[Source]) -> None:
        """Copy these, in order.

        Args:
            domain: knows their files.
            roots: below which they lie.
            sources: that come next.
        """
        self._thread = threading.Thread(
            target=self._work, args=(domain, roots, list(sources)), daemon=True
        )
        self._thread.start()

    def release(self, source: str) -> None:
        """A source is finished: remove its copy, or never make one."""
        with self._change:
            self._finished.add(source)
            if self._held.pop(source, None) is not None:
                shutil.rmtree(self._folder / source, ignore_errors=True)
            self._change.notify_all()

    def _work(self, domain: Movable, roots: Roots, sources: list[Source]) -> None:
        for source in sources:
            if self._ended:
                return
            try:
                files = domain.files(source, roots)
                size = sum(path.stat().st_size for path in files)
                if files and size <= self._most and self._room(source.id, size):
                    self._copy(source, files, roots)
            except (OSError, ValueError) as fault:
                self.fault = f"not all could be ({getattr(fault, 'strerror', None) or fault})"
                self._forget(source.id)
                if isinstance(fault, OSError) and fault.errno in FULL:
                    return

    def _room(self, source: str, size: int) -> bool:
        """Wait until a source fits; False where it is finished, or all is over, before that.

        What the disk has left is not used up: results may be written there.
        """
        with self._change:
            self._change.wait_for(
                lambda: self._over(source) or sum(self._held.values()) + size <= self._most
            )
            left = shutil.disk_usage(self._folder).free - size
            if self._over(source) or left < RESERVE_BYTES:
                self.fault = self.fault or ("" if self._over(source) else FULL_SOON)
                return False
            self._held[source] = size
            return True

    def _over(self, source: str) -> bool:
        return self._ended or source in self._finished

    def _copy(self, source: Source, files: Sequence[Path], roots: Roots) -> None:
        """Copy beside its name, which it gets when it is whole."""
        base = roots[source.root]
        base = base.parent if base.is_file() else base
        part = self._folder / f"{source.id}.part"
        for path in files:
            target = part / path.relative_to(base)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self._copy_file(source.id, path, target):
                self._forget(source.id)
                return
        with self._change:
            if not self._over(source.id):
                part.rename(self._folder / source.id)
                self.copied += 1
                return
        self._forget(source.id)

    def _copy_file(self, source: str, path: Path, target: Path) -> bool:
        """Whether it was copied to its end before it was wanted no more."""
        with path.open("rb") as read, target.open("wb") as write:
            while chunk := read.read(CHUNK_BYTES):
                write.write(chunk)
                if self._over(source):
                    return False
        shutil.copystat(path, target)
        return True

    def _forget(self, source: str) -> None:
        shutil.rmtree(self._folder / f"{source}.part", ignore_errors=True)
        with self._change:
            self._held.pop(source, None)
            self._change.notify_all()
