"""``histoscope embed``."""

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
    roots_of,
    split_options,
    stage_options,
    work_options,
)
from histoscope.core.errors import UsageError


@click.command("embed")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--package", type=click.Path(path_type=Path), help="features of a model package")
@click.option("--encoder", type=click.Path(path_type=Path), help="features of a run")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of features")
@work_options
@stage_options
@compute_options
@click.option("--root", multiple=True, help="NAME=PATH: where a named root lies on this machine")
@domain_options("embed")
def command(
    inputs: tuple[Path, ...],
    package: Path | None,
    encoder: Path | None,
    out: Path,
    workers: int,
    deadline: float,
    stage: Path | None,
    stage_gb: float,
    device: str,
    precision: str,
    root: tuple[str, ...],
    **values: Any,
) -> int:
    """Write features of INPUTS (folders or files): Parquet, and HDF5 as other tools read it.

    Files are called by opaque ids, unless --layout says which tool shall find them by name.

    Same promises as predict: a bad source is a row with a reason, a second call does what is left.
    """
    from histoscope.core.contracts.installed import load_domain
    from histoscope.core.stages.embed import embed
    from histoscope.core.stages.encoders import open_folder

    if (package is None) == (encoder is None):
        raise UsageError("embed: give either --package or --encoder")
    folder = package or encoder
    assert folder is not None
    info = open_folder(folder).info
    info.cut(str(folder))
    domain = load_domain(info.domain)
    _, options = split_options(domain, "embed", values)
    progress = Console()
    outcomes = embed(
        folder,
        roots_of(inputs, root),
        options,
        out,
        engine=engine_of(workers, deadline, stage, stage_gb, progress),
        compute=compute_of(device, precision, workers),
        progress=progress,
    )
    counts = Counter(outcome.status for outcome in outcomes)
    samples = sum(outcome.samples for outcome in outcomes)
    click.echo(
        f"{out}: features of {samples} samples of {counts['done']} sources; {counts['empty']} "
        f"empty, {counts['failed']} failed (see manifest.csv)"
    )
    return 1 if counts["failed"] else 0
