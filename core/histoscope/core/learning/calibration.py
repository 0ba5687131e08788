"""Temperature scaling inside a draw, where it has labels enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.utils.class_weight import compute_sample_weight

from histoscope.core.data.examples import unit_name
from histoscope.core.data.truth import Truth
from histoscope.core.heads.contract import Labels
from histoscope.core.heads.linear import LinearHead

FROM_LABELS, FROM_EACH = 100, 10
FROM_UNITS, FROM_EACH_UNITS = 20, 5
BOUNDS = (-3.0, 5.0)  # of the temperature's logarithm


def why_not(truth: Truth, units: Sequence[str]) -> str | None:
    """Why a draw's labels are not enough to calibrate on; None where they are.

    A probability speaks of the next patient: so 20 cases (else sources or samples) are needed, and
    5 of each class. Labels of samples, many of one case, must also be 100, and 10 of each class.
    """
    if not truth.task.exclusive:
        return "classes may be present together; scores only rank"
    if truth.task.level == "sample" and (few := _few_labels(truth)):
        return few
    names, many = np.asarray(units, dtype=str), unit_name(units)
    if (count := len(np.unique(names))) < FROM_UNITS:
        return f"{count} {many} are fewer than {FROM_UNITS}; scores only rank"
    fewest = min(len(np.unique(names[held])) for held in truth.holds.T)
    if fewest < FROM_EACH_UNITS:
        return f"a class is in {fewest} {many}, fewer than {FROM_EACH_UNITS}; scores only rank"
    return None


def _few_labels(truth: Truth) -> str | None:
    if len(truth) < FROM_LABELS:
        return f"{len(truth)} labels are fewer than {FROM_LABELS}; scores only rank"
    fewest = truth.holds.sum(axis=0).min()
    if fewest < FROM_EACH:
        return f"a class has {fewest} labels, fewer than {FROM_EACH}; scores only rank"
    return None


def calibrated(
    head: LinearHead, held_out: NDArray[np.float64], labels: Labels
) -> tuple[LinearHead, float]:
    """Divide logits by a temperature that suits rows which their head has not seen.

    Guo et al. 2017 ("On Calibration of Modern Neural Networks"), section 4.2; by cross-validation
    in the draw, with classes weighted as the probe weights them: probabilities are those of a
    world in which all classes are equally frequent. The best class of each sample stays, and with
    two classes the order of samples, too. A temperature stays within exp(-3) and exp(5).

    Args:
        head: fitted on all of the draw.
        held_out: logits of each row by heads that had not seen it, (rows, classes).
        labels: class ids, (rows,).

    Returns:
        The head, and the temperature.
    """
    temperature = best_temperature(held_out, labels)
    return cooled(head, temperature), temperature


def cooled(head: LinearHead, temperature: float) -> LinearHead:
    """The head whose logits are divided by a temperature."""
    weight, bias = ((part / temperature).astype(np.float32) for part in (head.weight, head.bias))
    return replace(head, weight=weight, bias=bias)


def best_temperature(logits: NDArray[np.float64], labels: Labels) -> float:
    """The temperature with the smallest class-weighted log loss.

    Args:
        logits: (rows, classes).
        labels: class ids, (rows,).
    """
    weights = compute_sample_weight("balanced", labels)

    def loss(logarithm: float) -> float:
        scaled = logits / np.exp(logarithm)
        top = scaled.max(axis=1, keepdims=True)
        whole = top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))
        own = scaled[np.arange(len(labels)), labels]
        return float(np.average(whole - own, weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=BOUNDS, method="bounded").x))
