"""Work on one source, who does it, and how a failure of it becomes an outcome."""

from __future__ import annotations

import logging
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from histoscope.core.contracts import Source
from histoscope.core.errors import (
    FULL,
    CannotWrite,
    HistoscopeError,
    UnreadableSource,
    refusal,
    writing,
)
from histoscope.core.runtime.allocator import give_back_freed_memory
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.work.outcome import DONE, Outcome

if TYPE_CHECKING:
    from histoscope.core.work.folder import OutFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """What an engine gives a job for one source.

    Attributes:
        beat: to be called at every sample, so that a reader that hangs is told from a slow one.
        readers: processes that may read a source that is divisible.
    """

    beat: Callable[[], None] = lambda: None
    readers: int = 1


class Job(Protocol):
    """Work on one source. Picklable."""

    @property
    def out(self) -> OutFolder:
        """Where all that it writes lies."""

    def load(self) -> None:
        """Make what is costly and the same for all sources; called once, where it works."""

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Do the work; raise UnreadableSource with the reason where the source is at fault."""


class Engine(Protocol):
    """Runs one job over many sources: the seam between work and the machines it runs on."""

    def run(self, job: Job, sources: Sequence[Source], stop: StopFlag) -> Iterator[Outcome]:
        """Outcomes in the order in which they are ready, one a source whatever happens to it.

        Args:
            job: what to do.
            sources: on which.
            stop: read between sources.

        Raises:
            Interrupted: the flag was set; what is finished stays.
        """


def clear(folder: Path) -> None:
    """Remove what was written of a source; a record that stands alone stays as it is."""
    if folder.is_dir() and [file.name for file in folder.iterdir()] != [DONE]:
        with writing(folder):
            shutil.rmtree(folder)


def as_reason(source: Source, fault: Exception) -> UnreadableSource:
    """What a decoder raised, which may be anything, as the reason of its source."""
    log.warning("source %s failed:\n%s", source.id, traceback.format_exc())
    text = " ".join(str(fault).split())
    return UnreadableSource(f"{type(fault).__name__}: {text}"[:300])


def run_job(job: Job, source: Source, turn: Turn) -> Outcome:
    """Run a job on one source in this process, turning a failure into an outcome.

    Raises:
        HistoscopeError: wrong use, a fault of ours or of the machine, which is not this source's.
    """
    clear(job.out.of(source))  # of a call that was stopped, or of what was told otherwise
    try:
        return job(source, turn)
    except UnreadableSource as fault:
        return Outcome(source, "failed", reason=fault.reason)
    except HistoscopeError:
        raise
    except Exception as fault:
        if full := refusal(fault, FULL):  # said by what a plug-in writes with
            raise CannotWrite(job.out.of(source), full) from fault
        return Outcome(source, "failed", reason=as_reason(source, fault).reason)
    finally:
        give_back_freed_memory()
