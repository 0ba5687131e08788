"""What the main process writes down while it trains, and its pictures."""

from __future__ import annotations

import csv
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any, Self

from histoscope.core.errors import UsageError, refusal, writing
from histoscope.core.files import atomic_path, write_text

UNPLOTTED = {"step"}


class Journal:
    """``metrics.csv`` and ``monitors.csv``, and the same as TensorBoard's events if asked.

    Attributes:
        measured_before: the last row of ``monitors.csv`` that counts, when it was opened.
        lost: steps that count and have no row in ``metrics.csv``, which a machine tore off.

    Args:
        folder: of the run.
        done: steps that count; later rows are dropped.
        events: write ``tensorboard/``, too.
    """

    def __init__(self, folder: Path, done: int, *, events: bool) -> None:
        self.folder = folder
        self._metrics = MetricsFile(folder / "metrics.csv", done)
        self._monitors = MetricsFile(folder / "monitors.csv", done)
        self._events = _event_writer(folder / "tensorboard", done) if events else None
        self.measured_before = self._monitors.last
        self.lost = done - int((self._metrics.last or {"step": 0})["step"])

    def trained(self, row: Mapping[str, float]) -> None:
        """A step was made."""
        self._metrics.add(row)
        self._tell("train", row)

    def measured(self, row: Mapping[str, float]) -> None:
        """The monitor has measured."""
        self._monitors.add(row)
        self._tell("monitor", row)

    def _tell(self, group: str, row: Mapping[str, float]) -> None:
        if self._events is not None:
            with writing(self.folder / "tensorboard"):
                for name in row.keys() - UNPLOTTED:
                    self._events.add_scalar(f"{group}/{name}", row[name], row["step"])
                self._events.flush()  # a checkpoint may follow: what it counts must be on disk

    def __enter__(self) -> Self:
        self._hook, threading.excepthook = threading.excepthook, self._of_a_thread
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            with writing(self.folder / "tensorboard"):
                self._events.close()
        threading.excepthook = self._hook

    def _of_a_thread(self, fault: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread, and raises what that met at the next event, too."""
        if fault.exc_value is None or refusal(fault.exc_value) is None:
            self._hook(fault)


def draw_journal(folder: Path) -> None:
    """Draw ``curves.png`` and ``monitors.png``."""
    draw_curves(read_metrics(folder / "metrics.csv"), folder / "curves.png")
    draw_curves(read_metrics(folder / "monitors.csv"), folder / "monitors.png")


def check_events() -> None:
    """See that TensorBoard's events can be written.

    Raises:
        UsageError: the package is not there.
    """
    if find_spec("tensorboard") is None:
        raise UsageError(
            "training.tensorboard: the package tensorboard is not installed; "
            "pip install tensorboard, or leave it out: metrics.csv has the same figures"
        )


def _event_writer(folder: Path, done: int) -> Any:
    """TensorBoard drops what earlier files of the folder hold of later steps."""
    from torch.utils.tensorboard import SummaryWriter

    with writing(folder):
        return SummaryWriter(str(folder), purge_step=done + 1)


class MetricsFile:
    """One row a step, flushed at once; cut back to the checkpoint on resume.

    Attributes:
        last: the last row that counts, when it was opened.

    Args:
        path: ``metrics.csv``.
        done: steps that count; later rows are dropped.
    """

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        rows = [row for row in read_metrics(path) if int(row["step"]) <= done]
        self._names = list(rows[0]) if rows else []
        self.last = {k: float(v) for k, v in rows[-1].items()} if rows else None
        lines = [",".join(self._names)] * bool(rows) + [",".join(row.values()) for row in rows]
        if path.is_file():
            write_text(path, "".join(line + "\n" for line in lines))

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row; the first row's keys are the columns."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as handle:
            if not self._names:
                self._names = list(row)
                handle.write(",".join(self._names) + "\n")
            handle.write(",".join(_text(row[name]) for name in self._names) + "\n")


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of ``metrics.csv`` up to the first that is not whole, empty when absent.

    A machine that loses its power may leave a torn end, which must not keep a run from going on.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as handle:
        return list(takewhile(_whole, csv.DictReader(line.replace("\0", "") for line in handle)))


def _whole(row: Mapping[str | None, str | list[str] | None]) -> bool:
    """Whether every column has its number, and ``step`` a whole one."""
    step = row.get("step")
    return isinstance(step, str) and step.isdecimal() and all(map(_is_number, row.values()))


def _is_number(word: object) -> bool:
    try:
        float(word if isinstance(word, str) else "")
    except ValueError:
        return False
    return True


def draw_curves(rows: list[dict[str, str]], path: Path) -> None:
    """Draw every column of ``metrics.csv`` against the step, one panel each, as PNG."""
    from matplotlib.figure import Figure

    names = [name for name in (rows[0] if rows else {}) if name not in {"step", "seconds"}]
    if not names:
        return
    steps = [int(row["step"]) for row in rows]
    figure = Figure(figsize=(8, 2.2 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        panel.plot(steps, [float(row[name]) for row in rows], linewidth=1)
        panel.set_ylabel(name.replace("_", " "))
        panel.grid(alpha=0.3)
    panel.set_xlabel("step")
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=110)
