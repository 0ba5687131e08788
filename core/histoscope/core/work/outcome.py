"""What became of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from histoscope.core.contracts import Source
from histoscope.core.progress import Progress

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
