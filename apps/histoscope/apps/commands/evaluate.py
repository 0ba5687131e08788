"""``histoscope evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from histoscope.apps.console import Console
from histoscope.apps.features import features_options, store_of
from histoscope.apps.flags import compute_of, compute_options, domain_options


@click.command("evaluate")
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("store", required=False, type=click.Path(path_type=Path))
@features_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the results")
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="a label table's file, with --features also a CSV",
)
@click.option("--split", help="FILE:PART, NAME:PART or PART instead of the store's test split")
@click.option("--allow-seen", is_flag=True, help="score also what the package was trained on")
@compute_options
@click.option("--record", is_flag=True, help="keep the result in the package, for its reports")
@domain_options("features")
def command(
    package: Path,
    store: Path | None,
    features: Path | None,
    domain: str | None,
    out: Path,
    labels: Path | None,
    split: str | None,
    allow_seen: bool,
    record: bool,
    device: str,
    precision: str,
    **values: Any,
) -> None:
    """Score PACKAGE on the labelled test samples of STORE, or on --features with --labels.

    Writes metrics.json, pictures and report.html. Refuses what the package has seen.
    """
    from histoscope.apps.report import write_evaluation_report
    from histoscope.core.packages.package import open_package, record_evaluation
    from histoscope.core.stages.evaluate import evaluate, summaries

    opened, progress = open_package(package), Console()
    read, table = store_of(store, features, domain, values, labels, (), progress, opened)
    body = evaluate(
        opened,
        read,
        out,
        compute=compute_of(device, precision),
        split=split,
        labels=table,
        allow_seen=allow_seen,
        progress=progress,
    )
    write_evaluation_report(out, opened.info.model_dump(mode="json"))
    if record:
        record_evaluation(opened, summaries(body))
    for task, measured in body["tasks"].items():
        click.echo(describe(task, measured))
    click.echo(f"report: {out / 'report.html'}")


OVERALL = ("balanced_accuracy", "auc", "mean_average_precision", "mean_average_precision_by_unit")


def describe(task: str, body: Mapping[str, Any]) -> str:
    """A few lines about one task that a person reads first."""
    from histoscope.core.packages.card import between

    labels = body["labels"]
    lines = [f"{task}: {body['samples']} samples; {len(labels)} draws of {labels[0]} labels"]
    for name in OVERALL:
        if name in body:
            metric, over = body[name], body["interval_over"]
            over += " and draws" if len(labels) > 1 else ""
            spread = metric["sd_over_draws"]
            lines.append(
                f"{name.replace('_', ' ')} {three_decimals(metric['value'])}, 95 % interval "
                f"{between(metric['interval'])} over {over}"
                + (f", sd over draws {three_decimals(spread)}" if spread else "")
            )
    for each in ("recall", "average_precision"):
        for name, metric in body.get(each, {}).items():
            lines.append(f"{each.replace('_', ' ')} of {name} {three_decimals(metric['value'])}")
    return "\n".join([*lines, *body["cautions"]])


def three_decimals(value: float | None) -> str:
    """Three decimals, or ``undefined``."""
    return "undefined" if value is None else f"{value:.3f}"
