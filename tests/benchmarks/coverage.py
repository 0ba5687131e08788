"""How often intervals hold what is true: simulated cases, draws and encoders.

``python -m tests.benchmarks.coverage`` prints the tables of docs/decisions/0013.
"""

from __future__ import annotations

from collections.abc import Callable

import click
import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Task
from histoscope.core.data.truth import Truth
from histoscope.core.evaluation import intervals
from histoscope.core.evaluation.intervals import Difference, difference, less, over_draws
from histoscope.core.evaluation.jackknife import jackknife, pseudo_values, sign_flip
from histoscope.core.evaluation.measure import overall
from histoscope.core.evaluation.units import Units
from histoscope.core.evaluation.verdicts import verdict
from histoscope.core.heads.contract import Bags
from histoscope.core.learning.probe import Probe

Sides = list[list[NDArray[np.float32]]]
TASK = Task("made", ("a", "b", "c"), exclusive=True)
RIGHT = np.array([[0.80, 0.70, 0.60], [0.74, 0.66, 0.55]])  # of each side, by class
GAP = float(np.subtract(*RIGHT).mean())
OF_CASE, OF_DRAW, OF_BOTH = 0.07, 0.025, 0.03  # deviations of what is right


def made_cases(rng: np.random.Generator, cases: int) -> tuple[Truth, Units]:
    """Cases of 8 to several hundred samples, each with a mixture of classes of its own."""
    sizes = np.clip(rng.lognormal(4, 0.8, cases).astype(int), 8, 400)
    mixtures = rng.dirichlet([1.5, 1.0, 0.7], cases)
    truth = np.concatenate(
        [rng.choice(3, size, p=share) for size, share in zip(sizes, mixtures, strict=True)]
    )
    return Truth(TASK, truth), Units(tuple(map(str, range(cases))), np.repeat(range(cases), sizes))


def made_sides(rng: np.random.Generator, truth: Truth, units: Units, draws: int) -> Sides:
    """Answers of two encoders that differ by ``GAP``: cases, draws and both have effects."""
    values, count = truth.values, len(units)
    sides = []
    for right in RIGHT:
        of_case = rng.normal(0, OF_CASE, count)
        drawn = []
        for _ in range(draws):
            effect = of_case + rng.normal(0, OF_DRAW) + rng.normal(0, OF_BOTH, count)
            hit = rng.random(len(values)) < right[values] + effect[units.place]
            said = np.where(hit, values, (values + rng.integers(1, 3, len(values))) % 3)
            drawn.append(np.eye(3, dtype=np.float32)[said])
        sides.append(drawn)
    return sides


def balanced(truth: Truth, sides: Sides, units: Units) -> intervals.Metric:
    """The paired difference of balanced accuracy."""
    ours, theirs = (overall(truth, side, units)["balanced_accuracy"] for side in sides)
    return less(ours, theirs)


def plain(gap: intervals.Metric, units: int, draws: int) -> Difference:
    """Percentiles that are not expanded."""
    values = intervals.resampled(gap, units, draws).values
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Difference(0.0, float(low), float(high), 0.0, units, draws)


def alone(gap: intervals.Metric, units: int, draws: int) -> Difference:
    """Student's interval over draws, as if the cases were all there are; none of one draw."""
    if draws < 2:
        return Difference(*[float("nan")] * 4, units, draws)
    whole = np.ones((1, units))
    values = [float(gap(draw, whole)[0]) for draw in range(draws)]
    return over_draws(values, [0.0] * draws)


WAYS: dict[str, Callable[[intervals.Metric, int, int], Difference]] = {
    "cases and draws": difference,
    "not expanded": plain,
    "jackknife": jackknife,
    "draws alone": alone,
}


def coverage(cases: int, draws: int, repetitions: int) -> dict[str, tuple[float, float]]:
    """Of each way the share of intervals that hold the true difference, and their mean width."""
    hits = {name: np.zeros(repetitions) for name in WAYS}
    widths = {name: np.zeros(repetitions) for name in WAYS}
    for repetition in range(repetitions):
        rng = np.random.default_rng([cases, draws, repetition])
        truth, units = made_cases(rng, cases)
        gap = balanced(truth, made_sides(rng, truth, units, draws), units)
        for name, way in WAYS.items():
            found = way(gap, cases, draws)
            hits[name][repetition] = found.low <= GAP <= found.high
            widths[name][repetition] = found.high - found.low
    return {name: (float(hits[name].mean()), float(widths[name].mean())) for name in WAYS}


def equal_pair(number: int, cases: int, draws: int = 5, dim: int = 16) -> Difference:
    """Two equally good encoders: the same signal, each with noise of its own; probes of few labels.

    Cases shift all features of theirs; both sides learn from the same labels, other labels for
    each pair.
    """
    rng = np.random.default_rng([7, number])
    truth, units = made_cases(rng, cases + 40)
    signal = rng.normal(size=(3, dim))[truth.values] * 0.5
    shift = rng.normal(size=(len(units), dim))[units.place] * 0.4
    features = [
        (signal + shift + rng.normal(size=signal.shape)).astype(np.float32) for _ in range(2)
    ]
    test = units.place < cases
    others = np.flatnonzero(~test)
    sides: Sides = [[], []]
    for _ in range(draws):
        drawn = np.concatenate(
            [
                rng.choice(others[truth.values[others] == kind], 7, replace=False)
                for kind in range(3)
            ]
        )
        for side, rows in zip(sides, features, strict=True):
            head, _ = Probe(1.0).fit(rows[drawn], truth.values[drawn], 3)
            side.append(head.probabilities(Bags.of_samples(rows[test])))
    held = Units(units.names[:cases], units.place[test])
    return difference(balanced(truth.take(test), sides, held), cases, draws)


