"""What a method owes that turns few labels into heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from histoscope.core.contracts import Level, Scalar, Task
from histoscope.core.data.examples import Examples
from histoscope.core.data.truth import Truth
from histoscope.core.encoders.contract import USUAL
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.layers import HEAD
from histoscope.core.errors import UsageError
from histoscope.core.heads.contract import Bags, Head, Rows
from histoscope.core.learning.spec import FinetuneSpec


@dataclass(frozen=True)
class Draw:
    """What one draw sees of one task.

    Attributes:
        truth: of its examples; for an ordered method of every row of ``bags``, -1 where the draw
            has no label.
        units: case (else source or sample) of each; empty where the draw has no label.
        bags: their features, None where the method reads none; for an ordered method a bag is a
            source, or a stretch of one without a gap, with all its readable samples of the part;
            the draw may have no label there.
        dim: width of features.
        centre: mean feature of unlabelled samples, (dim,), None where the method wants none.
        uncalibrated: why the smallest draw of the task is not enough to calibrate on, if so.
        layers: where each layer stands in a row of features; empty where there is one alone.
    """

    truth: Truth
    units: Sequence[str]
    bags: Bags | None
    dim: int
    centre: Rows | None = None
    uncalibrated: str | None = None
    layers: Mapping[str, slice] = field(default_factory=dict)

    def layer(self, name: str) -> Draw:
        """What it sees of one layer."""
        assert self.bags is not None
        place = self.layers[name]
        centre = None if self.centre is None else self.centre[place]
        dim = place.stop - place.start
        return replace(self, bags=self.bags.part(place), dim=dim, centre=centre, layers={})


@dataclass(frozen=True)
class Fitted:
    """A head, what was chosen for it inside its draw, and why it is not calibrated, if so.

    Attributes:
        head: that answers.
        settings: what was chosen, in words and numbers.
        uncalibrated: why it is not calibrated.
        untold: which classes' scores told nothing of held-out labels, where several may hold; see
            :func:`~histoscope.core.learning.thresholds.threshold_of`.
    """

    head: Head
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    uncalibrated: str | None = None
    untold: Sequence[str] = ()


class Fitter:
    """Turns the labels of a draw into a head; a method is such a class.

    Attributes:
        settings: what it is made from; ``method`` is its name in the registry.
        levels: of the tasks that it answers.
        several: whether it answers tasks of which several classes may hold.
        on_features: whether it reads features of the encoder as it is.
        ordered: whether its heads are, see :func:`~histoscope.core.heads.contract.is_ordered`.
        trains: whether it changes the encoder.
        cuts: whether it reads other layers than the usual output; where it changes the encoder,
            those of a projection head alone.
    """

    settings: ClassVar[type[FinetuneSpec]]
    levels: ClassVar[Sequence[Level]] = ("sample",)
    several: ClassVar[bool] = True
    on_features: ClassVar[bool] = True
    ordered: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    cuts: ClassVar[bool] = False

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    @property
    def centred(self) -> bool:
        """Whether it wants the mean feature of unlabelled samples."""
        return False

    def check(self, task: Task) -> None:
        """Raise UsageError where it cannot answer a task, or not from the layers asked for."""
        cut, method = self.spec.cut, self.spec.method
        if cut != USUAL and not self.cuts:
            raise UsageError(
                f"--cut {cut}: is of --method probe, full and probe_full; {method} reads the usual "
                "output"
            )
        if cut != USUAL and self.trains and not cut.startswith(f"{HEAD}."):
            raise UsageError(
                f"--cut {cut}: is of --method probe; {method} takes usual or, of a run, a layer of "
                "its head by its name, as head.1"
            )
        if task.level not in self.levels:
            raise UsageError(
                f"--method {self.spec.method}: answers no task of a {task.level}, as {task.name!r} "
                "is; use probe"
            )
        if not (task.exclusive or self.several):
            raise UsageError(
                f"--method {self.spec.method}: answers tasks of one class a {task.level} only; use "
                "probe"
            )

    def check_width(self, dim: int) -> None:
        """Raise UsageError where it cannot read features of an encoder, of that width."""

    def warn(self, draws: Sequence[Examples]) -> list[str]:
        """What a person should know of the draws of a task beforehand."""
        return []

    def fit(self, draw: Draw) -> Fitted:
        """The head of a draw; where weights are trained, its start."""
        raise NotImplementedError

    def train(
        self,
        loaded: LoadedEncoder,
        device: torch.device,
        images: NDArray[np.uint8],
        truths: Sequence[Truth],
        starts: Sequence[Fitted],
        number: int,
    ) -> tuple[torch.nn.Module, list[Fitted]]:
        """The encoder and the heads of a draw when all weights are trained.

        Args:
            loaded: the encoder; it stays as it is.
            device: where it is trained.
            images: uint8, (images, height, width, 3), of all tasks' labels.
            truths: one a task, of all images.
            starts: one a task.
            number: of the draw.
        """
        raise NotImplementedError
