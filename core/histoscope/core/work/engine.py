"""Who does the work: the seam between a job and the machines it runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from histoscope.core.contracts import Source
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.work.job import Job
from histoscope.core.work.outcome import Outcome


class Engine(Protocol):
    """Runs one job over many sources."""

    def run(self, job: Job, sources: Sequence[Source], stop: StopFlag) -> Iterator[Outcome]:
        """Outcomes in the order in which they are ready, one a source whatever happens to it.

        Args:
            job: what to do.
            sources: on which.
            stop: read between sources.

        Raises:
            Interrupted: the flag was set; what is finished stays.
        """
