"""Work on one source, and how a failure of it becomes an outcome."""

from __future__ import annotations

import logging
import traceback
from typing import Protocol

from histoscope.core.contracts import Source
from histoscope.core.errors import HistoscopeError, UnreadableSource
from histoscope.core.runtime.allocator import give_back_freed_memory
from histoscope.core.work.outcome import Outcome

log = logging.getLogger(__name__)


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
