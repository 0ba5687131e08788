"""Names of classes that people write: words for none, and two spellings of one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from histoscope.core.errors import DataError
from histoscope.core.tables.names import listed

NO_NAMES = {"na", "n/a", "nan", "none", "null", "nil", "unknown", "?", "-", "--", "#n/a"}
MEANT = (
    "say what is meant with --class-names WRITTEN=CLASS,... (WRITTEN=WRITTEN: it is a class), or "
    "with --null-values WRITTEN,... that it is unknown"
)
_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.(\d*))?")


def says_nothing(word: str) -> bool:
    """Whether a word is one of those that stand for an empty cell."""
    return word.strip().lower() in NO_NAMES


def spelt(name: str) -> str:
    """A name without what people do not mean: letter case, spaces, Unicode form, ``1`` or ``1.0``.

    Spaces, ``_`` and ``-`` inside a name are one and the same; before or behind it they are not
    (``HER2-`` is not ``HER2``).
    """
    plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    if number := _NUMBER.fullmatch(plain):
        sign, before, behind = (part or "" for part in number.groups())
        exact = f"{before.lstrip('0') or '0'}.{behind.rstrip('0')}".rstrip(".")
        return exact if sign != "-" else f"-{exact}"
    return re.sub(r"(?<=\w)[ _-](?=\w)", " ", plain)


def alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in their spelling alone, those of one class together."""
    found = dict[str, list[str]]()
    for name in dict.fromkeys(names):
        found.setdefault(spelt(name), []).append(name)
    return [sorted(group) for group in found.values() if len(group) > 1]


@dataclass(frozen=True)
class ClassNames:
    """What the person said of names that are written.

    Attributes:
        renamed: the class of what is written; itself, where it is meant so.
        unknown: what is written where the class is unknown.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, pairs: str | None, unknown: str | None) -> ClassNames:
        """What two options say: ``WRITTEN=CLASS,WRITTEN=CLASS`` and ``WRITTEN,WRITTEN``.

        Raises:
            ValueError: not such text, or one class is given two names.
        """
        parts = [[word.strip() for word in part.split("=")] for part in (pairs or "").split(",")]
        if pairs is None:
            parts = []
        if not all(len(part) == 2 and all(part) for part in parts):
            raise ValueError("expected WRITTEN=NAME,WRITTEN=NAME, as 0=normal,1=tumour")
        renamed = {part[0]: part[1] for part in parts}
        if len(renamed) < len(parts):
            raise ValueError("one class is given two names")
        words = (unknown or "").split(",")
        return cls(renamed, frozenset(word.strip() for word in words) - {""})

    def of(self, written: str | None) -> str | None:
        """The class that is meant, None where it is unknown."""
        if written is None or written in self.unknown:
            return None
        return self.renamed.get(written, written)

    def check_used(self, written: Collection[str], where: str) -> None:
        """Refuse a name that is told of and that nobody wrote.

        Raises:
            DataError: with the names that are there.
        """
        absent = sorted(set(self.renamed) - set(written))
        if absent:
            raise DataError(
                f"{where}: no class {listed(absent)} here, which --class-names speaks of (there "
                f"are {listed(sorted(written))})"
            )

    def check(self, written: Iterable[str], where: str) -> None:
        """Refuse what may be a word for none, or two spellings of one class.

        Args:
            written: all that is, in one table or several.
            where: what holds it, for messages.

        Raises:
            DataError: with the names.
        """
        meant = set(self.renamed.values())
        names = {name for one in written if (name := self.of(one)) is not None}
        for name in sorted(names - meant):
            if says_nothing(name):
                raise DataError(f"{where}: is {name!r} a class, or is it unknown? {MEANT}")
        for group in alike(sorted(names)):
            if not meant.issuperset(group):
                said = listed([repr(name) for name in group])
                raise DataError(f"{where}: {said} differ in their spelling alone; {MEANT}")


AS_WRITTEN = ClassNames()
