"""What a package says of itself: the body of ``package.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import Field, model_validator

from histoscope.core import __version__
from histoscope.core.config import Spec
from histoscope.core.contracts import Level, Scalar, Task
from histoscope.core.encoders.folder import EncoderInfo

ONCE_TRAINED = ("full", "probe_full", "swav")  # methods of packages that do not say it
# Okabe and Ito's colours, told apart by colour-blind readers; then darker ones
PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442"),
    *("#7f3c8d", "#3969ac", "#80ba5a", "#8c564b", "#666666", "#17becf", "#b5bd61"),
)


class ClassInfo(Spec):
    """One class of a head."""

    id: int
    name: str
    colour: str


class HeadInfo(Spec):
    """What a head answers, how it was made, and how good it is known to be.

    Attributes:
        task, level, classes, exclusive: the question.
        kind: of the head, as the registry has it.
        method: see :class:`histoscope.core.learning.spec.FinetuneSpec`.
        trained: whether it trained the encoder, too.
        labels: labels of each draw.
        drawn: digest of the samples or sources of each draw, to know the same draws again.
        fraction, cases_per_class, whole_cases, subsets, draw_by, seed: how they were drawn.
        settings: what was chosen inside each draw: strength, neighbours, temperature.
        calibration: ``{"kind": "temperature" or "none", "reason": ...}``.
        thresholds: one row a draw, from which probability on a class counts as present; None
            where classes are exclusive.
        untold: one list a draw, classes whose scores told nothing of held-out labels; see
            :func:`~histoscope.core.learning.thresholds.threshold_of`.
        evaluation: summary of the last recorded evaluation on held-out cases, or None.
    """

    task: str
    level: str
    exclusive: bool = True
    classes: Sequence[ClassInfo]
    kind: str = ""
    method: str
    trained: bool = False
    labels: Sequence[int] = Field(min_length=1)
    drawn: Sequence[str]
    fraction: float | None
    cases_per_class: int | None = Field(None, exclude_if=lambda count: count is None)
    whole_cases: int | None = Field(None, exclude_if=lambda count: count is None)
    subsets: Sequence[Sequence[str]] | None = Field(None, exclude_if=lambda given: given is None)
    draw_by: str
    seed: int
    settings: Sequence[Mapping[str, Scalar]] = ()
    calibration: Mapping[str, Scalar]
    thresholds: Sequence[Sequence[float]] | None = None
    untold: Sequence[Sequence[str]] | None = Field(None, exclude_if=lambda draws: draws is None)
    evaluation: Mapping[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_older_packages(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "trained" not in given:
            return {**given, "trained": given.get("method") in ONCE_TRAINED}
        return given

    @property
    def only_ranks(self) -> bool:
        """See :func:`only_ranks`."""
        return only_ranks(self.level, self.calibration)

    @property
    def asked_task(self) -> Task:
        """The task."""
        names = tuple(kind.name for kind in self.classes)
        return Task(self.task, names, self.exclusive, cast(Level, self.level))


class PackageInfo(Spec):
    """The body of ``package.json``."""

    encoder: EncoderInfo
    heads: Sequence[HeadInfo] = Field(min_length=1)
    program: str = __version__


def only_ranks(level: str, calibration: Mapping[str, Scalar]) -> bool:
    """Whether a head's scores are of sources and not calibrated: no score is low enough to doubt.

    Args:
        level, calibration: see :class:`HeadInfo`.
    """
    return level == "source" and calibration["kind"] == "none"


def class_infos(task: Task, first: int = 0) -> list[ClassInfo]:
    """Classes with ids and the palette's colours, from its ``first`` on."""
    return [
        ClassInfo(id=place, name=name, colour=PALETTE[(first + place) % len(PALETTE)])
        for place, name in enumerate(task.classes)
    ]
