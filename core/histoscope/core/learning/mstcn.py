"""Stages of dilated convolutions over the samples of a source, from labels of some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from histoscope.core.data.examples import Examples
from histoscope.core.heads.contract import Bags, Labels
from histoscope.core.heads.dilated import logits_of, shapes_of_stage
from histoscope.core.heads.mstcn import StagesHead, scaled
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.spec import FinetuneSpec, StagesSpec, StagesStepsSpec
from histoscope.core.randomness import generator

_SAID = {
    True: "causal, an answer reads its sample and those before it; --set mstcn.causal=false lets "
    "it read those that follow, too",
    False: "not causal, an answer reads samples before and after its own, which only a finished "
    "source has",
}


class StagesFitter(Fitter):
    """MS-TCN on features as they are: a source a step, all in turn in a seeded order.

    Farha and Gall 2019, section 3.3: of each stage the cross-entropy and the smoothing loss, summed
    over the stages; Adam. Differs: a constant number of steps, the rate on a cosine to 0; losses
    are of labelled samples only; a source with gaps is taken stretch by stretch, each time at
    another pace, see :func:`at_a_pace`; features are taken at unit length about the mean of
    unlabelled ones, as the probe's. ``balanced`` weighs classes as Czempiel et al. 2020 do.
    """

    settings: ClassVar[type[FinetuneSpec]] = StagesSpec
    several = False
    ordered = True

    @property
    def centred(self) -> bool:
        """It looks from there."""
        return True

    def warn(self, draws: Sequence[Examples]) -> list[str]:
        """Which samples an answer reads."""
        return [f"heads of {draws[0].task.name} are {_SAID[self.spec.mstcn.causal]}"]

    def fit(self, draw: Draw) -> Fitted:
        """The head of a draw."""
        assert draw.bags is not None
        assert draw.centre is not None
        told, seed = self.spec.mstcn, self.spec.seed
        bags = Bags(scaled(draw.bags.features, draw.centre), draw.bags.starts)
        weights = new_stages(draw.dim, len(draw.truth.task.classes), told, seed)
        labels = draw.truth.values
        classes = class_weights(labels, len(draw.truth.task.classes)) if told.balanced else None
        train(weights, bags, labels, told, seed, classes)
        stages = {name: one.detach().numpy() for name, one in weights.items()}
        head = StagesHead(draw.centre, stages, told.causal)
        reason = "not fitted for --method mstcn; scores only rank"
        return Fitted(head, {"causal": told.causal}, reason)


def new_stages(dim: int, classes: int, told: StagesStepsSpec, seed: int) -> dict[str, Tensor]:
    """Tensors of all stages, as torch draws those of a convolution: U(-b, b), b = 1 / √inputs.

    Args:
        dim: width of a feature row.
        classes: how many there are.
        told: how many stages, layers and maps.
        seed: of the draw.
    """
    draw, out = generator(seed, "mstcn/weights"), dict[str, Tensor]()
    for stage in range(told.stages):
        shapes = shapes_of_stage(classes if stage else dim, told.layers, told.maps, classes)
        for name, shape in shapes.items():
            bound = shapes[f"{name.partition('.')[0]}.weight"][-1] ** -0.5
            values = draw.uniform(-bound, bound, shape).astype(np.float32)
            out[f"stages.{stage}.{name}"] = torch.from_numpy(values).requires_grad_()
    return out


def train(
    weights: Mapping[str, Tensor],
    bags: Bags,
    labels: Labels,
    told: StagesStepsSpec,
    seed: int,
    classes: Tensor | None = None,
) -> None:
    """Train the stages: a source a step.

    Args:
        weights: that move, see :func:`new_stages`.
        bags: sources or stretches of them, their rows scaled.
        labels: of each row, -1 unknown, (rows,).
        told: steps, rate, dropout, paces and losses.
        seed: of the order, of paces and of dropout.
        classes: weight of each in the cross-entropy; None: all the same.
    """
    optimiser = torch.optim.Adam(weights.values(), lr=told.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, told.steps)
    known = [(labels[start:end] >= 0).any() for start, end in pairwise(bags.starts)]
    taught = np.flatnonzero(known)
    rows, truth = torch.from_numpy(bags.features), torch.from_numpy(labels)
    paces = generator(seed, "mstcn/paces")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for place in taught[order_of(len(taught), told.steps, seed)].tolist():
            start, end = bags.starts[place : place + 2].tolist()
            part = start + torch.from_numpy(at_a_pace(labels[start:end], told.stretch, paces))
            logits = logits_of(rows[part], weights, told.causal, told.dropout)
            loss = loss_of(logits, truth[part], told.smoothing, told.limit, classes)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()


def at_a_pace(labels: Labels, stretch: float, draw: np.random.Generator) -> NDArray[np.int64]:
    """Which rows of a source are seen, as if it had lasted longer or shorter.

    Few sources have few paces, which stages learn by heart; from many they learn what follows what.
    The pace is log-uniform between 1 / stretch and stretch: above 1 rows are left out, below 1
    repeated. Where that would leave out every label, rows are as they are.

    Args:
        labels: of its rows, -1 unknown.
        stretch: the greatest pace; 1: rows as they are.
        draw: of the pace.

    Returns:
        Places of rows, in order.
    """
    count, pace = len(labels), stretch ** draw.uniform(-1, 1)
    middles = np.arange(max(1, round(count / pace))) + 0.5
    seen = np.minimum((middles * pace).astype(np.int64), count - 1)
    return seen if (labels[seen] >= 0).any() else np.arange(count)


def order_of(count: int, steps: int, seed: int) -> NDArray[np.int64]:
    """Which source a step takes: all in turn, each time in another order, (steps,)."""
    draw = generator(seed, "mstcn/order")
    rounds = [draw.permutation(count) for _ in range(-(-steps // count))]
    return np.concatenate(rounds)[:steps].astype(np.int64)


def class_weights(labels: Labels, classes: int) -> Tensor:
    """Median frequency balancing: the median share of the classes that are there by each's own.

    Args:
        labels: class ids, -1 where unknown, (rows,).
        classes: how many there are.

    Returns:
        float32, (classes,), 0 of a class without a label.
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    median = np.median(counts[counts > 0])
    weights = np.divide(median, counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights.astype(np.float32))


