"""Labels that ``suggest`` chooses against labels chosen at random, over draws.

    python -m tests.benchmarks.suggest_study STORE ENCODER [--task NAME] [--draws 40] [--count 40]

In each draw a random half of the training samples is all there is to label. *First labels*: so
many are chosen from nothing. *More labels*: so many random ones are there, a probe is fitted on
them, and as many more are chosen with or without it. A probe fitted on the labels is scored on the
test part; a class without a label has recall 0 (``finetune`` would refuse). Differences are to
random labels of the same draw.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.apps.console import Console
from histoscope.core.data.examples import labelled
from histoscope.core.data.store import Store
from histoscope.core.evaluation.intervals import over_draws
from histoscope.core.evaluation.metrics import balanced_accuracy
from histoscope.core.evaluation.units import Units
from histoscope.core.heads.contract import Bags, Head
from histoscope.core.inference.features import features_of
from histoscope.core.inference.runner import Runner
from histoscope.core.labelling.diverse import Method, choose
from histoscope.core.learning.probe import Probe
from histoscope.core.randomness import generator
from histoscope.core.runtime.device import AUTO
from histoscope.core.stages.encoders import open_encoder
from histoscope.core.stages.suggest import uncertainty

PROBE = Probe(strength=1.0)


@dataclass(frozen=True)
class Part:
    """Labelled samples with their features."""

    features: NDArray[np.float32]
    truth: NDArray[np.int64]
    units: list[str]

    def take(self, places: NDArray[np.int64]) -> Part:
        units = [self.units[place] for place in places]
        return Part(self.features[places], self.truth[places], units)


@dataclass(frozen=True)
class Fitted:
    """A head of the classes that had a label."""

    head: Head
    classes: NDArray[np.int64]

    def score(self, test: Part, classes: int) -> float:
        """Balanced accuracy over all classes of the task."""
        best = self.classes[self.head.probabilities(Bags.of_samples(test.features)).argmax(axis=1)]
        every = Units.whole(len(test.truth))
        return float(balanced_accuracy(test.truth, best, every, classes)(np.ones((1, 1)))[0])


def fit(part: Part, places: NDArray[np.int64]) -> Fitted:
    """A probe on these labels."""
    classes, truth = np.unique(part.truth[places], return_inverse=True)
    head, _ = PROBE.fit(part.features[places], truth.astype(np.int64), len(classes))
    return Fitted(head, classes)


def suggested(
    pool: Part,
    have: NDArray[np.int64],
    count: int,
    method: Method,
    doubt: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Places that ``suggest`` chooses, behind those there are."""
    labelled = np.isin(np.arange(len(pool.truth)), have)
    found = choose(pool.features, pool.units, labelled, count, method=method, uncertainty=doubt)
    return np.array([*have, *(one.place for one in found)], np.int64)


def study(train: Part, test: Part, classes: int, draws: int, count: int) -> dict[str, list[float]]:
    """Balanced accuracy by draw, by what was labelled."""
    out: dict[str, list[float]] = {}
    for draw in range(draws):
        rng = generator(2, "suggest/study", draw)
        pool = train.take(rng.permutation(len(train.truth))[: len(train.truth) // 2])
        order = rng.permutation(len(pool.truth))
        for name, places in labels_of(pool, order, count).items():
            out.setdefault(name, []).append(fit(pool, places).score(test, classes))
    return out


def labels_of(pool: Part, order: NDArray[np.int64], count: int) -> dict[str, NDArray[np.int64]]:
    """What is labelled, by how it is chosen."""
    nothing, random = order[:0], order[:count]
    doubt = uncertainty(fit(pool, random).head, pool.features)
    return {
        "first: random": random,
        "first: typical": suggested(pool, nothing, count, "typical"),
        "first: core-set": suggested(pool, nothing, count, "core-set"),
        "more: random": order[: 2 * count],
        "more: typical": suggested(pool, random, count, "typical"),
        "more: core-set": suggested(pool, random, count, "core-set"),
        "more: typical, model": suggested(pool, random, count, "typical", doubt),
        "more: core-set, model": suggested(pool, random, count, "core-set", doubt),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("encoder")
    parser.add_argument("--task", help="whose classes exclude each other")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--count", type=int, default=40)
    asked = parser.parse_args()
    store, console = Store(asked.store), Console()
    table = store.labels(asked.task)
    runner = Runner.of(open_encoder(asked.encoder, store, 0), AUTO)

    def part(name: str) -> Part:
        found = labelled(store, name, table, None)
        features = features_of(runner, store, found.rows, console)
        return Part(features, found.truth.values, list(found.units))

    scores = study(part("train"), part("test"), len(table.task.classes), asked.draws, asked.count)
    console.say(f"{asked.store}: {asked.count} labels, {asked.draws} draws, balanced accuracy")
    for name, values in scores.items():
        line = f"{name:22} {np.mean(values):.3f} (sd {np.std(values, ddof=1):.3f})"
        kind = name.partition(":")[0]
        if not name.endswith("random"):
            gain = over_draws(values, scores[f"{kind}: random"])
            line += f"  {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        print(line)  # noqa: T201


if __name__ == "__main__":
    main()
