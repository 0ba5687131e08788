"""Draws whose cases are named: in a file, or published with a domain."""

from __future__ import annotations

from itertools import count, takewhile
from pathlib import Path

from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.tables.spreadsheet import read_sheet

Subsets = tuple[tuple[str, ...], ...]


def with_subsets(spec: FinetuneSpec, store: Store) -> FinetuneSpec:
    """The settings with the cases of each draw in them, and as many draws, where they are named.

    Raises:
        UsageError: another number of draws was asked for.
        DataError: a file that has no draws, or neither a file nor a name that is known.
    """
    given = spec.subsets
    if given is None:
        return spec
    found = given if not isinstance(given, str) else _found(given, store)
    if "draws" in spec.model_fields_set and spec.draws != len(found):
        raise UsageError(
            f"--draws {spec.draws}: --subsets {given} has {len(found)} draws; leave --draws out"
        )
    return spec.model_copy(update={"subsets": found, "draws": len(found)})


def _found(given: str, store: Store) -> Subsets:
    published = published_subsets(store.domain)
    if given in published:
        return published[given]
    if not Path(given).is_file():
        known = f" (published subsets: {', '.join(published)})" if published else ""
        raise DataError(f"--subsets: {given}: no such file{known}")
    return read_subsets(Path(given))


def published_subsets(domain: str) -> dict[str, Subsets]:
    """The training parts of published splits ``NAME-0``, ``NAME-1``, ... by ``NAME``."""
    splits, found = load_domain(domain).splits, dict[str, Subsets]()
    for first in splits:
        name, _, number = first.rpartition("-")
        if number == "0":
            those = takewhile(splits.__contains__, (f"{name}-{place}" for place in count()))
            found[name] = tuple(
                tuple(case for case, part in splits[one].items() if part == "train")
                for one in those
            )
    return found


def read_subsets(file: Path) -> Subsets:
    """The cases of each draw of a CSV with ``draw`` and ``case``, draws as they come first there.

    Raises:
        DataError: nothing in it, a row without one of both, or a case twice in a draw.
    """
    sheet = read_sheet(file)
    draw, case, found = sheet.column("draw"), sheet.column("case"), dict[str, list[str]]()
    for line, row in sheet.rows:
        name, its = row[draw], row[case]
        if not name or not its:
            raise DataError(f"{file}, line {line}: no {'case' if name else 'draw'}")
        if its in found.setdefault(name, []):
            raise DataError(f"{file}, line {line}: {its} stands in draw {name} twice")
        found[name].append(its)
    if not found:
        raise DataError(f"{file}: no draw in it")
    return tuple(map(tuple, found.values()))