def equal_pairs(pairs: int, cases: int) -> list[Difference]:
    """So many pairs of equally good encoders."""
    return [equal_pair(number, cases) for number in range(pairs)]


def called(found: Difference) -> bool:
    """Whether one side is called better than the other."""
    return verdict(found.low, found.high, found.p) in ("better", "worse")


def equals(cases: int, draws: int, repetition: int) -> intervals.Metric:
    """The difference of two encoders that are equally right, on the same cases."""
    rng = np.random.default_rng([11, cases, repetition])
    truth, units = made_cases(rng, cases)
    sides = [made_sides(rng, truth, units, draws)[0] for _ in range(2)]
    return balanced(truth, sides, units)


def null_verdicts(repetitions: int, cases: int, draws: int) -> float:
    """Share of equals of which one is called better."""
    gaps = (equals(cases, draws, repetition) for repetition in range(repetitions))
    return sum(called(difference(gap, cases, draws)) for gap in gaps) / repetitions


def null_flips(repetitions: int, cases: int, draws: int) -> float:
    """Share of sign-flip tests below 5 % where nothing differs."""
    gaps = (equals(cases, draws, repetition) for repetition in range(repetitions))
    found = [sign_flip(pseudo_values(gap, cases, draws))[0] for gap in gaps]
    return sum(p < 0.05 for p in found) / repetitions


def null_folds(repetitions: int, cases: int, draws: int) -> float:
    """Share of equals of which one is called better as folds are judged: by the larger p."""
    wrong = 0
    for repetition in range(repetitions):
        gap = equals(cases, draws, repetition)
        found, (p, _) = jackknife(gap, cases, draws), sign_flip(pseudo_values(gap, cases, draws))
        wrong += verdict(found.low, found.high, max(p, found.p)) in ("better", "worse")
    return wrong / repetitions


def rare_class(cases: int, held: int, repetition: int) -> intervals.Metric:
    """The difference of equals, one draw of 30 samples a case; one class is in ``held`` cases."""
    rng = np.random.default_rng([cases, held, repetition])
    place = np.repeat(np.arange(cases), 30)
    values = ((place < held) & (np.arange(len(place)) % 30 < 15)).astype(int)
    units = Units(tuple(map(str, range(cases))), place)
    sides: Sides = []
    for _ in range(2):
        effect = rng.normal(0, 0.15, (cases, 2))
        hit = rng.random(len(place)) < 0.7 + effect[place, values]
        sides.append([np.eye(2, dtype=np.float32)[np.where(hit, values, 1 - values)]])
    return balanced(Truth(Task("made", ("a", "b"), exclusive=True), values), sides, units)


def rare_verdicts(repetitions: int, cases: int, held: int) -> tuple[float, float]:
    """Share of equals of which one is called better: n of the rarest class, and of all cases."""
    gaps = [rare_class(cases, held, repetition) for repetition in range(repetitions)]
    by_class = sum(called(difference(gap, cases, 1, held)) for gap in gaps)
    by_cases = sum(called(difference(gap, cases, 1)) for gap in gaps)
    return by_class / repetitions, by_cases / repetitions


@click.command
@click.option("--repetitions", default=2000)
@click.option("--pairs", default=200)
@click.option("--nulls", default=300)
def main(repetitions: int, pairs: int, nulls: int) -> None:
    """Print all tables."""
    click.echo("| cases | draws | " + " | ".join(WAYS) + " | sign flips below 5 % of none |")
    click.echo("| --- " * (3 + len(WAYS)) + "|")
    for cases, draws in ((7, 10), (7, 1), (12, 10), (30, 10), (30, 1), (30, 2)):
        found = coverage(cases, draws, repetitions)
        cells = [
            "" if np.isnan(width) else f"{share:.3f} ({width:.3f})"
            for share, width in found.values()
        ]
        flips = null_flips(repetitions, cases, draws)
        click.echo(f"| {cases} | {draws} | {' | '.join(cells)} | {flips:.3f} |")
    for cases in (8, 30):
        wrong = sum(map(called, equal_pairs(pairs, cases)))
        click.echo(f"{pairs} pairs of equals on {cases} cases: {wrong} called better or worse")
    click.echo("\n| cases | draws | equals of which one is called better |\n| --- | --- | --- |")
    for cases, draws in ((30, 2), (30, 5), (100, 2), (100, 3), (100, 5)):
        click.echo(f"| {cases} | {draws} | {null_verdicts(nulls, cases, draws):.3f} |")
    click.echo("\n| cases | with the rarest class | n of that class | n of all cases |")
    click.echo("| --- | --- | --- | --- |")
    for cases, held in ((20, 2), (20, 3), (20, 4), (20, 6), (8, 2), (8, 4)):
        by_class, by_cases = rare_verdicts(nulls, cases, held)
        click.echo(f"| {cases} | {held} | {by_class:.3f} | {by_cases:.3f} |")


if __name__ == "__main__":
    main()
