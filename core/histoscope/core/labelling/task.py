"""What labels shall answer, and which samples of a store have an answer already."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from histoscope.core.contracts import Level, Task
from histoscope.core.data.store import Store
from histoscope.core.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_-]+")


def class_names(text: str | None) -> list[str]:
    """Names of classes as ``--classes`` gives them: one line of CSV; None gives none.

    Raises:
        UsageError: no such line, or a name is empty or stands twice.
    """
    if text is None:
        return []
    try:
        (names,) = csv.reader([text], skipinitialspace=True, strict=True)
    except csv.Error as fault:
        raise UsageError(
            f"--classes {text!r}: not CSV ({fault}); put a name with a comma in quotation marks"
        ) from None
    names = [name.strip() for name in names] or [""]
    for place, name in enumerate(names):
        if not name or "\n" in name:
            raise UsageError(f"--classes {text!r}: a name is {'of two lines' if name else 'empty'}")
        if name in names[:place]:
            raise UsageError(f"--classes {text!r}: {name!r} stands twice")
    return names


def class_line(classes: Sequence[str]) -> str:
    """What :func:`class_names` reads."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(classes)
    return line.getvalue()


def asked_task(
    store: Store,
    name: str | None,
    classes: Sequence[str],
    several: bool,
    answered: Sequence[Task] = (),
    level: Level = "sample",
) -> Task:
    """The task that a person speaks of.

    Args:
        store: whose label tables know tasks.
        name: of the task; None: the only one of ``answered``, else the store's only one.
        classes: its classes in order; empty: those of ``answered``, else of the store's table.
        several: any number of classes may hold at once; where the task is known it says so itself.
        answered: the tasks of a package.
        level: what labels speak of; where the task is known it says so itself.

    Raises:
        UsageError: no name or no classes can be told, or they are not those of the store's table.
    """
    names = [task.name for task in answered] or store.tasks()
    if name is None and len(names) != 1:
        raise UsageError(f"give --task NAME (known: {', '.join(names) or 'none'})")
    name = name or names[0]
    if not _NAME.fullmatch(name):
        raise UsageError(f"--task {name}: letters, digits, _ and - make a task's name")
    known = [task for task in answered if task.name == name]
    if name in store.tasks():
        known.append(store.labels(name).task)
    if not classes and not any(task.classes for task in known):
        raise UsageError(f"--task {name}: {store.path} knows no class of it; give --classes A,B,C")
    for task in known:
        missing = [kind for kind in task.classes if classes and kind not in classes]
        if missing:
            raise UsageError(f"--classes: lacks {', '.join(missing)}, a class of {name!r} already")
        if several and task.exclusive:
            raise UsageError(f"--several: exactly one class of {name!r} holds, as it is known")
    exclusive = known[0].exclusive if known else not several
    level = known[0].level if known else level
    return Task(name, tuple(classes) or known[0].classes, exclusive, level)


def labelled_ids(store: Store, task: Task) -> frozenset[str]:
    """Samples that the store's table of this task knows anything of."""
    return store.labels(task.name).known() if task.name in store.tasks() else frozenset()
