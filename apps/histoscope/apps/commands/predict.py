"""``histoscope predict``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from histoscope.apps.console import Console
from histoscope.apps.flags import (
    FEATURES,
    compute_of,
    compute_options,
    domain_options,
    engine_of,
    roots_of,
    say_plan,
    split_options,
    stage_options,
    work_options,
)
from histoscope.core.errors import UsageError

if TYPE_CHECKING:
    from histoscope.core.work.outcome import Outcome

NAMED = 3  # sources on the command line that are the most suspicious


@click.command("predict")
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    help="in place of INPUTS: a folder of features that CLAM, TRIDENT or embed computed",
)
@click.option("--package", required=True, type=click.Path(path_type=Path), help="model package")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of results")
@click.option("--shard", default="1/1", show_default=True, help="I/N: this call's part of INPUTS")
@click.option(
    "--engine",
    type=click.Choice(["local"]),
    default="local",
    show_default=True,
    help="who does the work; local: this machine",
)
@work_options
@stage_options
@compute_options
@click.option("--root", multiple=True, help="NAME=PATH: where a named root lies on this machine")
@click.option(
    "--suspicious",
    metavar="CLASS",
    help="rank sources by this class (or TASK:CLASS), and show where it is most probable, or of a "
    "class of sources what counted most; another class wants another --out",
)
@click.option(
    "--uncertain-below",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SCORE",
    help="call uncertain what no class reaches this score of; its evaluation says what that buys",
)
@click.option(
    "--zoom",
    multiple=True,
    metavar="SLIDE",
    help="write this source at every scale for a page in which all of it is seen; repeatable",
)
@click.option("--dry-run", is_flag=True, help="say what would be read and how long, and stop")
@domain_options("predict", FEATURES)
def command(
    inputs: tuple[Path, ...],
    features: Path | None,
    package: Path,
    out: Path,
    shard: str,
    engine: str,
    workers: int,
    deadline: float,
    stage: Path | None,
    stage_gb: float,
    device: str,
    precision: str,
    root: tuple[str, ...],
    suspicious: str | None,
    uncertain_below: float,
    zoom: tuple[str, ...],
    dry_run: bool,
    **values: Any,
) -> int:
    """Run a model package over INPUTS (folders or files) and report.

    One bad source never ends the batch: it is a row with a reason, and the exit code is 1. A
    second call does what is left. With --shard, run 'histoscope report OUT' once all are done.
    """
    from histoscope.apps.report import write_predict_report
    from histoscope.core.contracts.installed import find_sources, load_domain
    from histoscope.core.packages.package import open_package
    from histoscope.core.stages.doubt import check_doubt
    from histoscope.core.stages.estimate import estimate_prediction
    from histoscope.core.stages.predict import plan_prediction, predict
    from histoscope.core.stages.suspects import Suspicion
    from histoscope.core.stages.zoom import named_sources, write_zooms

    opened, progress = open_package(package), Console()
    domain = load_domain(opened.info.encoder.domain)
    if features is None and not inputs:
        raise UsageError("give INPUTS, folders or files; or --features in their place")
    if features is not None and (inputs or suspicious or zoom):
        given = "INPUTS" if inputs else "--suspicious" if suspicious else "--zoom"
        raise UsageError(f"--features has no pictures: leave {given} away")
    _, options = split_options(domain, "predict" if features is None else FEATURES, values)
    places = inputs if features is None else (features,)
    roots, part = roots_of(places, root), parse_shard(shard)
    wanted = Suspicion.of(opened.tasks, suspicious) if suspicious is not None else None
    check_doubt(opened.info.heads, uncertain_below)
    every = find_sources(domain, roots, options).sources if zoom else ()
    enlarged = named_sources(domain, zoom, every)
    if dry_run:
        found, _ = plan_prediction(opened, domain, roots, options, part, given=features is not None)
        code = say_plan(found, out)
        how = compute_of(device, precision, 1), engine_of(1, deadline), wanted, uncertain_below
        told = estimate_prediction(opened, roots, options, found.sources, *how)
        click.echo(told.said)
        return code
    works = engine_of(workers, deadline, stage, stage_gb, progress)
    outcomes = predict(
        package,
        roots,
        options,
        out,
        engine=works,
        compute=compute_of(device, precision, workers),
        shard=part,
        suspicious=wanted,
        uncertain_below=uncertain_below,
        given=features is not None,
        progress=progress,
    )
    mine = {outcome.source.id for outcome in outcomes}
    here = [one for one in enlarged if one.id in mine]
    cut = opened.info.encoder.cut(str(package))
    zooms = write_zooms(domain, roots, cut, here, out, engine=works, progress=progress)
    say_results(outcomes, out, suspicious, write_predict_report(out))
    return int(any(one.status == "failed" for one in (*outcomes, *zooms)))


def say_results(
    outcomes: Sequence[Outcome], out: Path, suspicious: str | None, report: Path
) -> None:
    """Say how much was done, and where to look."""
    from histoscope.apps.report.page import visible
    from histoscope.core.stages.suspects import ranked

    counts = Counter(outcome.status for outcome in outcomes)
    samples = sum(outcome.samples for outcome in outcomes)
    click.echo(
        f"{samples} samples of {counts['done']} sources predicted; {counts['empty']} empty, "
        f"{counts['failed']} failed (see {out / 'manifest.csv'})"
    )
    if first := ranked(outcomes)[:NAMED]:
        named = ", ".join(f"{visible(one.source.path)} ({score:.2f})" for one, score in first)
        click.echo(f"most suspicious of {suspicious}: {named} (see {out / 'suspicious.csv'})")
    click.echo(f"report: {report}")


def parse_shard(word: str) -> tuple[int, int]:
    """``2/5`` to (2, 5).

    Raises:
        UsageError: not I/N with 1 <= I <= N.
    """
    number, slash, count = word.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise UsageError(f"--shard {word}: expected I/N with 1 <= I <= N, for example 2/5")
