"""Heads of several tasks, one a draw, by the method asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from histoscope.core.contracts import Scalar, Task
from histoscope.core.data.labelled import UNKNOWN, Labelled
from histoscope.core.data.store import Store
from histoscope.core.encoders.contract import Encoder
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.errors import UsageError
from histoscope.core.heads.contract import Head, Rows
from histoscope.core.heads.linear import LinearHead
from histoscope.core.heads.neighbours import fit_neighbours
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.learning.calibration import calibrated, why_not
from histoscope.core.learning.full import fine_tune, new_head
from histoscope.core.learning.probe import UNCHOSEN, Probe, can_choose, fit_uni
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.progress import Progress
from histoscope.core.randomness import generator

CENTRE_OF = 2000  # unlabelled samples whose mean is the centre
TRAINED = ("full", "probe_full", "swav")  # methods that change the encoder
NEW = ("full", "swav")  # those of them whose heads begin from nothing


@dataclass(frozen=True)
class Asked:
    """One task, its labelled training samples, and the draws from them."""

    task: Task
    train: Labelled
    draws: list[NDArray[np.int64]]

    def rows(self, draw: int) -> NDArray[np.int64]:
        """Index rows of a draw."""
        return self.train.rows[self.draws[draw]]

    def truth(self, draw: int) -> NDArray[np.int64]:
        """Truth of a draw."""
        return self.train.truth[self.draws[draw]]

    @property
    def uncalibrated(self) -> str | None:
        """Why its smallest draw is not enough to calibrate on."""
        classes, draws = len(self.task.classes), range(len(self.draws))
        return next(filter(None, (why_not(self.truth(draw), classes) for draw in draws)), None)


@dataclass(frozen=True)
class Fitted:
    """A head, what was chosen for it inside its draw, and why it is not calibrated, if so."""

    head: Head
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    uncalibrated: str | None = None


@dataclass(frozen=True)
class FittedHeads:
    """Heads by task and draw, and what else they were made of.

    Attributes:
        encoders: one, shared, where they stay as they are, else one a draw.
        answers: for each task one head a draw.
        centred_on: index rows whose features gave the centre; maybe none.
    """

    encoders: list[LoadedEncoder]
    answers: list[list[Fitted]]
    centred_on: NDArray[np.int64]


def fit_heads(
    store: Store,
    loaded: LoadedEncoder,
    runner: Runner,
    asked: Sequence[Asked],
    unlabelled: NDArray[np.int64],
    spec: FinetuneSpec,
    progress: Progress,
) -> FittedHeads:
    """Fit every task's heads on every draw.

    Args:
        store: of the images.
        loaded: the encoder.
        runner: of it.
        asked: tasks with their draws.
        unlabelled: index rows of the training split, of which some give the centre of features.
        spec: the method.
        progress: who is told.

    Raises:
        UsageError: a method that cannot answer a task, or an encoder that it cannot train.
    """
    if spec.method == "uni" and not all(one.task.exclusive for one in asked):
        raise UsageError("--method uni: answers tasks of one class a sample only; use probe")
    draws = range(len(asked[0].draws))
    probed = spec.method in ("probe", "probe_full")
    some = np.zeros(0, np.int64)
    if spec.method == "knn" or (probed and spec.scaling == "unit"):
        order = generator(spec.seed, "labels/centre").permutation(len(unlabelled))
        some = np.sort(unlabelled[order[:CENTRE_OF]])
    used = np.unique(np.concatenate([some, *(one.rows(d) for one in asked for d in draws)]))
    rows = np.zeros(0, np.int64) if spec.method in NEW else used
    features = features_of(runner, store, rows, progress)
    centre = features[np.searchsorted(rows, some)].mean(axis=0) if len(some) else None
    encoders = [] if spec.method in TRAINED else [loaded]
    fitted = FittedHeads(encoders, [[] for _ in asked], some)
    if probed and spec.strength == "cv":
        _say_unchosen(asked, progress)
    progress.start("finetune", len(draws), "draws")
    for draw in draws:
        answers = [
            Fitted(new_head(one.truth(draw), len(one.task.classes), loaded.info.dim))
            if spec.method in NEW
            else _frozen(one, features[np.searchsorted(rows, one.rows(draw))], draw, centre, spec)
            for one in asked
        ]
        if spec.method in TRAINED:
            encoder, answers = _trained(store, loaded, runner.device, asked, answers, draw, spec)
            fitted.encoders.append(encoder)
        for kept, answer in zip(fitted.answers, answers, strict=True):
            kept.append(answer)
        progress.advance()
    progress.finish()
    return fitted


def _say_unchosen(asked: Sequence[Asked], progress: Progress) -> None:
    """Say where a draw has too few labels to choose the penalty by."""
    for one in asked:
        draws = range(len(one.draws))
        few = sum(not can_choose(one.truth(draw)) for draw in draws)
        if few:
            progress.say(
                f"{one.task.name}: {few} of {len(draws)} draws have a single label of some class; "
                f"there the probe's strength is {UNCHOSEN:g}, not chosen"
            )


def _frozen(
    one: Asked, features: Rows, draw: int, centre: Rows | None, spec: FinetuneSpec
) -> Fitted:
    """A head on features as they are; where weights are trained, the start."""
    truth, classes = one.truth(draw), len(one.task.classes)
    if spec.method == "uni":
        head, strength = fit_uni(features, truth, classes)
        return Fitted(head, {"strength": strength}, "not fitted for --method uni; scores only rank")
    if spec.method == "knn":
        assert centre is not None
        near = fit_neighbours(features, truth, classes, centre, spec.neighbours)
        reason = "not fitted for --method knn; scores are votes"
        return Fitted(near, {"neighbours": near.neighbours}, reason)
    probe = Probe(spec.strength, centre)
    if not one.task.exclusive:
        head, strength = probe.fit_with_thresholds(features, truth, classes)
        return Fitted(head, {"strength": strength}, one.uncalibrated)
    head, strength = probe.fit(features, truth, classes)
    if one.uncalibrated or spec.method in TRAINED:
        return Fitted(head, {"strength": strength}, one.uncalibrated)
    fixed = replace(probe, strength=strength)
    head, temperature = calibrated(head, fixed, features, truth, classes)
    return Fitted(head, {"strength": strength, "temperature": temperature})


def _trained(
    store: Store,
    loaded: LoadedEncoder,
    device: torch.device,
    asked: Sequence[Asked],
    starts: Sequence[Fitted],
    draw: int,
    spec: FinetuneSpec,
) -> tuple[LoadedEncoder, list[Fitted]]:
    """The encoder and the heads of a draw after training all weights."""
    rows = np.unique(np.concatenate([one.rows(draw) for one in asked]))
    images = store.reader.images(rows)
    truths = [_spread(one, draw, rows) for one in asked]
    heads = [start.head for start in starts if isinstance(start.head, LinearHead)]
    steps = spec.swav if spec.method == "swav" else spec.full
    module, tuned = fine_tune(loaded, device, images, truths, heads, steps, spec.seed, draw)
    reason = f"not fitted for --method {spec.method}; scores only rank"
    answers = [
        Fitted(head, start.settings, reason) for head, start in zip(tuned, starts, strict=True)
    ]
    return replace(loaded, encoder=cast(Encoder, module)), answers


def _spread(one: Asked, draw: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Truth of a draw at the index rows of all tasks' draws; -1 where this task has none."""
    out = np.full((len(rows), *one.train.truth.shape[1:]), UNKNOWN, np.int64)
    out[np.searchsorted(rows, one.rows(draw))] = one.truth(draw)
    return out
