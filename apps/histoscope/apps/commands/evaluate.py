"""``histoscope evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from histoscope.apps.console import Console


@click.command("evaluate")
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the results")
@click.option("--labels", type=click.Path(path_type=Path), help="a label table's file")
@click.option("--split", help="FILE:PART instead of the store's test split")
@click.option("--allow-seen", is_flag=True, help="score also what the package was trained on")
@click.option("--record", is_flag=True, help="keep the result in the package, for its reports")
def command(
    package: Path,
    store: Path,
    out: Path,
    labels: Path | None,
    split: str | None,
    allow_seen: bool,
    record: bool,
) -> None:
    """Score PACKAGE on the labelled test samples of STORE.

    Writes metrics.json, confusion.png and report.html. Refuses what the package has seen.
    """
    from histoscope.apps.report import write_evaluation_report
    from histoscope.core.data.store import Store
    from histoscope.core.evaluation.evaluate import evaluate, summary
    from histoscope.core.packages.package import open_package, record_evaluation

    opened = open_package(package)
    body = evaluate(
        opened,
        Store(store),
        out,
        split=split,
        labels=labels,
        allow_seen=allow_seen,
        progress=Console(),
    )
    write_evaluation_report(out, opened.info.model_dump(mode="json"))
    if record:
        record_evaluation(opened, summary(body))
    click.echo(describe(body))
    click.echo(f"report: {out / 'report.html'}")


def describe(body: Mapping[str, Any]) -> str:
    """A few lines that a person reads first."""
    labels = body["labels"]
    lines = [f"{body['samples']} samples; {len(labels)} draws of {labels[0]} labels"]
    for name in ("balanced_accuracy", "auc"):
        metric = body[name]
        low, high = metric["interval"]
        spread = metric["sd_over_draws"]
        lines.append(
            f"{name.replace('_', ' ')} {metric['value']:.3f}, 95 % interval {low:.3f} to "
            f"{high:.3f} over {body['interval_over']}"
            + (f", sd over draws {spread:.3f}" if spread is not None else "")
        )
    lines += [f"recall of {name} {metric['value']:.3f}" for name, metric in body["recall"].items()]
    return "\n".join([*lines, *body["cautions"]])
