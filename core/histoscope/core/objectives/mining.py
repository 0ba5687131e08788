"""Choices that know the whole data set: groups of its images, and what is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from histoscope.core.errors import UsageError
from histoscope.core.losses.choices import apart
from histoscope.core.losses.contrast import REDUCTIONS, Similarities
from histoscope.core.losses.inter import inter_image, of_same_label, semi_hard
from histoscope.core.memory.bank import LabelledBank
from histoscope.core.memory.labels import PseudoLabels
from histoscope.core.objectives.choices import InterImage, SameLabel
from histoscope.core.objectives.contract import Clock, Corpus, Rows, Setting

BANK_DRAWS = ("bank, positive", "bank, negatives")


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


class Banked(nn.Module):
    """Xie et al. 2022, "Delving into Inter-Image Invariance" (InterCLR).

    A bank holds what was said last of every image, with the group that it is of. Groups begin anew
    with each epoch; between, images change theirs and centres move.

    Args:
        choice: its settings.
        dim: width of what is compared.
        reduction: of the rows, by name.
        setting: how many samples there are.

    Raises:
        UsageError: groups, pool and negatives do not fit into each other.
    """

    def __init__(self, choice: InterImage, dim: int, reduction: str, setting: Setting) -> None:
        super().__init__()
        clusters, self._pool, self._count = choice.sizes(setting.samples)
        self.choice, self._reduce, self._seed = choice, REDUCTIONS[reduction], setting.seed
        self.bank = LabelledBank(setting.samples, dim, clusters)

    def weight_at(self, clock: Clock) -> float:
        """Of the term now."""
        return self.choice.weight if clock.share >= self.choice.begins else 0.0

    def begin_epoch(self, network: nn.Module, corpus: Corpus, clock: Clock) -> None:
        """Group the bank anew; the first is what a network makes of all images as they are."""
        if clock.epoch == 0:
            self.bank.fill(corpus.encode(network))
        self.bank.cluster(self._seed, clock.epoch)

    def loss(
        self,
        sims: Sequence[Similarities],
        rows: Rows,
        draws: Mapping[str, Tensor],
        warmth: float | Tensor,
    ) -> Tensor:
        """Mean over all rows whose group has another image; both draws are of the image."""
        one, some = (draws[name] for name in BANK_DRAWS)
        mine, labels = self.bank.labels[rows.index], self.bank.labels
        positive, known = of_same_label(labels, rows.index, one)
        barred, features = mine[:, None] == labels[None], self.bank.features
        lost = []
        for anchors in (part for sim in sims for part in torch.split(sim.anchor, len(rows.index))):
            with torch.no_grad():
                cosines = anchors @ features.to(anchors.dtype).T
                negatives = semi_hard(cosines, barred, self._pool, self._count, some)
            sim = inter_image(anchors, features, positive, negatives, self.choice.ease)
            lost.append(self._reduce(sim, warmth).masked_fill(~known, 0).sum())
        return torch.stack(lost).mean() / known.sum().clamp(min=1)

    def after_step(self, features: Tensor, rows: Rows, clock: Clock) -> None:
        """Remember what was said of the images of a step, (batch, views, dim): its mean."""
        self.bank.put(nn.functional.normalize(features.mean(1), dim=1), rows.index)
        if (clock.step + 1) % self.choice.every == 0:
            self.bank.move_centres()


def same_of(setting: Setting) -> Tensor:
    """Dataset index of what shows nearly the same as each image, (samples, most); -1: none."""
    pairs = setting.relations()
    same = pairs.filter(pc.equal(pairs.column("kind"), "same"))
    rows, others = (same.column(name).to_numpy() for name in ("row", "other"))
    counts = np.bincount(rows, minlength=setting.samples)
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    out = np.full((setting.samples, max(1, counts.max(initial=0))), -1, np.int64)
    out[rows, slots] = others
    return torch.from_numpy(out)


def cases_of(setting: Setting) -> Tensor:
    """A number for the case of each image, where it is unknown for its source, (samples,).

    Raises:
        UsageError: all are of one.
    """
    cases, sources = (setting.table.column(name).to_pylist() for name in ("case", "source"))
    names = [f"case:{c}" if c else f"source:{s}" for c, s in zip(cases, sources, strict=True)]
    known, place = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    if len(known) < 2:
        raise UsageError("objective.positives: all images are of one case; there is no other")
    return torch.from_numpy(place.reshape(-1).astype(np.int64))
