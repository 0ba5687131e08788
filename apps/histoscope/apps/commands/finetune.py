"""``histoscope finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from histoscope.apps.configuration import resolve_settings
from histoscope.apps.console import Console
from histoscope.apps.features import features_options, store_of
from histoscope.apps.flags import (
    compute_of,
    compute_options,
    domain_options,
    given_flags,
    spec_options,
)
from histoscope.core.errors import UsageError
from histoscope.core.learning.spec import FinetuneSpec


@click.command("finetune")
@click.argument("store", required=False, type=click.Path(path_type=Path))
@features_options
@click.option(
    "--encoder",
    help="a folder of a run, a package or import-weights; timm:NAME, random:NAME or colour",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="the package's folder; with --folds that of an evaluation",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    help="which label table of the store; again for several heads on one encoder",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="a label table's file instead; with --features also a CSV of sources with label, and case "
    "and split if one likes",
)
@click.option(
    "--classes", help="learn these classes only, a line of CSV; those left out have no label"
)
@spec_options(
    FinetuneSpec,
    "method",
    "cut",
    "fraction",
    "cases_per_class",
    "whole_cases",
    "subsets",
    "draws",
    "draw_by",
    "seed",
)
@click.option("--config", type=click.Path(path_type=Path), help="YAML with these settings and more")
@click.option("--set", "sets", multiple=True, help="KEY=VALUE, for example strength=1")
@click.option("--split", help="FILE:PART, NAME:PART or PART instead of the store's train split")
@click.option(
    "--folds",
    type=click.IntRange(2),
    help="score this way of learning on all labelled cases, dealt into so many parts; for sets of "
    "8 to 30 cases, and no package is made",
)
@click.option("--allow-seen", is_flag=True, help="of --folds: also cases that the encoder has seen")
@compute_options
@domain_options("features")
def command(
    store: Path | None,
    features: Path | None,
    domain: str | None,
    encoder: str | None,
    out: Path,
    tasks: tuple[str, ...],
    labels: Path | None,
    classes: str | None,
    config: Path | None,
    sets: tuple[str, ...],
    split: str | None,
    folds: int | None,
    allow_seen: bool,
    device: str,
    precision: str,
    **flags: Any,
) -> None:
    """Turn an encoder and a few labels of STORE into a model package.

    With --features in place of STORE and --encoder features that CLAM, TRIDENT or embed computed
    are read, and sources are labelled by --labels; such a package predicts from features only.

    Each draw sees its own few labels, the same for every encoder; the first draw predicts, all
    are evaluated. With --folds OUT is an evaluation, which compare takes: each case is predicted
    by heads that have not seen its fold.
    """
    from histoscope.core.labelling.task import class_names
    from histoscope.core.stages.finetune import finetune

    if features is None and encoder is None:
        raise UsageError("give --encoder, or --features in place of STORE and --encoder")
    if features is not None and encoder is not None:
        raise UsageError("--encoder is of STORE; features say theirs, or --feature-encoder does")
    own = {name: one for name, one in flags.items() if name in FinetuneSpec.model_fields}
    of_features = {name: one for name, one in flags.items() if name not in own}
    spec = resolve_settings(FinetuneSpec, "finetune", None, config, sets, given_flags(own))
    progress = Console()
    opened, table = store_of(store, features, domain, of_features, labels, tasks, progress)
    asked: dict[str, Any] = {
        "compute": compute_of(device, precision),
        "tasks": () if features else tasks,
        "labels": table,
        "classes": class_names(classes),
        "split": split,
        "progress": progress,
    }
    if folds is not None:
        _score_by_folds(opened, encoder or "", spec, folds, out, allow_seen=allow_seen, **asked)
        return
    if allow_seen:
        raise UsageError("--allow-seen is of --folds")
    package = finetune(opened, encoder or "", spec, out, **asked)
    network = encoder or package.info.encoder.architecture
    for head in package.info.heads:
        click.echo(
            f"{out}: {head.task} ({', '.join(head.asked_task.classes)}) by {head.method} on "
            f"{network}; {len(head.labels)} draws of {head.labels[0]} labels"
        )


def _score_by_folds(
    store: Any, encoder: str, spec: FinetuneSpec, folds: int, out: Path, **asked: Any
) -> None:
    """An evaluation in place of a package."""
    from histoscope.apps.commands.evaluate import describe
    from histoscope.apps.report import write_evaluation_report
    from histoscope.core.stages.folds import cross_validate

    body, info = cross_validate(store, encoder, spec, folds, out, **asked)
    write_evaluation_report(out, info.model_dump(mode="json"))
    for task, measured in body["tasks"].items():
        click.echo(describe(task, measured))
    click.echo(f"report: {out / 'report.html'}")
