"""Choices that know the whole data set: groups of its images, begun anew with an epoch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from histoscope.core.errors import UsageError
from histoscope.core.losses.choices import apart
from histoscope.core.losses.contrast import Similarities
from histoscope.core.memory.labels import PseudoLabels
from histoscope.core.objectives.choices import SameLabel
from histoscope.core.objectives.contract import Clock, Corpus, Rows, Setting


class Grouped(nn.Module):
    """Chen et al. 2022, "Incremental False Negative Detection for Contrastive Learning" (IFND).

    Images of one group are false negatives of each other, once both are among the surest; how many
    these are rises with the run. Groups are of several sizes, and the loss is the mean over them.

    Args:
        choice: its settings.
        setting: how many samples there are.

    Raises:
        UsageError: more groups than samples.
    """

    def __init__(self, choice: SameLabel, setting: Setting) -> None:
        super().__init__()
        if max(choice.clusters) > setting.samples:
            raise UsageError(
                f"objective.negatives.clusters: {max(choice.clusters)} groups of {setting.samples} "
                "samples; give fewer"
            )
        self.choice, self._seed, self._samples = choice, setting.seed, setting.samples
        self.groups = PseudoLabels(setting.samples, choice.clusters)

    def begin_epoch(self, encoder: nn.Module, corpus: Corpus, clock: Clock) -> None:
        """Group the features that an encoder makes of all images, when it is time."""
        if clock.epoch % self.choice.every == 0:
            features = corpus.encode(encoder)
            self.groups.cluster(features, self.choice.temperature, self._seed, clock.epoch)

    def without(
        self, sim: Similarities, rows: Rows, clock: Clock, shown: dict[str, Tensor]
    ) -> list[Similarities]:
        """Cosines without false negatives, once for each size of groups; as they are before any."""
        assert sim.index is not None
        shown["confidence"] = self.groups.confidence[:, rows.index]
        shown["false_negatives"] = torch.zeros_like(sim.logits[0, 0])
        accepted = self.choice.accepted(clock.share, self._samples)
        if not accepted:
            return [sim]
        matched = sim.index[:0] if sim.own.matched is None else sim.own.matched
        mine, theirs, opposing = (
            self.groups.of(index, accepted) for index in (rows.index, sim.index, matched)
        )
        mine = mine.repeat(1, len(sim.anchor) // len(rows.index))
        changed = [apart(sim, *size) for size in zip(mine, theirs, opposing, strict=True)]
        false = torch.stack([(one.ignored & ~sim.ignored).sum(1) for one in changed])
        shown["false_negatives"] = false.double()
        return changed
