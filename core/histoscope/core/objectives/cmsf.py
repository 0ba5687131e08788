"""CMSF: mean shift, half of it to neighbours that are also near by other lights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, SerializeAsAny
from torch import Tensor

from histoscope.core.encoders.contract import Encoder
from histoscope.core.errors import UsageError
from histoscope.core.memory.bank import LastFeatures
from histoscope.core.memory.clustering import kmeans, labels_of
from histoscope.core.memory.queue import NOBODY, FeatureQueue
from histoscope.core.objectives.choices import ChoiceSpec
from histoscope.core.objectives.contract import (
    Clock,
    Corpus,
    LossReport,
    Projected,
    Rows,
    Setting,
)
from histoscope.core.objectives.msf import MSF, Candidates, MeanShiftSpec
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.randomness import generator


class ConstraintSpec(ChoiceSpec):
    """Who may be a neighbour in the other half."""


class SameCluster(ConstraintSpec):
    """CMSF-KM: what was in the same group of all targets of the epoch before."""

    kind: Literal["kmeans"] = Field("kmeans", description="a group, or neighbours of old")
    clusters: int | None = Field(
        None, ge=1, description="groups of all samples; default: a 25th of them, at most 50,000"
    )

    def count(self, samples: int) -> int:
        """Clusters of so many samples: by default the paper's share of ImageNet.

        Raises:
            UsageError: more than there are samples.
        """
        clusters = self.clusters or max(1, min(50_000, samples // 25))
        if clusters > samples:
            raise UsageError(
                f"objective.constraint.clusters: {clusters} are more than the {samples} samples; "
                f"--set objective.constraint.clusters={samples}"
            )
        return clusters


class EarlierNeighbours(ConstraintSpec):
    """CMSF-2Q: the nearest by what was said of both when they were seen before."""

    kind: Literal["second_bank"] = Field("second_bank", description="neighbours of old")
    nearest: int = Field(10, ge=1, description="how many, the image itself among them")


ConstraintSpec.known = {"kmeans": SameCluster, "second_bank": EarlierNeighbours}


class CMSFSpec(MeanShiftSpec):
    """Settings of CMSF."""

    base: Literal["cmsf"] = Field("cmsf", description="the method")
    constraint: SerializeAsAny[ConstraintSpec] = Field(
        SameCluster(), description="who is a neighbour in the other half, name or long form"
    )


class CMSF(MSF):
    """Navaneet et al. 2022, "Constrained Mean Shift": half of MSF, half of it constrained.

    Beside MSF's memory it keeps the last target of every image. By ``kmeans`` these are grouped
    when an epoch begins; an image that was not seen in an earlier one is of no group, and barred
    from nobody. By ``second_bank`` neighbours are among the nearest by the targets before those
    that are remembered; who has none is no neighbour. Both means are over the neighbours that
    there are (the paper's code fills up with any).

    Args:
        encoder: images to features.
        spec: as of MSF, and the constraint.
        setting: how many samples there are.

    Raises:
        UsageError: as MSF; more groups than samples.
    """

    settings: ClassVar[type[MethodSpec]] = CMSFSpec
    labels: Tensor

    def __init__(self, encoder: Encoder, spec: CMSFSpec, setting: Setting) -> None:
        super().__init__(encoder, spec, setting)
        self.constraint, self._seed = spec.constraint, setting.seed
        self.last = LastFeatures(setting.samples, spec.projector.out)
        if isinstance(self.constraint, SameCluster):
            self._clusters = self.constraint.count(setting.samples)
            self.register_buffer("labels", torch.full((setting.samples,), NOBODY))
        else:
            self.past = FeatureQueue(spec.neighbours.rows, spec.projector.out)

    def begin_epoch(self, corpus: Corpus, clock: Clock) -> None:
        """Group the last targets of the images that were seen."""
        seen = self.last.visits.nonzero()[:, 0]
        if isinstance(self.constraint, SameCluster) and len(seen):
            rows, rng = self.last.features[seen], generator(self._seed, "cmsf/kmeans", clock.epoch)
            centres = kmeans(rows, min(self._clusters, len(seen)), rng)
            self.labels[seen] = labels_of(rows, centres)

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """Half of MSF's, half of the same with fewer neighbours."""
        given = self.candidates(projected, rows)
        plain, held = self.pulled(given, given.cosines, clock)
        near, fewer = self.pulled(given, self._constrained(given, rows), clock)
        shown = {"neighbours": held.double().mean(), "constrained": fewer.double().mean()}
        return LossReport([(0.5, plain.mean()), (0.5, near.mean())], shown)

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """Remember the targets, and beside them what was said of their images before."""
        if isinstance(self.constraint, EarlierNeighbours):
            index = torch.where(self.last.visits[rows.index] > 0, rows.index, NOBODY)
            self.past.put(self.last.features[rows.index], index)
        self.last.put(projected.answers["target"][:, 0], rows.index)
        super().after_step(projected, rows, clock)

    def _constrained(self, given: Candidates, rows: Rows) -> Tensor:
        """Cosines of targets and columns, -inf also where the constraint says so."""
        if isinstance(self.constraint, EarlierNeighbours):
            return self._near_before(given, rows, self.constraint.nearest)
        mine, theirs = self.labels[rows.index], self.labels[given.index.clamp(min=0)]
        same = (mine[:, None] == theirs[None]) | (mine < 0)[:, None] | (theirs < 0)[None]
        return given.cosines.masked_fill(~same, -torch.inf)

    def _near_before(self, given: Candidates, rows: Rows, nearest: int) -> Tensor:
        if nearest >= len(given.columns):
            return given.cosines
        mine, there = self.last.features[rows.index], self.last.visits[rows.index] > 0
        unknown = ~torch.cat([there, self.past.index >= 0])
        cosines = (mine @ torch.cat([mine, self.past.features]).T).masked_fill_(
            (given.cosines == -torch.inf) | unknown | ~there[:, None], -torch.inf
        )
        values, places = cosines.topk(nearest - 1, dim=1)
        kept = given.cosines.gather(1, places).masked_fill(values == -torch.inf, -torch.inf)
        return torch.full_like(given.cosines, -torch.inf).scatter_(1, places, kept)
