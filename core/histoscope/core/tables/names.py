"""Which file a name that a person wrote speaks of: one rule, wherever names meet.

A name is a path or its end, with or without the suffix that such files carry. What is written alike
comes first; then letters in another case, in another Unicode form, or behind back-slashes. Numbers
that are padded otherwise (``video1``, ``video01``) are the same only where the field says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath

from histoscope.core.errors import DataError

SHOWN = 5  # names in a message
Form = Callable[[str], str]


@dataclass(frozen=True)
class Naming:
    """What names of one field have in common.

    Attributes:
        suffixes: lower-case, with the dot, that a name may leave away; longer ones first where
            one ends in another (``.ome.tif`` before ``.tif``).
        padded: whether numbers of another width are the same.
        words: what tables call the column that names such a file.
        loose: whether a name may have another suffix than the file: a slide's, say, where the
            file holds what was made of it.
    """

    suffixes: Sequence[str] = ()
    padded: bool = False
    words: Sequence[str] = ()
    loose: bool = False

    def bare(self, name: str) -> str:
        """A name without the suffix that such files carry."""
        for suffix in self.suffixes:
            if name.lower().endswith(suffix) and len(name) > len(suffix):
                return name[: -len(suffix)]
        return name

    def forms(self) -> list[tuple[Form, Form]]:
        """In which form a name and a file's path are compared, the surest first.

        A name may leave the suffix away; one that it has must be the file's, unless names are
        loose.
        """

        def bare(path: str) -> str:
            return self.bare(as_path(path))

        forms: list[tuple[Form, Form]] = []
        changes: list[Form] = [str, folded, *([unpadded] if self.padded else [])]
        pairs: list[tuple[Form, Form]] = [(as_path, as_path), (as_path, bare)]
        pairs += [(bare, bare)] if self.loose else []
        for change in changes:
            for of_name, of_path in pairs:
                forms.append((_both(change, of_name), _both(change, of_path)))
        return forms


PLAIN = Naming()


def as_path(name: str) -> str:
    """With slashes, without ``./`` before it."""
    return name.strip().replace("\\", "/").removeprefix("./")


def folded(name: str) -> str:
    """In one Unicode form, without regard to letter case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def unpadded(name: str) -> str:
    """:func:`folded`, numbers without leading zeros."""
    return re.sub(r"\d+", lambda found: str(int(found[0])), folded(name))


def _both(second: Form, first: Form) -> Form:
    return lambda name: second(first(name))


def ends(path: str) -> list[str]:
    """A path and all that it ends in, the longest first: ``a/b/c``, ``b/c``, ``c``.

    The root itself, ``.``, ends in itself alone.
    """
    parts = PurePosixPath(path).parts or (path,)
    return ["/".join(parts[start:]) for start in range(len(parts))]


class Files:
    """Files that names may speak of.

    Args:
        paths: POSIX paths, relative to their root.
        naming: what the field's names have in common.
    """

    def __init__(self, paths: Iterable[str], naming: Naming = PLAIN) -> None:
        self._naming, self._paths = naming, list(dict.fromkeys(paths))
        self._levels = [_Level(self._paths, *forms) for forms in naming.forms()]

    def find(self, name: str) -> list[str]:
        """The files that a name speaks of: none, one, or several alike."""
        found = (level.find(name) for level in self._levels)
        return next(filter(None, found), [])

    def the_one(self, name: str, where: str) -> str | None:
        """The file that a name speaks of, None where there is none.

        Args:
            name: as it was written.
            where: what holds it, for messages.

        Raises:
            DataError: several, which are listed.
        """
        found = self.find(name)
        if len(found) > 1:
            raise DataError(f"{where}: {name} may be {listed(found)}; write the whole path")
        return found[0] if found else None

    def near(self, name: str) -> list[str]:
        """Files whose names differ a little from one that speaks of none: never used."""
        bare = {folded(self._naming.bare(PurePosixPath(one).name)): one for one in self._paths}
        word = folded(self._naming.bare(PurePosixPath(as_path(name)).name))
        return [bare[one] for one in get_close_matches(word, list(bare), 2, 0.8)]


class _Level:
    """Paths by what they are in one form, and by what they end in; names have another form."""

    def __init__(self, paths: Iterable[str], of_name: Form, of_path: Form) -> None:
        self._form = of_name
        self._whole, self._end = dict[str, list[str]](), dict[str, list[str]]()
        for path in paths:
            whole, *shorter = ends(of_path(path))
            self._whole.setdefault(whole, []).append(path)
            for end in shorter:
                self._end.setdefault(end, []).append(path)

    def find(self, name: str) -> list[str]:
        """Paths that are the name, else those that end in it, else one that it ends in."""
        written = ends(self._form(name))
        found = self._whole.get(written[0]) or self._end.get(written[0])
        above = (self._whole[end] for end in written[1:] if end in self._whole)
        return found or next(above, [])


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
