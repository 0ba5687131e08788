"""Stages of dilated convolutions over the samples of a source, from labels of some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    log_softmax,
    logsigmoid,
)

from histoscope.core.contracts import Scalar
from histoscope.core.data.examples import Examples, unit_name
from histoscope.core.heads.contract import Bags, Labels
from histoscope.core.heads.dilated import logits_of, shapes_of_stage
from histoscope.core.heads.mstcn import StagesHead, scaled
from histoscope.core.learning.calibration import best_temperature
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.held_out import (
    CaseFolds,
    bag_of_rows,
    chosen_cut,
    held_out_logits,
    unfitted_cut,
)
from histoscope.core.learning.probe import LEAST
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
    unlabelled ones, as the probe's. ``balanced`` weighs classes as Czempiel et al. 2020 do. Where
    several classes may hold, which the paper has not, see :func:`loss_of`. Temperature and
    thresholds are chosen on cases that were held out: for each of at most five folds the stages
    are trained once more, on the others, where there are labels enough.
    """

    settings: ClassVar[type[FinetuneSpec]] = StagesSpec
    ordered = True

    @property
    def centred(self) -> bool:
        """It looks from there."""
        return True

    def warn(self, draws: Sequence[Examples]) -> list[str]:
        """Which samples an answer reads, and what is chosen on held-out cases, or is not."""
        name = draws[0].task.name
        said = [f"heads of {name} are {_SAID[self.spec.mstcn.causal]}"]
        dealt = [self._dealt_of(draw) for draw in draws]
        if draws[0].task.exclusive:
            if not any(folds.uncalibrated for folds in dealt):
                said.append(_again(name, dealt, "temperatures are"))
            return said
        if chosen := [folds for folds in dealt if folds.choosable.any()]:
            said.append(_again(name, chosen, "thresholds are"))
        if few := sum(not folds.choosable.all() for folds in dealt):
            said.append(
                f"{name}: {few} of {len(draws)} draws have some class with fewer than {LEAST} "
                "labels of its presence or absence, or in too few cases to hold one out; its "
                "threshold is 0.5 there, not chosen, and one without any label is never answered"
            )
        return said

    def _dealt_of(self, draw: Examples) -> CaseFolds:
        bags = np.unique(np.asarray(draw.sources, dtype=str), return_inverse=True)[1]
        return CaseFolds.of(draw.truth, draw.units, bags, self.spec.seed)

    def fit(self, draw: Draw) -> Fitted:
        """The head of a draw; calibrated, or with thresholds, where it has labels enough."""
        assert draw.bags is not None
        bags = bag_of_rows(draw.bags.starts)
        folds = CaseFolds.of(draw.truth, draw.units, bags, self.spec.seed)
        make = self._calibrated if draw.truth.task.exclusive else self._with_thresholds
        return make(self.learn(draw), draw, folds)

    def _calibrated(self, head: StagesHead, draw: Draw, folds: CaseFolds) -> Fitted:
        settings: dict[str, Scalar] = {"causal": self.spec.mstcn.causal}
        if reason := draw.uncalibrated or folds.uncalibrated:
            return Fitted(head, settings, reason)
        logits = held_out_logits(self.learn, draw, folds)
        temperature = best_temperature(logits, folds.truth.values)
        settings |= {"held_out": unit_name(folds.cases.tolist()), "temperature": temperature}
        return Fitted(head.cooled(temperature), settings)

    def _with_thresholds(self, head: StagesHead, draw: Draw, folds: CaseFolds) -> Fitted:
        settings: dict[str, Scalar] = {"causal": self.spec.mstcn.causal}
        cut, reason = unfitted_cut(draw.truth), draw.uncalibrated or folds.uncalibrated
        untold: Sequence[str] = ()
        if folds.choosable.any():
            cut, untold = chosen_cut(folds, held_out_logits(self.learn, draw, folds))
            settings["held_out"] = unit_name(folds.cases.tolist())
        return Fitted(replace(head, thresholds=cut), settings, reason, untold)

    def learn(self, draw: Draw) -> StagesHead:
        """The head of a draw or a part of it, neither calibrated nor with thresholds."""
        assert draw.bags is not None
        assert draw.centre is not None
        told, seed, count = self.spec.mstcn, self.spec.seed, len(draw.truth.task.classes)
        bags = Bags(scaled(draw.bags.features, draw.centre), draw.bags.starts)
        weights, labels = new_stages(draw.dim, count, told, seed), draw.truth.values
        classes = class_weights(labels, count) if told.balanced else None
        train(weights, bags, labels, told, seed, classes)
        stages = {name: one.detach().numpy() for name, one in weights.items()}
        head = StagesHead(draw.centre, stages, told.causal, draw.truth.task.exclusive)
        return head if head.exclusive else head.silenced(np.asarray((labels >= 0).any(axis=0)))


