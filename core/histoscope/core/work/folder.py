"""A folder of results: whose it is, what goes on in it, and what closes it.

Everything in it is derived from finished work, without clock times or random names, so that a
second call that finds nothing to do changes nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from histoscope.core.contracts import Source
from histoscope.core.errors import DataError, UsageError, writing
from histoscope.core.files import (
    holds_anything,
    read_json,
    remove_left,
    whole_name,
    write_json,
)
from histoscope.core.progress import Progress
from histoscope.core.runtime.stop import StopFlag
from histoscope.core.work.job import Engine, Job, clear
from histoscope.core.work.outcome import DONE, Outcome, read_outcome, still_good, write_outcome
from histoscope.core.work.said import say_alike


@dataclass(frozen=True)
class OutFolder:
    """A folder that one piece of work writes, and no other.

    Attributes:
        path: of the folder.
        owner: format and version of the file that is written first and says whose the folder is;
            it is named after the format, ``histoscope.predict`` is ``predict.json``.
        closing: name of the file that is written last, empty where each source has its own.
        parts: name of the folder that holds one folder a source, empty where there is none.
        left: names of what work that is cut off leaves behind.
        first: name of the file that is written first where that is not the owner's.
    """

    path: Path
    owner: tuple[str, int]
    closing: str = ""
    parts: str = ""
    left: Sequence[str] = ()
    first: str = ""

    @property
    def file(self) -> Path:
        """The file that says whose the folder is."""
        return self.path / f"{self.owner[0].rpartition('.')[2]}.json"

    def of(self, source: Source) -> Path:
        """Where all that is written of a source lies."""
        return self.path / self.parts / source.id

    def claim(
        self,
        parameters: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
        usual: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the folder, or go on in it with the same parameters.

        A claim under which nothing was finished binds nobody.

        Args:
            parameters: must not differ from an earlier call.
            about: what the file says beside them.
            usual: what counts where an earlier call, of an older program, did not know a parameter.

        Raises:
            UsageError: other parameters (the first that differs is named), or somebody else's.
        """
        self.check(parameters, usual)
        write_json(self.file, *self.owner, {**parameters, **(about or {})})

    def check(self, parameters: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> None:
        """As :meth:`claim`, and nothing is written."""
        before = self._before()
        if before:
            before = filled(before, usual or {})
        place = next(iter(differences(before, parameters)), None) if before else None
        if place:
            raise UsageError(
                f"{self.path}: was made with other settings ({place}); give another --out"
            )

    def _before(self) -> dict[str, Any] | None:
        """The claim of earlier work that has finished something."""
        if not holds_anything(self.path):
            return None
        if not self.file.is_file():
            raise UsageError(
                f"{self.path}: not empty, and holds no {self.file.name}; give another --out"
            )
        body = read_json(self.file, *self.owner)
        if body["version"] < self.owner[1]:
            raise UsageError(f"{self.path}: made by an older histoscope; give another --out")
        folders = self.path.glob(f"{self.parts}/*") if self.parts else ()
        bound = any(map(_finished, folders)) if self.parts else self._whole
        return body if bound else None

    @property
    def _whole(self) -> bool:
        return (self.path / self.closing).is_file()

    def take(self) -> None:
        """Take the folder for work that is done in one piece; what was cut off is removed.

        Raises:
            UsageError: it holds something else, or such work that is whole.
        """
        if not holds_anything(self.path):
            remove_left(self.path)
            return
        names = {whole_name(file) for file in self.path.iterdir()}
        begun = self.first or self.file.name  # by it the rest is known
        ours = names <= {*self.left, begun, self.closing} and begun in names and not self._whole
        if ours and (self.path / self.file.name).is_file():
            try:
                read_json(self.file, *self.owner)
            except DataError:
                ours = False
        if not ours:
            raise UsageError(f"{self.path}: not empty; give another --out")
        with writing(self.path):
            for file in sorted(self.path.iterdir(), key=lambda one: one.name == begun):
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def filled(before: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Values, with the usual ones for what is absent, in blocks that are there."""
    both = {
        key: filled(value, inside)
        if isinstance(value, Mapping) and isinstance(inside := usual.get(key), Mapping)
        else value
        for key, value in before.items()
    }
    return {**{key: one for key, one in usual.items() if not isinstance(one, Mapping)}, **both}


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], place: str = ""
) -> Iterator[str]:
    """``sampling.tile_mpp: 0.5 there, 1.0 now`` for each value of ``now`` that differs."""
    for key, value in now.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from differences(old, {**dict.fromkeys(old), **value}, f"{place}{key}.")
        elif old != value and not _same_name(old, value):
            yield f"{place}{key}: {old!s:.24} there, {value!s:.24} now"


def _same_name(old: Any, value: Any) -> bool:
    """Whether an older program wrote a whole path where now its name stands."""
    texts = isinstance(old, str) and isinstance(value, str)
    return texts and value != "" and PureWindowsPath(old).name == value


def work_through(
    what: str, sources: Sequence[Source], job: Job, engine: Engine, progress: Progress
) -> list[Outcome]:
    """Run a job over the sources that are not done yet, and close each with its outcome.

    Args:
        what: name of the work, for people.
        sources: in order.
        job: what to do with each; its folder is claimed.
        engine: who does it.
        progress: who is told.

    Returns:
        One outcome a source, in order, those of earlier calls included.

    Raises:
        Interrupted: what is finished stays; the same call goes on.
    """
    out = job.out
    before = {source.id: done for source in sources if (done := _finished(out.of(source)))}
    outcomes = still_good(sources, before, progress)
    if len(outcomes) < len(before) and out.closing:
        (out.path / out.closing).unlink(missing_ok=True)  # it speaks of what will change
    todo = [source for source in sources if source.id not in outcomes]
    progress.start(what, len(todo), "sources")
    with StopFlag() as stop:
        for outcome in engine.run(job, todo, stop):
            outcomes[outcome.source.id] = outcome
            folder = out.of(outcome.source)
            if outcome.status == "failed" and not outcome.corrupt:
                clear(folder)
            write_outcome(folder / DONE, outcome)
            if outcome.status != "done":
                progress.say(f"{outcome.source.path}: {outcome.status}: {outcome.reason}")
            progress.advance()
    progress.finish()
    of_now = [outcomes[source.id] for source in todo if outcomes[source.id].status == "done"]
    say_alike([(outcome.source.path, outcome.reason) for outcome in of_now], progress)
    return [outcomes[source.id] for source in sources]


def _finished(folder: Path) -> Outcome | None:
    """The outcome of a source that is done or empty; a failed or damaged one is tried again."""
    try:
        outcome = read_outcome(folder / DONE)
    except DataError:
        return None
    return None if outcome.status == "failed" else outcome


def read_outcomes(parts: Path) -> list[Outcome]:
    """All outcomes of a folder, whichever shard made them, by root and path.

    Args:
        parts: the folder that holds one folder a source.

    Raises:
        DataError: there are none.
    """
    outcomes = [_outcome_in(folder) for folder in sorted(parts.glob("*"))]
    if not outcomes:
        raise DataError(f"{parts.parent}: no results here; give a folder that 'predict' wrote")
    return sorted(outcomes, key=lambda one: (one.source.root, one.source.path))


def _outcome_in(folder: Path) -> Outcome:
    try:
        return read_outcome(folder / DONE)
    except DataError:
        lost = "its results are missing or damaged: run the same command again"
        return Outcome(Source(folder.name, folder.name), "failed", reason=lost)
