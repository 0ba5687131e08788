"""Sources of a folder of results beside each other: derived from it, as its manifest is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histoscope.core.contracts import Beside, Comparing
from histoscope.core.contracts.installed import load_domain
from histoscope.core.errors import UsageError
from histoscope.core.work.outcome import Outcome


def set_beside(
    directory: Path, about: Mapping[str, Any], outcomes: Sequence[Outcome]
) -> Sequence[Beside]:
    """Have the domain write its tables of the folder; nothing where it has none, or is not here.

    Args:
        directory: what ``predict`` wrote.
        about: what ``predict.json`` says.
        outcomes: of its sources.
    """
    try:
        domain = load_domain(about["domain"])
    except UsageError:  # a report is made where the domain is not installed, too
        return ()
    return domain.set_beside(directory, about, outcomes) if isinstance(domain, Comparing) else ()
