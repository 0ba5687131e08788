"""A folder of results: who it belongs to, what became of each source, and the manifest.

Everything here is derived from finished work, without clock times or random names, so that a
second call that finds nothing to do changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from histoscope.core.contracts import Source
from histoscope.core.errors import UsageError
from histoscope.core.files import holds_anything, read_json, write_json
from histoscope.core.progress import Progress
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.work.job import Job
from histoscope.core.work.local import run_all
from histoscope.core.work.manifest import OUTCOME, read_outcome, write_manifest
from histoscope.core.work.outcome import Outcome, still_good


def claim(
    out: Path, what: tuple[str, int], body: Mapping[str, Any], guarded: Mapping[str, str]
) -> None:
    """Take a folder for one kind of work, or see that it is ours.

    A claim under which no source was finished binds nobody.

    Args:
        out: the folder.
        what: format and version; the file is named after the format.
        body: what the file says.
        guarded: keys that must not differ from an earlier call, and what it means if they do.

    Raises:
        UsageError: it holds something else.
    """
    file = out / f"{what[0].rpartition('.')[2]}.json"
    if file.is_file() and any(out.glob("outcomes/*.json")):
        before = read_json(file, *what)
        for key, meaning in guarded.items():
            if before.get(key) != body[key]:
                raise UsageError(f"{out}: holds results of {meaning}; give another --out")
    elif holds_anything(out) and not file.is_file():
        raise UsageError(f"{out}: not empty, and holds no {file.name}; give another --out")
    write_json(file, *what, body)


def work_through(
    out: Path,
    sources: Sequence[Source],
    job: Job,
    closing: Callable[[Source], Path],
    workers: int,
    progress: Progress,
) -> list[Outcome]:
    """Run a job over the sources that are not done yet, keep the outcomes, write the manifest.

    Args:
        out: folder of the results.
        sources: in order.
        job: what to do with each.
        closing: the file whose presence says that a source's results are whole.
        workers: processes; 0 works in this one.
        progress: who is told.

    Returns:
        One outcome a source, in order, those of earlier calls included.

    Raises:
        Interrupted: what is finished stays; the same call goes on.
    """
    before = {s.id: done for s in sources if (done := _finished(out, s, closing)) is not None}
    outcomes = still_good(sources, before, progress)
    todo = [source for source in sources if source.id not in outcomes]
    progress.start("work", len(todo), "sources")
    with StopFlag() as stop:
        for outcome in run_all(job, todo, workers, stop):
            outcomes[outcome.source.id] = outcome
            write_json(out / "outcomes" / f"{outcome.source.id}.json", *OUTCOME, asdict(outcome))
            if outcome.status != "done":
                progress.say(f"{outcome.source.path}: {outcome.status}: {outcome.reason}")
            progress.advance()
    progress.finish()
    write_manifest(out)
    return [outcomes[source.id] for source in sources]


def _finished(out: Path, source: Source, closing: Callable[[Source], Path]) -> Outcome | None:
    """The outcome of a source that is done or empty; a failed one is tried again."""
    file = out / "outcomes" / f"{source.id}.json"
    outcome = read_outcome(file) if file.is_file() else None
    if outcome is None or outcome.status == "failed":
        return None
    return outcome if outcome.status == "empty" or closing(source).is_file() else None
