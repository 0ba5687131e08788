"""Methods that train all weights, from heads that are new or a probe's.

Chen et al. 2020 (SimCLRv2), section 2: with a cut within the projection head of a run its first
layers are trained, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from histoscope.core.contracts import Scalar
from histoscope.core.data.examples import Examples
from histoscope.core.data.truth import Truth
from histoscope.core.encoders.contract import USUAL
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.heads.linear import LinearHead
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.full import fine_tune, new_head
from histoscope.core.learning.probe import ProbeFitter
from histoscope.core.learning.spec import FinetuneSpec, FullSpec, ProbeFullSpec, SwavSpec


class FullFitter(Fitter):
    """All weights up to the cut, from new heads."""

    settings: ClassVar[type[FinetuneSpec]] = FullSpec
    on_features = False
    trains = True
    cuts = True

    @property
    def steps(self) -> Any:
        """How it is trained."""
        return self.spec.full

    @property
    def cut(self) -> Mapping[str, Scalar]:
        """Which layer is read, where it is not the usual output."""
        return {} if self.spec.cut == USUAL else {"cut": self.spec.cut}

    def fit(self, draw: Draw) -> Fitted:
        """A new head."""
        return Fitted(new_head(draw.truth, draw.dim), self.cut)

    def train(
        self,
        loaded: LoadedEncoder,
        device: torch.device,
        images: NDArray[np.uint8],
        truths: Sequence[Truth],
        starts: Sequence[Fitted],
        number: int,
    ) -> tuple[torch.nn.Module, list[Fitted]]:
        """See :func:`histoscope.core.learning.full.fine_tune`."""
        heads = [start.head for start in starts if isinstance(start.head, LinearHead)]
        module, tuned = fine_tune(
            loaded, device, images, truths, heads, self.steps, self.spec.seed, number
        )
        reason = f"not fitted for --method {self.spec.method}; scores only rank"
        return module, [
            Fitted(head, start.settings, reason) for head, start in zip(tuned, starts, strict=True)
        ]


class SwavFitter(FullFitter):
    """All weights, as SwAV."""

    settings = SwavSpec
    cuts = False

    @property
    def steps(self) -> Any:
        """How it is trained."""
        return self.spec.swav


class ProbeFullFitter(FullFitter):
    """All weights up to the cut, from the probe."""

    settings = ProbeFullSpec
    on_features = True

    def __init__(self, spec: ProbeFullSpec) -> None:
        super().__init__(spec)
        self._probe = ProbeFitter(spec)

    @property
    def centred(self) -> bool:
        """As the probe."""
        return self._probe.centred

    def warn(self, draws: Sequence[Examples]) -> list[str]:
        """As the probe."""
        return self._probe.warn(draws)

    def fit(self, draw: Draw) -> Fitted:
        """The probe; what is trained afterwards is not calibrated before."""
        head, strength, _ = self._probe.start(draw)
        return Fitted(head, {**self.cut, "strength": strength})