def loss_of(
    logits: Sequence[Tensor],
    truth: Tensor,
    smoothing: float,
    limit: float,
    classes: Tensor | None = None,
) -> Tensor:
    """Cross-entropy and so much of the smoothing loss, summed over the stages, in nats.

    Args:
        logits: of each stage, of the samples of one source in order, (rows, classes) each.
        truth: class ids, -1 where unknown, (rows,); something must be known.
        smoothing: weight of the smoothing loss; lambda of the paper.
        limit: see :func:`unsteadiness`.
        classes: weight of each in the cross-entropy, which is a weighted mean; None: all the same.
    """
    known, total = truth >= 0, logits[0].new_zeros(())
    for told in logits:
        rough = unsteadiness(told, known, limit)
        crossed = cross_entropy(told[known], truth[known], classes)
        total = total + crossed + smoothing * rough
    return total


def unsteadiness(logits: Tensor, known: Tensor, limit: float) -> Tensor:
    """How much log probabilities change from sample to sample: a truncated mean square.

    Mean over neighbours and classes of min(|log p(t) - log p(t - 1)|, limit)², where the earlier
    sample has no gradient; Farha and Gall 2019, eq. 8 to 10. Differs: only of neighbours that are
    both known.

    Args:
        logits: (rows, classes).
        known: which samples have a label, (rows,).
        limit: above which a change counts no more; tau of the paper.
    """
    told, both = log_softmax(logits, dim=1), known[1:] & known[:-1]
    change = (told[1:] - told[:-1].detach()).abs().clamp(max=limit)
    return (change[both] ** 2).sum() / (both.sum().clamp(min=1) * logits.shape[1])
