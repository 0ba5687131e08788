"""Whether features still tell images apart: measured beside training, in evaluation mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histoscope.core.data.store import Store
from histoscope.core.data.truth import Truth
from histoscope.core.errors import DataError
from histoscope.core.heads.contract import unit_rows
from histoscope.core.heads.neighbours import vote
from histoscope.core.inference.runner import Runner
from histoscope.core.randomness import generator
from histoscope.core.training.spec import MonitorSpec

LEAST_STD, LEAST_RANK = 0.1, 0.05  # of 1 / sqrt(dim), of the largest rank there can be
FALL = 5.0  # of the effective rank from one measurement to the next
NEIGHBOURS = 20

Features = NDArray[np.floating]


def effective_rank(features: Features) -> float:
    """RankMe: exp of the entropy of the singular values' shares, 1 to min(rows, dim).

    Source: Garrido et al. 2023, "RankMe", eq. 1.
    """
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    shares = values / max(values.sum(), 1e-12) + 1e-7
    return float(np.exp(-(shares * np.log(shares)).sum()))


def embedding_std(features: Features) -> float:
    """Mean over dimensions of the deviation of unit rows, in units of 1 / sqrt(dim).

    1 where rows lie all over the sphere, 0 where they are all the same (Chen and He 2021,
    "Exploring Simple Siamese Representation Learning", section 4.1).
    """
    rows = _unit(features)
    return float(rows.std(axis=0).mean() * np.sqrt(rows.shape[1]))


def feature_energy(features: Features) -> float:
    """Mean over pairs of 1 / distance of unit rows: small where features are diverse.

    The hyperspherical energy with s = 1 of Liu et al. 2018, which "feature diversity"
    (arXiv 2209.01275) follows; pairs nearer than 1e-6 count as that near.
    """
    rows = _unit(features)
    squares = np.maximum(2 - 2 * rows @ rows.T, 1e-12)
    return float((1 / np.sqrt(squares[np.triu_indices(len(rows), 1)])).mean())


def neighbour_accuracy(features: Features, truth: Truth) -> float:
    """Balanced accuracy of each row's 20 nearest others, by cosine about the mean."""
    rows = unit_rows(features.astype(np.float32), features.mean(axis=0).astype(np.float32))
    nearness = rows @ rows.T
    np.fill_diagonal(nearness, -np.inf)
    votes = vote(nearness, truth.holds.astype(np.int64), min(NEIGHBOURS, len(rows) - 1))
    said, labels = votes.argmax(axis=1), truth.values
    return float(np.mean([(said[labels == k] == k).mean() for k in np.unique(labels)]))


def alarms(now: Mapping[str, float], before: Mapping[str, float] | None, most: int) -> list[str]:
    """What looks like a collapse, in words.

    A low rank and projections that hardly differ must be seen twice: random weights have them, too.

    Args:
        now, before: measurements.
        most: the largest rank there can be.
    """
    found = []
    if now["embedding_std"] < LEAST_STD:
        found.append(f"features hardly differ (embedding_std {now['embedding_std']:.3f})")
    heads = [float(one.get("projection_std", 1)) for one in (now, before or {})]
    if max(heads) < LEAST_STD:
        found.append(f"projections hardly differ (projection_std {heads[0]:.3f})")
    if before and max(now["effective_rank"], before["effective_rank"]) < LEAST_RANK * most:
        found.append(f"features span {now['effective_rank']:.1f} of {most} dimensions")
    if before and now["effective_rank"] * FALL < before["effective_rank"]:
        found.append(
            f"the effective rank fell from {before['effective_rank']:.1f} to "
            f"{now['effective_rank']:.1f}"
        )
    return found


@dataclass
class Monitor:
    """Measures an encoder on the same images again and again.

    Attributes:
        images: uint8, (images, height, width, 3).
        truth: what is known of the images, or None where nobody asked; it only watches.
        last: the measurement before.
    """

    images: NDArray[np.uint8]
    truth: Truth | None
    last: dict[str, float] | None = None

    def measure(
        self, encoder: Any, device: torch.device, projections: Tensor | None = None
    ) -> tuple[dict[str, float], list[str]]:
        """The numbers of ``monitors.csv``, and what is alarming about them.

        Args:
            encoder: whose features are measured.
            device: that it is on.
            projections: of the last step, (batch, dim): heads may collapse under features that do
                not, as random features do not.
        """
        was_training = encoder.training
        encoder.eval()
        features = Runner(encoder, device).features(self.images)
        encoder.train(was_training)
        if not np.isfinite(features).all():
            return {}, ["features are not finite"]
        now = {
            "effective_rank": effective_rank(features),
            "embedding_std": embedding_std(features),
            "feature_energy": feature_energy(features),
        }
        if projections is not None:
            now["projection_std"] = embedding_std(projections.float().cpu().numpy())
        if self.truth is not None:
            known = self.truth.known
            now["neighbour_accuracy"] = neighbour_accuracy(features[known], self.truth.take(known))
        found = alarms(now, self.last, min(features.shape))
        self.last = now
        return now, found


def make_monitor(
    store: Store,
    rows: NDArray[np.int64],
    spec: MonitorSpec,
    seed: int,
) -> Monitor | None:
    """A monitor of some of the training images, or none where ``spec.every`` is 0.

    Args:
        store, rows: training images.
        spec: how many images, and which labels watch.
        seed: of the run.

    Raises:
        DataError: no such task, one of sources or of several classes a sample, or fewer than two
            classes with two labels.
    """
    if not spec.every:
        return None
    some = np.sort(generator(seed, "monitor").permutation(rows)[: spec.images])
    truth = None if spec.task is None else _truth(store, some, spec.task)
    return Monitor(store.reader.images(some), truth)


def _truth(store: Store, rows: NDArray[np.int64], name: str) -> Truth:
    """What is known of images that shall be watched by it; errors as above."""
    table = store.labels(name)
    if table.task.level != "sample" or not table.task.exclusive:
        raise DataError(f"{store.path}: {name!r} has no single class a sample to watch by")
    truth = table.truth(store.index.column("id").take(rows))
    if (truth.holds.sum(axis=0) >= 2).sum() < 2:
        raise DataError(
            f"{store.path}: of {len(rows)} images too few have a label of {name!r} "
            "to watch by; --set training.monitor.images=N takes more"
        )
    return truth


def _unit(features: Features) -> NDArray[np.float64]:
    rows = features.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
