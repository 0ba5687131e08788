"""Labels that ``suggest`` chooses against labels chosen at random, over draws.

    python -m tests.benchmarks.suggest_study STORE ENCODER [--task NAME] [--draws 40] [--count 40]

In each draw a random half of the training samples is all there is to label. *First labels*: so
many are chosen from nothing. *More labels*: so many random ones are there, a probe is fitted on
them, and as many more are chosen with or without it. A probe fitted on the labels is scored on the
test part; a class without a label has recall 0 (``finetune`` would refuse). Differences are to
random labels of the same draw, with 95 % intervals over test cases and draws, and over draws alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histoscope.apps.console import Console
from histoscope.core.data.examples import labelled
from histoscope.core.data.store import Store
from histoscope.core.data.truth import Truth
from histoscope.core.evaluation.intervals import difference, less, over_draws
from histoscope.core.evaluation.measure import overall, rarest
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
    known: Truth
    units: list[str]

    @property
    def truth(self) -> NDArray[np.int64]:
        return self.known.values

    def take(self, places: NDArray[np.int64]) -> Part:
        units = [self.units[place] for place in places]
        return Part(self.features[places], self.known.take(places), units)


@dataclass(frozen=True)
class Fitted:
    """A head of the classes that had a label."""

    head: Head
    classes: NDArray[np.int64]

    def answers(self, test: Part) -> NDArray[np.float32]:
        """Probabilities of all classes of the task, (samples, classes); 0 without a label."""
        out = np.zeros((len(test.truth), len(test.known.task.classes)), np.float32)
        out[:, self.classes] = self.head.probabilities(Bags.of_samples(test.features))
        return out


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


def study(train: Part, test: Part, draws: int, count: int) -> dict[str, list[NDArray[np.float32]]]:
    """Answers to the test part by draw, by what was labelled."""
    out: dict[str, list[NDArray[np.float32]]] = {}
    for draw in range(draws):
        rng = generator(2, "suggest/study", draw)
        pool = train.take(rng.permutation(len(train.truth))[: len(train.truth) // 2])
        order = rng.permutation(len(pool.truth))
        for name, places in labels_of(pool, order, count).items():
            out.setdefault(name, []).append(fit(pool, places).answers(test))
    return out


def labels_of(pool: Part, order: NDArray[np.int64], count: int) -> dict[str, NDArray[np.int64]]:
    """What is labelled, by how it is chosen."""
    nothing, random = order[:0], order[:count]
    doubt = uncertainty(fit(pool, random).head, Bags.of_samples(pool.features))
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
        return Part(features, found.truth, list(found.units))

    test = part("test")
    answers = study(part("train"), test, asked.draws, asked.count)
    units = Units.of(test.units)
    told = f"{asked.count} labels, {asked.draws} draws, balanced accuracy, {len(units)} test units"
    console.say(f"{asked.store}: {told}")
    for line in lines(test.known, answers, units):
        print(line)  # noqa: T201


def lines(
    truth: Truth, answers: Mapping[str, Sequence[NDArray[np.float32]]], units: Units
) -> Iterator[str]:
    """Of each way its mean, deviation over draws, and gain over random labels."""
    name = "balanced_accuracy"
    metrics = {way: overall(truth, scores, units)[name] for way, scores in answers.items()}
    count, draws, whole = len(units), len(next(iter(answers.values()))), np.ones((1, len(units)))
    for way, metric in metrics.items():
        values = [float(metric(draw, whole)[0]) for draw in range(draws)]
        line = f"{way:22} {np.mean(values):.3f} (sd {np.std(values, ddof=1):.3f})"
        usual = metrics[f"{way.partition(':')[0]}: random"]
        if metric is not usual:
            gain = difference(less(metric, usual), count, draws, rarest(truth, units, name))
            theirs = [float(usual(draw, whole)[0]) for draw in range(draws)]
            alone = over_draws(values, theirs)
            line += f"  {gain.mean:+.3f} ({gain.ends}; over draws alone {alone.ends})"
        yield line


if __name__ == "__main__":
    main()
