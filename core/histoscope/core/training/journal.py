"""What the main process writes down while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from histoscope.core.errors import UsageError
from histoscope.core.training.curves import MetricsFile, draw_curves, read_metrics

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
            for name in row.keys() - UNPLOTTED:
                self._events.add_scalar(f"{group}/{name}", row[name], row["step"])
            self._events.flush()  # a checkpoint may follow: what it counts must be on disk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()


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

    return SummaryWriter(str(folder), purge_step=done + 1)
