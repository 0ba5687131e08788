"""Sources that few of their samples tell apart."""

import numpy as np

from histoscope.core.contracts import Task
from histoscope.core.data.truth import Truth
from histoscope.core.heads.contract import Bags
from histoscope.core.learning.contract import Draw

DIM, ROWS, RARE = 16, 150, 0.04


def made(count, seed, dim=DIM):
    """Sources of two kinds: 4 % of the samples of the second lie elsewhere; all of one drift."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    rows, rare = [], []
    for label in labels:
        features = rng.normal(size=(ROWS, dim)) + rng.normal(0, 0.5, dim)
        held = rng.random(ROWS) < RARE * label
        held[0] |= bool(label)
        features[held, :3] += 4.0
        rows.append(features)
        rare.append(held)
    starts = np.arange(count + 1) * ROWS
    return Bags(np.concatenate(rows).astype(np.float32), starts), labels, rare


def drawn(bags, values, exclusive=True, why=None):
    classes = ("without", "with") if exclusive else ("a", "b")
    truth = Truth(Task("rare", classes, exclusive, "source"), values)
    units = [f"case:{place}" for place in range(len(values))]
    centre = bags.features.mean(axis=0)
    return Draw(truth, units, bags, DIM, centre, why or "few labels")
