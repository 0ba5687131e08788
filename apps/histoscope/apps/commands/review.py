"""``histoscope review``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from histoscope.apps.console import Console
from histoscope.apps.flags import (
    compute_of,
    compute_options,
    domain_options,
    engine_of,
    flag_of,
    given_flags,
    roots_of,
    say_plan,
    split_options,
    stage_options,
    work_options,
)
from histoscope.core.config import build
from histoscope.core.contracts.installed import chosen_domain
from histoscope.core.errors import UsageError

PREDICTED = "predicted"  # folder of the results of --package


@click.command("review")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--package", type=click.Path(path_type=Path), help="model package, whose answers are shown"
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    help="in place of --package: what predict wrote of INPUTS",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the pages")
@click.option(
    "--domain", "domain_name", help="whose files  [default: the package's, or the only one]"
)
@click.option("--task", help="what the stretches answer  [default: the domain's own]")
@click.option("--classes", help="its classes, as a line of CSV; behind those of the package")
@click.option(
    "--start",
    type=click.Choice(["auto", "labels", "answers", "nothing"]),
    default="auto",
    show_default=True,
    help="what pages begin with; auto: labels that are known, else the package's answers",
)
@click.option(
    "--least-segment-s",
    "least_s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="the package's answers are merged by their scores so that no stretch lasts less; 0: none "
    "is merged",
)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0, min_open=True),
    help="seconds from still to still  [default: at most 480 stills, 1 s or more apart]",
)
@work_options
@stage_options
@compute_options
@click.option("--root", multiple=True, help="NAME=PATH: where a named root lies on this machine")
@click.option("--dry-run", is_flag=True, help="say what would be read, and stop")
@domain_options("review")
def command(
    inputs: tuple[Path, ...],
    package: Path | None,
    results: Path | None,
    out: Path,
    domain_name: str | None,
    task: str | None,
    classes: str | None,
    start: Any,
    least_s: float,
    every_s: float | None,
    workers: int,
    deadline: float,
    stage: Path | None,
    stage_gb: float,
    device: str,
    precision: str,
    root: tuple[str, ...],
    dry_run: bool,
    **values: Any,
) -> int:
    """Write a page for each of INPUTS on which a person labels it by time.

    A page is one file that loads nothing: stills, a timeline, keys, and what a package said, open
    where it was least certain. It saves a CSV of intervals, which prepare --labels reads.
    """
    from histoscope.apps.reviewing import (
        THEN,
        claim,
        predict_first,
        reviewable,
        said,
        write_reviews,
    )
    from histoscope.core.contracts.installed import find_sources, load_domain
    from histoscope.core.labelling.task import class_names
    from histoscope.core.stages.review import Asked, model_of
    from histoscope.core.work.reading import Opening

    progress, used = Console(), used_package(package, results)
    _check(used[0] if used else None, package is not None, domain_name, start)
    domain = load_domain(used[0].encoder.domain if used else chosen_domain(domain_name))
    able = reviewable(domain)
    _, options = split_options(domain, "review", values)
    roots, names = roots_of(inputs, root), class_names(classes)
    predicted = results or out / PREDICTED
    model = model_of(*used, predicted, able.reviewed, task) if used else None
    if model:
        names = list(dict.fromkeys([*(one.name for one in model.head.classes), *names]))
    asked = Asked(
        model.head.task if model else task or able.reviewed,
        able.reviewed,
        names,
        model,
        every_s,
        start,
        least_s,
    )
    found = find_sources(domain, roots, options)
    if dry_run:
        return say_plan(found, out)
    folder = claim(out, domain, options, found, asked)
    engine = engine_of(workers, deadline, stage, stage_gb, progress)
    if model and package:
        compute = compute_of(device, precision, workers)
        predict_first(package, domain, roots, options, model, engine, compute, progress)
    opening = Opening(
        domain.name, roots, model.sampling if model else build(domain.sampling, {}, "command line")
    )
    outcomes = write_reviews(opening, folder, found, asked, engine=engine, progress=progress)
    counts = Counter(outcome.status for outcome in outcomes)
    for outcome in outcomes:
        if outcome.status == "done":
            click.echo(said(outcome, out))
    click.echo(
        f"{out}: {counts['done']} pages, {counts['failed']} failed; open them in a browser, save, "
        f"then: {THEN.format(domain.name, 'SAVED')}"
    )
    return int(counts["failed"] > 0)


def used_package(package: Path | None, results: Path | None) -> tuple[Any, str] | None:
    """What the package says of itself, and its digest; None without one.

    Raises:
        UsageError: both are given.
    """
    from histoscope.core.packages.package import open_package
    from histoscope.core.stages.review import package_of_results

    if package is not None and results is not None:
        raise UsageError("give either --package or --results")
    if package is not None:
        opened = open_package(package)
        return opened.info, opened.digest
    return None if results is None else package_of_results(results)


def _check(info: Any, runs: bool, domain_name: str | None, start: str) -> None:
    """Refuse what contradicts. Raises UsageError."""
    if info and domain_name not in (None, info.encoder.domain):
        raise UsageError(f"--domain {domain_name}: the package is of {info.encoder.domain}")
    if info is None and start == "answers":
        raise UsageError("--start answers: give --package or --results")
    if info is None and given_flags({"least_s": None}):
        raise UsageError("--least-segment-s: speaks of answers; give --package or --results")
    asked = given_flags({"device": None, "precision": None})
    if asked and not runs:
        raise UsageError(f"{flag_of(next(iter(asked)))}: no network runs without --package")
