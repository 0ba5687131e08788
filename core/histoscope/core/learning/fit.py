"""Heads of several tasks, one a draw, by the method asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.examples import Context, Examples
from histoscope.core.data.store import Store
from histoscope.core.encoders.contract import Encoder
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.layers import places_of
from histoscope.core.heads.contract import Bags, Rows
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.learning.calibration import why_not
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.thresholds import untold_cautions
from histoscope.core.progress import Progress
from histoscope.core.randomness import generator

CENTRE_OF = 2000  # unlabelled samples whose mean is the centre


@dataclass(frozen=True)
class Asked:
    """The labelled training examples of one task, and the draws from them."""

    train: Examples
    draws: list[NDArray[np.int64]]

    def of(self, draw: int) -> Examples:
        """Those of a draw."""
        return self.train.take(self.draws[draw])

    @property
    def said(self) -> str:
        """How many examples, draws and labels."""
        sizes = sorted({len(draw) for draw in self.draws})
        sources = "" if self.train.task.level == "sample" else " sources"
        return (
            f"{len(self.train)}{sources} with labels; {len(self.draws)} draws of "
            f"{' to '.join(map(str, sorted({sizes[0], sizes[-1]})))} labels"
        )

    def without(self) -> list[str]:
        """Which exclusive classes some draws have no label of, a line each."""
        task = self.train.task
        if not task.exclusive:
            return []
        held = np.array([self.of(draw).truth.present for draw in range(len(self.draws))])
        return [
            f"{missing} of {len(self.draws)} draws have no label of {name}, which they do not learn"
            for name, missing in zip(task.classes, (~held).sum(axis=0).tolist(), strict=True)
            if missing
        ]

    @property
    def uncalibrated(self) -> str | None:
        """Why its smallest draw is not enough to calibrate on."""
        drawn = map(self.train.take, self.draws)
        return next(filter(None, (why_not(one.truth, one.units) for one in drawn)), None)


@dataclass(frozen=True)
class FittedHeads:
    """Heads by task and draw, and what else they were made of.

    Attributes:
        encoders: one, shared, where they stay as they are, else one a draw.
        answers: for each task one head a draw.
        beside: index rows whose features were read without a label, for the centre or as
            neighbours; maybe none.
    """

    encoders: list[LoadedEncoder]
    answers: list[list[Fitted]]
    beside: NDArray[np.int64]


def fit_heads(
    store: Store,
    loaded: LoadedEncoder,
    runner: Runner,
    asked: Sequence[Asked],
    unlabelled: NDArray[np.int64],
    fitter: Fitter,
    progress: Progress,
) -> FittedHeads:
    """Fit every task's heads on every draw.

    Args:
        store: of the images.
        loaded: the encoder.
        runner: of it.
        asked: tasks with their draws.
        unlabelled: index rows of the training split, of which some give the centre of features,
            and those of a source are what an ordered method reads.
        fitter: the method.
        progress: who is told.

    Raises:
        UsageError: an encoder that the method cannot train, or whose features it cannot read.
    """
    fitter.check_width(loaded.info.dim)
    spec, draws = fitter.spec, range(len(asked[0].draws))
    some = np.zeros(0, np.int64)
    if fitter.centred:
        order = generator(spec.seed, "labels/centre").permutation(len(unlabelled))
        some = np.sort(unlabelled[order[:CENTRE_OF]])
    read = [
        [one.of(draw).context(store, unlabelled, fitter.ordered) for draw in draws] for one in asked
    ]
    rows = np.zeros(0, np.int64)
    if fitter.on_features:
        rows = np.unique(np.concatenate([some, *(its.rows for each in read for its in each)]))
    features = features_of(runner, store, rows, progress)
    centre = features[np.searchsorted(rows, some)].mean(axis=0) if len(some) else None
    beside = rows if fitter.ordered else some
    fitted = FittedHeads([] if fitter.trains else [loaded], [[] for _ in asked], beside)
    for one in asked:
        for warning in fitter.warn([one.of(draw) for draw in draws]):
            progress.say(warning)
    progress.start("finetune", len(draws), "draws")
    for draw in draws:
        answers = []
        for one, its in zip(asked, read, strict=True):
            own = features[np.searchsorted(rows, its[draw].rows)] if fitter.on_features else None
            answers.append(fitter.fit(_seen(one, draw, its[draw], own, centre, loaded, fitter)))
        if fitter.trains:
            encoder, answers = _trained(store, loaded, runner, asked, answers, draw, fitter)
            fitted.encoders.append(encoder)
        for kept, answer in zip(fitted.answers, answers, strict=True):
            kept.append(answer)
        progress.advance()
    progress.finish()
    for one, told in zip(asked, fitted.answers, strict=True):
        for said in untold_cautions([answer.untold for answer in told]):
            progress.say(f"{one.train.task.name}: {said}")
    return fitted


def _seen(
    one: Asked,
    draw: int,
    read: Context,
    features: Rows | None,
    centre: Rows | None,
    loaded: LoadedEncoder,
    fitter: Fitter,
) -> Draw:
    """What a draw sees of a task; ``features`` are those of what is read."""
    examples = one.of(draw)
    truth, units = examples.truth, examples.units
    if fitter.ordered:
        truth = truth.spread(read.places, len(read.rows))
        of_rows = dict(zip(read.places.tolist(), units, strict=True))
        units = [of_rows.get(place, "") for place in range(len(read.rows))]
    bags = None if features is None else Bags(features, read.starts)
    layers = places_of(loaded.info.network)
    told = bags, loaded.info.dim, centre, one.uncalibrated, layers
    return Draw(truth, units, *told)


def _trained(
    store: Store,
    loaded: LoadedEncoder,
    runner: Runner,
    asked: Sequence[Asked],
    starts: Sequence[Fitted],
    draw: int,
    fitter: Fitter,
) -> tuple[LoadedEncoder, list[Fitted]]:
    """The encoder and the heads of a draw after training all weights."""
    drawn = [one.of(draw) for one in asked]
    rows = np.unique(np.concatenate([one.rows for one in drawn]))
    truths = [one.truth.spread(np.searchsorted(rows, one.rows), len(rows)) for one in drawn]
    images = store.reader.images(rows)
    module, answers = fitter.train(loaded, runner.device, images, truths, starts, draw)
    return replace(loaded, encoder=cast(Encoder, module)), answers
