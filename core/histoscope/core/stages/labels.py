"""Labels given by hand, for the label table of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from histoscope.core.contracts import Labelling, Task
from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.labels import LabelTable
from histoscope.core.data.named import NamedSources
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.labelling.gather import (
    LabelFile,
    Value,
    gather,
    label_file_of,
    read_label_file,
)
from histoscope.core.labelling.task import asked_task
from histoscope.core.progress import Progress
from histoscope.core.tables.classes import AS_WRITTEN, ClassNames


def read_labels(store: Store, path: Path, meant: ClassNames = AS_WRITTEN) -> LabelFile:
    """A file of labels, in a form of the store's domain or as :func:`read_label_file` has it.

    Args:
        store: whose samples or sources are spoken of.
        path: the file.
        meant: what the person said of the names of classes.

    Raises:
        DataError: not such a file.
    """
    domain = load_domain(store.domain)
    own = None
    if isinstance(domain, Labelling):
        own = domain.own_labels(path, store.index, store.manifest)
    if own is None:
        return read_label_file(path, meant, store.naming.words)
    renamed = {name: meant.renamed.get(name, name) for name in own.classes}
    unknown = meant.unknown & set(own.classes)
    values: dict[tuple[str, str], Value] = {
        (sample, ""): renamed[kind] for sample, kind in own.values.items() if kind not in unknown
    }
    kinds = tuple(dict.fromkeys(renamed[one] for one in own.classes if one not in unknown))
    written = frozenset(own.classes)
    return LabelFile(path.name, own.task, "sample", True, kinds, values, written=written)


def import_labels(
    store: Store,
    files: Sequence[LabelFile],
    name: str | None,
    classes: Sequence[str],
    *,
    meant: ClassNames = AS_WRITTEN,
    out: Path | None,
    later_wins: bool,
    progress: Progress,
) -> LabelTable:
    """What files say, joined to what the tables say already that it shall go to.

    Args:
        store: whose samples or sources are spoken of.
        files: what the files say, in their order; the store's table was first, then ``out``.
        name: of the task; None: as the files say.
        classes: in order; empty: those of the tables, else those that the files give.
        meant: what the person said of the names of classes.
        out: where the table shall go; None: it replaces the store's.
        later_wins: as in :func:`gather`.
        progress: told each contradiction.

    Raises:
        UsageError: no task is named, its table is one that ``prepare`` writes anew, or ``out`` is
            not a place for it.
        DataError: no label in the files, or as in :func:`gather`.
    """
    if out:
        _check_place(out, store.path)
    if not any(file.values for file in files):
        raise DataError(f"no label in {', '.join(file.name for file in files)}")
    where = ", ".join(file.name for file in files)
    meant.check_used(frozenset[str]().union(*(file.written for file in files)), where)
    told = list(dict.fromkeys(file.task for file in files if file.task))
    name = name or (told[0] if told else None)
    if name is None:
        raise UsageError("the files do not say of which task they are: give --task NAME")
    before = store.labels(name) if name in store.tasks() else None
    if before and out is None and before.origin == "prepare":
        raise UsageError(
            f"{store.path}: prepare writes its labels of {name!r} anew from the sources; give "
            "another --task, or --out FILE.parquet and that to --labels"
        )
    there = _table_at(out, name) if out and out.exists() else None
    known = [table.task for table in (there, before) if table]
    task = _task(store, files, name, classes, known, meant)
    first = [label_file_of(before.origin or "the store", before)] if before else []
    if out and there:
        first.append(label_file_of(out.name, there, there.origin))
    if task.level == "source":
        files = [_by_id(file, store) for file in files]
        names = list(store.manifest)
    else:
        names = store.index.column("id").to_pylist()
    return gather(
        [*first, *files], task, names, str(store.path), later_wins=later_wins, progress=progress
    )


def _by_id(file: LabelFile, store: Store) -> LabelFile:
    """What a file says of sources by their path, or its end, said by their id.

    Raises:
        DataError: a name is that of several sources, or two names are of one source and contradict.
    """
    known, values = NamedSources(store.manifest, store.naming), dict[tuple[str, str], Value]()
    for (name, kind), value in file.values.items():
        found = known.id_of(name, file.name) or name
        if values.setdefault((found, kind), value) != value:
            raise DataError(f"{file.name}: source {name} stands twice, with two labels")
    return replace(file, values=values)


def _task(
    store: Store,
    files: Sequence[LabelFile],
    name: str,
    classes: Sequence[str],
    known: Sequence[Task],
    names: ClassNames,
) -> Task:
    """The task that the files speak of, with the classes of the tables that know it."""
    found = dict.fromkeys(kind for task in known for kind in task.classes)
    said = dict.fromkeys(kind for file in files for kind in file.classes)
    given = list(classes) or list(found or said)
    if not classes and not found:
        names.check(said, ", ".join(file.name for file in files))
    several = not known and not files[0].exclusive
    return asked_task(store, name, given, several, known, files[0].level)


def _check_place(out: Path, store: Path) -> None:
    """See that a label table may be written there, which is not in the store."""
    if out.suffix != ".parquet":
        raise UsageError(f"--out {out}: a label table is a .parquet file")
    if out.is_dir():
        raise UsageError(f"--out {out}: a folder, where a file is needed; give another --out")
    above = [folder for folder in out.absolute().parents if folder.exists()]
    if not above[0].is_dir():
        raise UsageError(f"--out {out}: {above[0]} is a file; give another --out")
    if any(folder.exists() and folder.samefile(store) for folder in out.resolve().parents):
        raise UsageError(f"--out {out}: in the store; leave --out away, or give another")


def _table_at(out: Path, name: str) -> LabelTable:
    """The label table of the same task that ``out`` is already."""
    try:
        there = LabelTable.read(out)
    except DataError as fault:
        raise DataError(f"--out {fault}; give another --out") from None
    if there.task.name != name:
        raise DataError(
            f"--out {out}: labels of {there.task.name!r}, not of {name!r}; give another --out"
        )
    return there
