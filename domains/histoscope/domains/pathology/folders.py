"""Folders below an input: links are followed, each folder is entered once, results never."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath

from histoscope.core.contracts import Unused
from histoscope.core.errors import printable
from histoscope.core.files import holds_results
from histoscope.domains.pathology.formats import OTHERS, SLIDE_SUFFIXES, TILE_SUFFIXES, suffix_of

Say = Callable[[Unused], None]


class Folders:
    """What was entered on one search.

    Args:
        top: where the search begins; what is said names folders below it.
        say: is told of each folder that is not entered, and of links to nothing.
    """

    def __init__(self, top: Path, say: Say) -> None:
        self._top, self._say = top, say
        self._entered = dict[Path, Path]()

    def enter(self, folder: Path) -> list[Path]:
        """Entries of a folder by name, hidden ones left out; none where it is not entered.

        Raises:
            OSError: it cannot be listed.
        """
        real = folder.resolve()
        if real in self._entered:
            before = self._name(self._entered[real])
            self._pass_over(folder, f"leads to {before}, searched already; not read twice")
            return []
        self._entered[real] = folder
        if holds_results(folder):
            self._pass_over(folder, "results of histoscope; not searched")
            return []
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
        entries = [path for path in entries if not path.name.startswith(".")]
        for path in entries:
            if _leads_nowhere(path):
                self._pass_over(path, "a link that leads nowhere")
        return entries

    def _pass_over(self, path: Path, reason: str) -> None:
        self._say(Unused("folders and links", printable(self._name(path)), reason))

    def _name(self, path: Path) -> str:
        return str(path if path == self._top else path.relative_to(self._top))


def look_alikes(paths: Iterable[PurePath]) -> Iterator[Unused]:
    """What looks like a picture or a set, and is not read."""
    for path in paths:
        if why := OTHERS.get(suffix_of(path)):
            yield Unused("files of kinds that are not read", printable(path.as_posix()), why)


def _leads_nowhere(path: Path) -> bool:
    """A broken link that would not become a source, or a picture, with that reason."""
    suffix = suffix_of(path)
    return path.is_symlink() and not path.exists() and suffix not in SLIDE_SUFFIXES | TILE_SUFFIXES
