"""Which samples a command may read: by split, from the store or from a file of the user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.named import NamedSources
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError, near_word
from histoscope.core.tables.names import listed
from histoscope.core.tables.spreadsheet import Sheet, read_sheet

PARTS = ("train", "valid", "test")
EVERY = "every"  # part, whatever the split


@dataclass(frozen=True)
class Selection:
    """Index rows that a command reads, and one sentence that says how they were chosen."""

    rows: NDArray[np.int64]
    said: str


def select(
    store: Store, part: str, given: str | None = None, *, marked: bool = True, way: str = ""
) -> Selection:
    """Readable samples of one part.

    Args:
        store: where from.
        part: ``train``, ``valid``, ``test`` or ``every``; what the command reads by itself.
        given: ``PART`` of the store's own split, ``FILE:PART`` or ``NAME:PART``. FILE is a CSV with
            ``split`` and one of ``case``, ``source`` (id or path; also the domain's word for it),
            ``id``; NAME is a published split of the store's domain.
        marked: also samples that carry a mark.
        way: how the user has them read, for the message.

    Raises:
        UsageError: ``given`` is neither.
        DataError: nothing is left.
    """
    index = store.index
    readable = pc.equal(index.column("status"), "ok").combine_chunks()
    splits = index.column("split")
    if given in PARTS and splits.null_count < len(splits):
        part, given = given, None
    if given:
        name, _, part = given.rpartition(":")
        if not name or part not in PARTS:
            raise UsageError(
                f"--split {given}: expected FILE:PART or NAME:PART (PART alone if the store has a "
                f"split); PART is one of {', '.join(PARTS)}"
            )
        published, absent = load_domain(store.domain).splits, ""
        if name in published:
            cases = [case for case, its_part in published[name].items() if its_part == part]
            wanted, absent = _named(store, cases, "case")
        else:
            wanted, absent = _by_file(store, Path(name), part, published)
        said = f"{part} of {Path(name).name}{absent}"
    elif part == EVERY:
        wanted = pa.array(np.ones(len(index), dtype=bool))
        said = "all samples of every split"
    elif splits.null_count == len(splits):
        wanted = pa.array(np.ones(len(index), dtype=bool))
        said = f"all samples (the store has no split; --split FILE:{part} would choose)"
    else:
        wanted = pc.fill_null(pc.equal(splits, part), False).combine_chunks()
        said = f"the {part} split"
    chosen = pc.and_(readable, wanted).to_numpy(zero_copy_only=False)
    left_out = ""
    if not marked:
        marks = index.column("mark").combine_chunks()
        plain = marks.is_null().to_numpy(zero_copy_only=False)
        counts = Counter(marks.filter(pa.array(chosen & ~plain)).to_pylist())
        if counts:
            said_of = ", ".join(f"{count} {mark}" for mark, count in sorted(counts.items()))
            left_out = f"; left out as marked: {said_of}"
        chosen = chosen & plain
    rows = np.flatnonzero(chosen)
    if not len(rows):
        out = f"; {way}" if left_out and way else ""
        none = "readable sample" if pc.any(wanted).as_py() else "sample"
        raise DataError(f"{store.path}: no {none} in {said}{left_out}{out}")
    return Selection(rows.astype(np.int64), f"{said}: {len(rows)} samples{left_out}")


def _by_file(store: Store, file: Path, part: str, published: Iterable[str]) -> tuple[pa.Array, str]:
    """Which samples a file puts into a part, and what is to be said of that."""
    if not file.is_file():
        known = f" (published splits: {', '.join(published)})" if published else ""
        raise DataError(f"--split: {file}: no such file{known}")
    sheet = read_sheet(file)
    named = sheet.column("id", "source", *store.naming.words, "case")
    key = named if named in ("id", "case") else "source"
    parts = _parts_of(sheet, named)
    if key == "source":
        parts = _by_id(parts, store, file)
    wanted = [name for name, word in parts.items() if word == part]
    return _named(store, wanted, key)


def _named(store: Store, wanted: Sequence[str], key: str) -> tuple[pa.Array, str]:
    """Which samples have one of the names, and which names none has, in words; empty where all do.

    Args:
        store: of the samples.
        wanted: names of one part of a split.
        key: what is named: ``id``, ``source`` or ``case``.
    """
    column, names = store.index.column(key).combine_chunks(), pa.array(wanted, pa.string())
    chosen, known = pc.is_in(column, value_set=names), pc.is_in(names, value_set=column)
    absent = names.filter(pc.invert(known)).to_pylist()
    if not absent:
        return chosen, ""
    said = f"{len(absent)} of its {len(wanted)} {key}s are not in the store: {listed(absent)}"
    if len(absent) == len(wanted):
        there = sorted(name for name in column.unique().to_pylist() if name is not None)
        said += f"; the store has {listed(there)}" if there else f"; the store knows no {key}s"
    return chosen, f" ({said})"


def _by_id(parts: dict[str, str], store: Store, file: Path) -> dict[str, str]:
    """Parts by the ids of sources that are named by their paths."""
    known, by_id = NamedSources(store.manifest, store.naming), dict[str, str]()
    for name, part in parts.items():
        found = known.id_of(name, str(file)) or name
        if by_id.setdefault(found, part) != part:
            raise DataError(f"{file}: source {name} stands in two splits")
    return by_id


def _parts_of(sheet: Sheet, key: str) -> dict[str, str]:
    """The part of every id, source or case; of none where the split is empty.

    Raises:
        DataError: no column ``split``, a word that is no part, or two parts for one.
    """
    parts, split = dict[str, str](), sheet.column("split")
    for line, row in sheet.rows:
        name, word = row[key], row[split]
        if word and word not in PARTS:
            raise DataError(
                f"{sheet.path}, line {line}: split {word!r}{near_word(word, PARTS)}; known: "
                f"{', '.join(PARTS)}, or nothing for what is in none"
            )
        if name and parts.setdefault(name, word) != word:
            raise DataError(f"{sheet.path}, line {line}: {name} stands in two splits")
    return parts
