"""Label tables from several files made one: nothing guessed, contradictions listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from histoscope.core.contracts import Level, Task
from histoscope.core.data.labels import LabelTable
from histoscope.core.errors import DataError, near_word
from histoscope.core.progress import Progress
from histoscope.core.tables.classes import AS_WRITTEN, ClassNames
from histoscope.core.tables.names import listed
from histoscope.core.tables.spreadsheet import Sheet, read_sheet

KEYS: Mapping[Level, Sequence[str]] = {"sample": ("sample", "id"), "source": ("source",)}
TASK, LABEL = "task", "label"
OF_SOURCES = ("case", "split")  # columns of a source that are no class
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}
SHOWN = 20  # contradictions that are listed, at most
Value = str | bool


@dataclass(frozen=True)
class LabelFile:
    """What one file says.

    Attributes:
        name: of the file, for messages.
        task: name of the task, None where it does not say.
        level: what its labels speak of.
        exclusive: whether one class holds.
        classes: classes that it knows, in order; of exclusive ones those it gives.
        values: sample or source and, of classes that are not exclusive, class, to what is said of
            them.
        origin: who said it, files divided by ``"; "``; empty: the file itself.
        idle: columns that are not read.
        written: names of classes as they are written.
    """

    name: str
    task: str | None
    level: Level
    exclusive: bool
    classes: tuple[str, ...]
    values: Mapping[tuple[str, str], Value] = field(default_factory=dict)
    origin: str = ""
    idle: Sequence[str] = ()
    written: frozenset[str] = frozenset()


def read_label_file(
    path: Path, names: ClassNames = AS_WRITTEN, words: Sequence[str] = ()
) -> LabelFile:
    """Read a file of labels: a label table (Parquet), or a CSV with these columns.

    ``sample`` (or ``id``), or ``source`` (id or path, as in the manifest); ``task`` if one likes;
    and either ``label``, one class, or one column a class with true or false. BOM, semicolons, tabs
    and empty cells beyond the last column are tolerated; an empty cell is unknown.

    Args:
        path: the file.
        names: what the person said of classes that are written in a CSV.
        words: what the field calls the column ``source``.

    Raises:
        DataError: not such a file, or it contradicts itself.
    """
    if path.suffix.lower() == ".parquet":
        return label_file_of(path.name, LabelTable.read(path))
    sheet = read_sheet(path)
    level, key = _key(sheet, words)
    columns = {name.lower(): name for name in sheet.names}
    exclusive = LABEL in columns
    apart = (*KEYS[level], key, TASK, *(OF_SOURCES if level == "source" else ()))
    kinds = [LABEL] if exclusive else [name for name in columns if name not in apart]
    if not kinds:
        raise DataError(f"{path}: neither a column label nor one for each class")
    tasks = {row.get(TASK, "") for _, row in sheet.rows} - {""}
    if len(tasks) > 1:
        raise DataError(f"{path}: labels of several tasks ({', '.join(sorted(tasks))}); divide it")
    named = {kind: names.renamed.get(columns[kind], columns[kind]) for kind in kinds}
    values = dict[tuple[str, str], Value]()
    for line, row in sheet.rows:
        for kind in kinds:
            where, word = f"{path}, line {line}", row[kind]
            if not word or word in names.unknown:
                continue
            if not row[key]:
                raise DataError(f"{where}: {word!r} of no {level}; fill in {columns[key]}")
            value = names.renamed.get(word, word) if exclusive else _truth(word, where)
            about = row[key], "" if exclusive else named[kind]
            if values.setdefault(about, value) != value:
                raise DataError(
                    f"{where}: {_about(about)} stands twice, "
                    f"as {_word(values[about])} and as {_word(value)}"
                )
    given = sorted({str(value) for value in values.values()}) if exclusive else []
    classes = tuple(given) if exclusive else tuple(dict.fromkeys(named.values()))
    idle = sheet.others(key, TASK, *kinds)
    task = next(iter(tasks), None)
    written = {row[LABEL] for _, row in sheet.rows} if exclusive else map(columns.get, kinds)
    spelt = frozenset(filter(None, written))
    return LabelFile(path.name, task, level, exclusive, classes, values, "", idle, spelt)


def _key(sheet: Sheet, words: Sequence[str]) -> tuple[Level, str]:
    """What is labelled, and the column that says so: a sample's, if there is one."""
    found = [name for name in sheet.names if name.lower() in KEYS["sample"]]
    if len(found) > 1:
        both = " and ".join(found)
        raise DataError(f"{sheet.path}: {both} are two columns for the sample; leave one of them")
    of_source = not found and {"source", *words} & {name.lower() for name in sheet.names}
    level: Level = "source" if of_source else "sample"
    return level, sheet.column(*KEYS[level], *(words if of_source else ()))


