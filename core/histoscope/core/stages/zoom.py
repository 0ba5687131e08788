"""Sources as pictures of every scale, for pages in which a person looks at all of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from histoscope.core.contracts import Domain, Source, Zoomable
from histoscope.core.contracts.installed import load_domain
from histoscope.core.errors import UsageError
from histoscope.core.tables.names import Files
from histoscope.core.work.folder import OutFolder
from histoscope.core.work.job import Turn
from histoscope.core.work.outcome import Outcome
from histoscope.core.work.reading import Opening

ZOOMS = "zoom"  # folder below that of the results; each source has one in it


@dataclass
class ZoomJob:
    """Write the pictures of one source."""

    opening: Opening
    out: OutFolder

    def load(self) -> None:
        """Nothing is needed."""

    def __call__(self, source: Source, turn: Turn) -> Outcome:
        """Write them; ``more`` of the outcome says what they are."""
        domain = load_domain(self.opening.domain)
        assert isinstance(domain, Zoomable)
        with self.opening.open(source) as reader:
            made = domain.zoom(reader, self.out.of(source), turn.beat)
            reason = f"{made.missing} pictures could not be read" if made.missing else ""
            return Outcome(source, "done", 0, 0, reason, reader.facts, {"zoom": asdict(made)})


def named_sources(
    domain: Domain, names: Sequence[str], sources: Sequence[Source], whole: bool = True
) -> list[Source]:
    """The sources that are to be written at every scale.

    Args:
        domain: of the sources.
        names: paths, or their ends.
        sources: among which they are.
        whole: whether these are all there are; else a name may be of another shard.

    Raises:
        UsageError: the field has none that are larger than a screen, or a name is of none.
        DataError: a name is of several.
    """
    if names and not isinstance(domain, Zoomable):
        raise UsageError(f"--zoom: {domain.name} has no pictures of every scale")
    files = Files([one.path for one in sources], domain.naming)
    paths = {files.the_one(name, "--zoom") for name in names}
    if None in paths and whole:
        name = next(name for name in names if not files.find(name))
        raise UsageError(f"--zoom {name}: no such source; give its path as the report has it")
    return [one for one in sources if one.path in paths]
