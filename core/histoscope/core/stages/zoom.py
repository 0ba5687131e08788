"""Sources as pictures of every scale, for pages in which a person looks at all of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from histoscope.core.contracts import Domain, Roots, Sampling, Source, Zoomable
from histoscope.core.contracts.installed import load_domain
from histoscope.core.errors import DataError, UsageError
from histoscope.core.progress import Progress
from histoscope.core.stages.predict import PREDICT
from histoscope.core.tables.names import Files
from histoscope.core.work.folder import OutFolder, work_through
from histoscope.core.work.job import Engine, Turn
from histoscope.core.work.outcome import DONE, Outcome, read_outcome
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


def named_sources(domain: Domain, names: Sequence[str], sources: Sequence[Source]) -> list[Source]:
    """The sources that are to be written at every scale.

    Args:
        domain: of the sources.
        names: paths, or their ends.
        sources: all there are, also those of other shards.

    Raises:
        UsageError: the field has none that are larger than a screen, or a name is of none.
        DataError: a name is of several.
    """
    if names and not isinstance(domain, Zoomable):
        raise UsageError(f"--zoom: {domain.name} has no pictures of every scale")
    files, found = Files([one.path for one in sources], domain.naming), list[Source]()
    for name in names:
        path = files.the_one(name, "--zoom")
        if path is None:
            raise UsageError(f"--zoom {name}: no such source; give its path as the report has it")
        alike = [one for one in sources if one.path == path]
        if len(alike) > 1:
            roots = ", ".join(one.root for one in alike)
            raise DataError(f"--zoom {name}: lies in several inputs ({roots}); predict one of them")
        found += [one for one in alike if one not in found]
    return found


def write_zooms(
    domain: Domain,
    roots: Roots,
    sampling: Sampling,
    sources: Sequence[Source],
    out: Path,
    *,
    engine: Engine,
    progress: Progress,
) -> list[Outcome]:
    """Write sources at every scale beside their results; what is there already stays.

    Args:
        domain: of the sources.
        roots: where they lie.
        sampling: how they are opened.
        sources: those that are wanted.
        out: what ``predict`` wrote.
        engine: who does the work.
        progress: who is told.
    """
    if not sources:
        return []
    folder = OutFolder(out, PREDICT, parts=ZOOMS)
    job = ZoomJob(Opening(domain.name, roots, sampling), folder)
    return work_through("zoom", sources, job, engine, progress)


def zoomed(out: Path) -> list[Outcome]:
    """What was written at every scale, and is whole."""
    found = [read_outcome(file) for file in sorted((out / ZOOMS).glob(f"*/{DONE}"))]
    return [one for one in found if one.status == "done"]