def _again(name: str, dealt: Sequence[CaseFolds], what: str) -> str:
    """What is chosen on held-out cases, and what that costs."""
    most = max(folds.count for folds in dealt)
    return (
        f"{name}: {what} chosen on {unit_name(dealt[0].cases.tolist())} that are held out, for "
        f"which the stages of a draw are trained {most} more times"
    )


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
        labels: of each row, -1 unknown, (rows,), or of each class, (rows, classes).
        told: steps, rate, dropout, paces and losses.
        seed: of the order, of paces and of dropout.
        classes: see :func:`class_weights`; None: all the same.
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
            logits = logits_of(rows[part], weights, told.causal, told.dropout, labels.ndim == 1)
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

    Where several may hold, of each class by itself: absent and present are the two that are there,
    so that both weigh the same in all.

    Args:
        labels: class ids, -1 where unknown, (rows,), or 1, 0, -1 for each class, (rows, classes).
        classes: how many there are.

    Returns:
        float32, (classes,), 0 of a class without a label; where several may hold (classes, 2), of
        absent and present.
    """
    if labels.ndim == 2:
        return torch.stack([class_weights(column, 2) for column in labels.T])
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    median = np.median(counts[counts > 0]) if counts.any() else 0.0
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

    Farha and Gall 2019, eq. 6 and 11, have softmax alone. Differs where several classes may hold:
    each is a question of two answers, so the cross-entropy is the binary one, a mean over all
    entries that are known, whatever their class, and both losses take log sigmoids.

    Args:
        logits: of each stage, of the samples of one source in order, (rows, classes) each.
        truth: class ids, -1 where unknown, (rows,), or 1, 0, -1 for each class, (rows, classes);
            something must be known.
        smoothing: weight of the smoothing loss; lambda of the paper.
        limit: see :func:`unsteadiness`.
        classes: see :func:`class_weights`; with them the cross-entropy is a weighted mean. None:
            all the same.
    """
    known, total = truth >= 0, logits[0].new_zeros(())
    crossed_of = cross_entropy if truth.ndim == 1 else _of_two_answers
    weights = classes if classes is None or truth.ndim == 1 else _of_entries(classes, truth)[known]
    for told in logits:
        rough = unsteadiness(told, known, limit)
        crossed = crossed_of(told[known], truth[known], weights)
        total = total + crossed + smoothing * rough
    return total


def _of_entries(classes: Tensor, truth: Tensor) -> Tensor:
    """Weight of each entry by what is true of it, see :func:`class_weights`, (rows, classes)."""
    return torch.where(truth == 1, classes[:, 1], classes[:, 0])


def _of_two_answers(logits: Tensor, truth: Tensor, weights: Tensor | None) -> Tensor:
    """Binary cross-entropy, a mean over entries or a weighted one; all are (entries,)."""
    if weights is None:
        return binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))
    lost = binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="none")
    return (weights * lost).sum() / weights.sum()


def unsteadiness(logits: Tensor, known: Tensor, limit: float) -> Tensor:
    """How much log probabilities change from sample to sample: a truncated mean square.

    Mean over neighbours and classes of min(|log p(t) - log p(t - 1)|, limit)², where the earlier
    sample has no gradient; Farha and Gall 2019, eq. 8 to 10. Differs: only of neighbours that are
    both known; where several classes may hold, of each the log sigmoids of its presence and its
    absence, as a softmax over two classes would have it.

    Args:
        logits: (rows, classes).
        known: which samples have a label, (rows,), or of which class, (rows, classes).
        limit: above which a change counts no more; tau of the paper.
    """
    if known.ndim == 1:
        told = log_softmax(logits, dim=1)  # (rows, classes)
    else:
        told = logsigmoid(torch.stack([logits, -logits], dim=2))  # (rows, classes, 2)
    both = known[1:] & known[:-1]
    change = (told[1:] - told[:-1].detach()).abs().clamp(max=limit)
    return (change[both] ** 2).sum() / (both.sum().clamp(min=1) * told.shape[-1])
