"""Which heads of a package may call something uncertain."""

from __future__ import annotations

from collections.abc import Sequence

from histoscope.core.contracts import UNCERTAIN
from histoscope.core.errors import UsageError
from histoscope.core.packages.info import HeadInfo

RANKS = "; scores only rank"  # how reasons against calibration end


def check_doubt(heads: Sequence[HeadInfo], least: float) -> list[str]:
    """See that what is uncertain can be told from a class, and that some head can tell it.

    Args:
        heads: of a package.
        least: best score below which nothing is certain; 0: all is.

    Returns:
        A line for each head whose scores only rank, so that it always names a class.

    Raises:
        UsageError: a class has the name of what is uncertain, all heads only rank, or the score
            is none from 0 to 1.
    """
    if not 0 <= least <= 1:
        raise UsageError(f"--uncertain-below {least:g}: not from 0 to 1")
    asked = [head for head in heads if least and head.exclusive]
    for head in asked:
        if UNCERTAIN in head.asked_task.classes:
            raise UsageError(
                f"--uncertain-below {least:g}: {head.task} has a class {UNCERTAIN!r} already"
            )
    ranking = [head for head in asked if head.only_ranks]
    lines = [f"--uncertain-below {least:g}: {_why(head)}" for head in ranking]
    if ranking and len(ranking) == len(asked):
        raise UsageError(lines[0])
    return lines


def _why(head: HeadInfo) -> str:
    reason = str(head.calibration.get("reason", "not calibrated")).removesuffix(RANKS)
    return f"scores of {head.task} only rank: {reason}, so none can be called {UNCERTAIN}"
