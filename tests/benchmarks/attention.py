"""Ways of attention, share of topk: made sources, few samples of which tell their class.

    python -m tests.benchmarks.attention [--sources 20] [--dim 16] [--rare 0.04] [--mode att_trans]

Every sample is noise about a place of its source's own (``drift``), which the mean of features
takes for a class; of sources of the second class ``rare`` of the samples lie elsewhere. Areas under
the ROC curve over 60 other sources, of three draws; the last column is that of attention against
the samples that tell. Nothing passes or fails.
"""

from __future__ import annotations

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from histoscope.core.contracts import Task
from histoscope.core.data.truth import Truth
from histoscope.core.heads.attention import AttentionHead
from histoscope.core.heads.contract import Bags
from histoscope.core.learning.attention import AttentionFitter
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.probe import ProbeFitter
from histoscope.core.learning.spec import AttentionSpec, ProbeSpec, TopKSpec
from histoscope.core.learning.topk import TopKFitter

ROWS, DRAWS, OTHERS = 150, 3, 60
SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
ONE = {"heads": 1, "units": 2048, "components": None, "sources": 1, "part": 1.0}
WAYS = {
    "usual": {},
    "400 steps": {"steps": 400},
    "rate 0.001": {"learning_rate": 1e-3},
    "decay 0.01": {"weight_decay": 1e-2},
    "all samples": {"part": 1.0},
    "all features": {"components": None},
    "one attention, as published": {**ONE, "learning_rate": 1e-3, "weight_decay": 1e-2},
}


def made(
    count: int, dim: int, drift: float, rare: float, seed: int
) -> tuple[Bags, NDArray[np.int64], NDArray[np.bool_]]:
    """Sources, their classes, and which samples tell, (count * ROWS,)."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 2
    features = rng.normal(size=(count, ROWS, dim)) + rng.normal(0, drift, (count, 1, dim))
    tells = (rng.random((count, ROWS)) < rare) & (labels == 1)[:, None]
    tells[:, 0] |= labels == 1
    features[tells, :3] += 4
    rows = features.reshape(-1, dim).astype(np.float32)
    return Bags(rows, np.arange(count + 1) * ROWS), labels, tells.reshape(-1)


def drawn(bags: Bags, labels: NDArray[np.int64]) -> Draw:
    """All of them, too few to calibrate on."""
    truth = Truth(Task("rare", ("without", "with"), level="source"), labels)
    units, dim = [f"case:{place}" for place in range(len(labels))], bags.features.shape[1]
    return Draw(truth, units, bags, dim, bags.features.mean(axis=0), "too few")


@click.command(help=__doc__)
@click.option("--sources", default=20)
@click.option("--dim", default=16)
@click.option("--drift", default=0.5)
@click.option("--rare", default=0.04)
@click.option("--mode", default="att")
def main(sources: int, dim: int, drift: float, rare: float, mode: str) -> None:
    """Print the table."""
    draws = [drawn(*made(sources, dim, drift, rare, 10 + seed)[:2]) for seed in range(DRAWS)]
    others, truth, tells = made(OTHERS, dim, drift, rare, 99)
    mean = [ProbeFitter(ProbeSpec()).fit(draw).head.probabilities(others) for draw in draws]
    click.echo("| head | way | sources | samples |")
    click.echo("| --- " * 4 + "|")
    click.echo(f"| mean | | {np.mean([roc_auc_score(truth, p[:, 1]) for p in mean]):.2f} | |")
    for name, told in WAYS.items() if mode == "att" else [("usual", {})]:
        spec = AttentionSpec.model_validate({"attention": {**told, "mode": mode}})
        heads = [AttentionFitter(spec).fit(draw).head for draw in draws]
        found = [roc_auc_score(truth, one.probabilities(others)[:, 1]) for one in heads]
        kept = [_found(one, others, tells) for one in heads if isinstance(one, AttentionHead)]
        click.echo(f"| {mode} | {name} | {np.mean(found):.2f} | {np.mean(kept):.2f} |")
    for share in SHARES:
        top = TopKSpec.model_validate({"topk": {"share": share}})
        scored = [TopKFitter(top).fit(draw).head.probabilities(others)[:, 1] for draw in draws]
        found = [roc_auc_score(truth, one) for one in scored]
        click.echo(f"| topk | share {share:g} | {np.mean(found):.2f} | |")


def _found(head: AttentionHead, others: Bags, tells: NDArray[np.bool_]) -> float:
    """How well attention ranks the samples of the sources that have some that tell."""
    parts = [
        roc_auc_score(
            tells[start : start + ROWS], head.attention(others.features[start : start + ROWS])
        )
        for start in others.starts[:-1]
        if tells[start : start + ROWS].any()
    ]
    return float(np.mean(parts))


if __name__ == "__main__":
    main()