def _truth(word: str, where: str) -> bool:
    if word.lower() in TRUE | FALSE:
        return word.lower() in TRUE
    raise DataError(f"{where}: {word!r} where true, false or nothing is expected")


def label_file_of(name: str, table: LabelTable, origin: str = "") -> LabelFile:
    """A label table as if it were a file."""
    ids, task = table.names.to_pylist(), table.task
    values = {
        (one, "" if task.exclusive else column): value
        for column, told in table.values().items()
        for one, value in zip(ids, told.to_pylist(), strict=True)
        if value is not None
    }
    return LabelFile(name, task.name, task.level, task.exclusive, task.classes, values, origin)


def gather(
    files: Sequence[LabelFile],
    task: Task,
    names: Sequence[str],
    where: str,
    *,
    later_wins: bool,
    progress: Progress,
) -> LabelTable:
    """One label table of all files, rows in the order of ``names``.

    Args:
        files: what is known, in the order in which it was said.
        task: which question; its classes are the only ones allowed.
        names: ids that may be spoken of.
        where: what holds these samples or sources, for messages.
        later_wins: where files contradict each other, the later one counts; else that is refused.
        progress: told each contradiction.

    Raises:
        DataError: another task or kind of task, an unknown sample, source or class, a
            contradiction, or no label at all.
    """
    known = set(names)
    for file in files:
        _check(file, task, known, where)
        if file.idle:
            progress.say(f"not used: columns of {file.name} ({listed(file.idle)})")
    merged, who = dict[tuple[str, str], Value](), dict[tuple[str, str], str]()
    contradictions = list[str]()
    for file in files:
        for about, value in file.values.items():
            if about in merged and merged[about] != value:
                contradictions.append(
                    f"{_about(about)}: {_word(merged[about])} ({who[about]}), "
                    f"{_word(value)} ({file.name})"
                )
            merged[about], who[about] = value, file.name
    for line in contradictions[:SHOWN]:
        progress.say(f"contradiction: {line}")
    if len(contradictions) > SHOWN:
        progress.say(f"and {len(contradictions) - SHOWN} more")
    if contradictions and not later_wins:
        raise DataError(
            f"{len(contradictions)} labels contradict each other (first: {contradictions[0]}); "
            "mend a file, or give --later-wins"
        )
    if not merged:
        raise DataError(f"no label of {task.name!r} in {', '.join(file.name for file in files)}")
    origins = [one for file in files for one in (file.origin or file.name).split("; ")]
    return _table(merged, task, names, list(dict.fromkeys(origins)))


def _check(file: LabelFile, task: Task, known: set[str], where: str) -> None:
    if file.task not in (None, task.name):
        raise DataError(f"{file.name}: labels of {file.task!r}, not of {task.name!r}")
    theirs = replace(task, level=file.level, exclusive=file.exclusive)
    if theirs != task:
        raise DataError(f"{file.name}: has {theirs.asks}, but {task.name!r} has {task.asks}")
    extra = [name for name in file.classes if name not in task.classes]
    if extra:
        raise DataError(
            f"{file.name}: {extra[0]!r} is no class of {task.name!r} "
            f"({', '.join(task.classes)}){near_word(extra[0], task.classes)}"
        )
    lost = [sample for sample, _ in file.values if sample not in known]
    if lost:
        raise DataError(
            f"{file.name}: {len(set(lost))} {task.level}s are not in {where} (first: {lost[0]})"
        )


def _table(
    merged: Mapping[tuple[str, str], Value],
    task: Task,
    names: Iterable[str],
    origins: Sequence[str],
) -> LabelTable:
    spoken = {name for name, _ in merged}
    ordered = [name for name in names if name in spoken]
    columns = [""] if task.exclusive else list(task.classes)
    kind = pa.string() if task.exclusive else pa.bool_()
    values = [pa.array([merged.get((one, name)) for one in ordered], kind) for name in columns]
    return LabelTable.make(task, pa.array(ordered, pa.string()), values, "; ".join(origins))


def _about(about: tuple[str, str]) -> str:
    return ", ".join(part for part in about if part)


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else value
