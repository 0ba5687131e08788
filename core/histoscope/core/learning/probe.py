"""Linear probes of frozen features, by logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from histoscope.core.contracts import Level, Scalar
from histoscope.core.data.examples import Examples, unit_name
from histoscope.core.encoders.contract import USUAL
from histoscope.core.heads.contract import NEVER, Labels, Rows, sigmoid, unit_rows
from histoscope.core.heads.layer import LayerHead
from histoscope.core.heads.linear import LinearHead
from histoscope.core.heads.mean import MeanHead
from histoscope.core.learning.calibration import calibrated
from histoscope.core.learning.contract import Draw, Fitted, Fitter
from histoscope.core.learning.folds import Parts, Units, folds_of
from histoscope.core.learning.spec import CHOOSE, ProbeSpec
from histoscope.core.learning.thresholds import threshold_of

LEAST = 10  # samples with and without a class, below which no threshold is fitted
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
UNCHOSEN = 1.0  # the strength where a class has a single label, which cannot be held out
ABSENT = -1e4  # logit of an exclusive class that a draw has no label of
_FLAT = 1e-6
Strength = float | Literal["cv"]


class ProbeFitter(Fitter):
    """A linear probe; of a source, one of the mean of its samples."""

    settings = ProbeSpec
    levels: ClassVar[Sequence[Level]] = ("sample", "source")
    cuts = True

    @property
    def centred(self) -> bool:
        """Where features are taken at unit length."""
        return bool(self.spec.scaling == "unit")

    def warn(self, draws: Sequence[Examples]) -> list[str]:
        """Where a draw has too few labels to choose the penalty by, or too few cases."""
        few = sum(not can_choose(draw.truth.values) for draw in draws)
        near = sum(not held_apart(draw.truth.values, draw.units) for draw in draws)
        task, of = draws[0].task.name, f"of {len(draws)} draws"
        kept = [f"strength is {UNCHOSEN:g}"] * (self.spec.strength == "cv")
        kept += [f"cut is {USUAL}"] * (self.spec.cut == CHOOSE)
        warnings = [
            f"{task}: {few} {of} have a single label of some class; there the probe's "
            f"{' and its '.join(kept)}, not chosen"
        ]
        warnings += [
            f"{task}: {near} {of} have some class in one of the {unit_name(draws[0].units)} only; "
            "what is chosen there by holding labels out may know the others of the same"
        ]
        return [
            text for text, count in zip(warnings, (few * bool(kept), near), strict=True) if count
        ]

    def fit(self, draw: Draw) -> Fitted:
        """The head of a draw, calibrated where it has labels enough; of the best of its layers."""
        if not draw.layers:
            return self._fit(draw)
        name = chosen_layer(draw, self.spec.strength)
        fitted, place = self._fit(draw.layer(name)), draw.layers[name]
        assert isinstance(fitted.head, LinearHead | MeanHead)
        head = LayerHead(fitted.head, place.start, place.stop)
        return replace(fitted, head=head, settings={"cut": name, **fitted.settings})

    def _fit(self, draw: Draw) -> Fitted:
        (head, strength, untold), task = self.start(draw), draw.truth.task
        chosen, labels = dict[str, Scalar](strength=strength), draw.truth.values
        if can_choose(labels):
            apart = held_apart(labels, draw.units)
            chosen["held_out"] = unit_name(draw.units) if apart else f"{task.level}s"
        if task.exclusive and not draw.uncalibrated:
            probe = Probe(strength, draw.centre)
            held_out = probe.held_out(_rows(draw), labels, len(task.classes), draw.units)
            head, chosen["temperature"] = calibrated(head, held_out, labels)
        whole = MeanHead(head) if task.level == "source" else head
        return Fitted(whole, chosen, draw.uncalibrated, untold)

    def start(self, draw: Draw) -> tuple[LinearHead, float, Sequence[str]]:
        """The linear head, not calibrated, its strength, and see :class:`Fitted` ``untold``."""
        probe, truth = Probe(self.spec.strength, draw.centre), draw.truth
        told = _rows(draw), truth.values, len(truth.task.classes), draw.units
        if truth.task.exclusive:
            return *probe.fit(*told), ()
        head, strength, untold = probe.fit_with_thresholds(*told)
        return head, strength, [truth.task.classes[place] for place in untold]


def chosen_layer(draw: Draw, strength: Strength) -> str:
    """The layer whose probe has the smallest log loss on what it has not seen; the later of equals.

    Rows are held out inside the draw as for the strength, whole cases where every class is of two
    or more. Where nothing can be held out it is the usual output.

    Args:
        draw: with several layers.
        strength: see :class:`Probe`.
    """
    labels, names = draw.truth.values, list(draw.layers)
    if len(names) == 1 or not can_choose(labels):
        return USUAL if len(names) > 1 else names[0]
    losses = dict[str, float]()
    for name in reversed(names):
        part = draw.layer(name)
        losses[name] = Probe(strength, part.centre).loss(_rows(part), labels, draw.units)
    return min(losses, key=lambda name: losses[name])


def _rows(draw: Draw) -> Rows:
    """One feature row an example."""
    assert draw.bags is not None
    return draw.bags.features if draw.truth.task.level == "sample" else draw.bags.means()


@dataclass(frozen=True)
class Probe:
    """How a probe is fitted.

    Attributes:
        strength: scikit-learn's C, the inverse of the penalty's weight; ``cv`` chooses it inside
            the draw.
        centre: features are taken from here, at unit length; None: each is standardised by the
            rows of the draw.
    """

    strength: Strength = UNCHOSEN
    centre: Rows | None = None

    def fit(
        self, features: Rows, labels: Labels, classes: int, units: Units = None
    ) -> tuple[LinearHead, float]:
        """The head and its strength, from the labels of one draw alone.

        Classes are weighted by the inverse of their counts; scikit-learn's L-BFGS. An exclusive
        class without a label is never answered.

        Args:
            features: (labels, dim).
            labels: class ids, (labels,), or 1, 0, -1 (unknown) for each class, (labels, classes).
            classes: how many classes the task has.
            units: case (else source or sample) of each label, see :func:`folds_of`.
        """
        rows = features if self.centre is None else unit_rows(features, self.centre)
        strength = self._strength(rows, labels, units)
        return self._head(rows, labels, classes, strength), strength

    def fit_with_thresholds(
        self, features: Rows, labels: Labels, classes: int, units: Units = None
    ) -> tuple[LinearHead, float, Sequence[int]]:
        """As :meth:`fit` for classes that are not exclusive, with a threshold of each.

        It is chosen on scores from cross-validation in the draw, see :func:`threshold_of`. A class
        with fewer than ten rows on either side keeps 0.5; one that no row knows of is never said to
        be present.

        Returns:
            The head, its strength, and which classes' scores tell nothing.
        """
        head, strength = self.fit(features, labels, classes, units)
        cut, untold = head.cut.copy(), list[int]()
        for place in range(classes):
            known = labels[:, place] >= 0
            truth = labels[known, place]
            if not len(truth):
                cut[place] = NEVER
            elif min(truth.sum(), len(truth) - truth.sum()) >= LEAST:
                fixed = replace(self, strength=strength)
                own = _among(units, known)
                logits = fixed.held_out(features[known], truth[:, None], 1, own)[:, 0]
                scores, fold = sigmoid(logits), folds_of(truth, own).places
                cut[place], told = threshold_of(truth, scores, fold)
                untold += [place] * (not told)
        return replace(head, thresholds=cut), strength, untold

    def held_out(
        self, features: Rows, labels: Labels, classes: int, units: Units = None
    ) -> NDArray[np.float64]:
        """Logits of each row from a probe that has not seen it, (labels, classes).

        Nor has it seen others of its unit, where every class is of two or more; as all that is
        chosen inside the probe's own draw.
        """
        out = np.zeros((len(labels), classes))
        kinds = labels if labels.ndim == 1 else labels[:, 0]
        for fit, held in folds_of(kinds, units).parts:
            head, _ = self.fit(features[fit], labels[fit], classes, _among(units, fit))
            out[held] = head.logits(features[held])
        return out

    def loss(self, features: Rows, labels: Labels, units: Units = None) -> float:
        """Log loss on held-out rows, at the best strength where that is chosen. See :meth:`fit`."""
        rows = features if self.centre is None else unit_rows(features, self.centre)
        strengths = STRENGTHS if self.strength == "cv" else (self.strength,)
        return float(self._losses(rows, labels, units, strengths).min())

    def _strength(self, rows: Rows, labels: Labels, units: Units) -> float:
        """That with the smallest log loss on held-out rows; the smaller of equals."""
        if self.strength != "cv":
            return self.strength
        losses = self._losses(rows, labels, units, STRENGTHS)
        return STRENGTHS[int(losses.argmin())] if losses.any() else UNCHOSEN

    def _losses(
        self, rows: Rows, labels: Labels, units: Units, strengths: Sequence[float]
    ) -> NDArray[np.float64]:
        """Of each strength, over all questions of which anything can be held out; else 0."""
        questions = [labels] if labels.ndim == 1 else [*labels.T]
        losses = np.zeros(len(strengths))
        for truth in questions:
            known = truth >= 0
            if can_choose(truth):
                folds = folds_of(truth[known], _among(units, known)).parts
                losses += [self._loss(rows[known], truth[known], folds, one) for one in strengths]
        return losses

    def _loss(self, rows: Rows, kinds: Labels, folds: Parts, strength: float) -> float:
        names = np.unique(kinds)
        scores = np.zeros((len(kinds), len(names)))
        for fit, held in folds:
            model, mean, deviation = self._model(rows[fit], kinds[fit], strength)
            scores[held] = model.predict_proba((rows[held] - mean) / deviation)
        weights = compute_sample_weight("balanced", kinds)
        return float(log_loss(kinds, scores, sample_weight=weights, labels=names))

    def _model(
        self, rows: Rows, kinds: Labels, strength: float
    ) -> tuple[LogisticRegression, NDArray[np.float64], NDArray[np.float64]]:
        """The regression, and the mean and deviation that its rows are scaled by."""
        dim = rows.shape[1]
        mean, deviation = np.zeros(dim), np.ones(dim)
        if self.centre is None:
            mean, deviation = rows.mean(axis=0).astype(np.float64), rows.std(axis=0)
            deviation = np.where(deviation > _FLAT, deviation, 1.0).astype(np.float64)
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
        model.fit(((rows - mean) / deviation).astype(np.float64), kinds)
        return model, mean, deviation

    def _regression(
        self, rows: Rows, kinds: Labels, strength: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weight and bias with the scaling folded in, as scikit-learn shapes them."""
        model, mean, deviation = self._model(rows, kinds, strength)
        weight = model.coef_ / deviation
        return weight, model.intercept_ - weight @ mean

    def _head(self, rows: Rows, labels: Labels, classes: int, strength: float) -> LinearHead:
        if labels.ndim == 2:
            return self._head_of_each(rows, labels, strength)
        there, dim = np.unique(labels), rows.shape[1]
        weight, bias = np.zeros((classes, dim)), np.full(classes, ABSENT)
        bias[there] = 0
        if len(there) == 2:  # scikit-learn keeps one row: the second class against the first
            weight[there[1:]], bias[there[1:]] = self._regression(rows, labels, strength)
        elif len(there) > 2:
            weight[there], bias[there] = self._regression(rows, labels, strength)
        return LinearHead(weight.astype(np.float32), bias.astype(np.float32), centre=self.centre)

    def _head_of_each(self, rows: Rows, labels: Labels, strength: float) -> LinearHead:
        """One regression a class, on the rows where it is known.

        A class that is everywhere present or everywhere absent there gets its frequency (add one
        half to both counts), whatever the features.
        """
        dim, classes = rows.shape[1], labels.shape[1]
        weight, bias = np.zeros((classes, dim)), np.zeros(classes)
        for place in range(classes):
            known = labels[:, place] >= 0
            truth = labels[known, place]
            present = int(truth.sum())
            if 0 < present < len(truth):
                one, offset = self._regression(rows[known], truth, strength)
                weight[place], bias[place] = one[0], offset[0]
            else:
                bias[place] = np.log((present + 0.5) / (len(truth) - present + 0.5))
        return LinearHead(
            weight.astype(np.float32), bias.astype(np.float32), exclusive=False, centre=self.centre
        )


def can_choose(truth: Labels) -> bool:
    """Whether every class has two labels, of which one can be held out; of several, any class.

    Args:
        truth: as in :meth:`Probe.fit`.
    """
    if truth.ndim == 2:
        return any(can_choose(column) for column in truth.T)
    counts = np.unique(truth[truth >= 0], return_counts=True)[1]
    return len(counts) >= 2 and int(counts.min()) >= 2


def held_apart(truth: Labels, units: Sequence[str]) -> bool:
    """Whether all that is held out is held out by whole units; also where nothing is.

    Args:
        truth: as in :meth:`Probe.fit`.
        units: of each row.
    """
    return all(
        folds_of(column[column >= 0], _among(units, column >= 0)).apart
        for column in ([truth] if truth.ndim == 1 else [*truth.T])
        if can_choose(column)
    )


def _among(units: Units, rows: NDArray[np.generic]) -> Units:
    """Units of some of the rows."""
    return None if units is None else np.asarray(units, dtype=str)[rows].tolist()
