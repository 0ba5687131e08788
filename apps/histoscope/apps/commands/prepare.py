"""``histoscope prepare``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from histoscope.apps.console import Console
from histoscope.apps.flags import (
    compute_of,
    domain_options,
    engine_of,
    roots_of,
    say_plan,
    split_options,
    stage_options,
    work_options,
)
from histoscope.apps.masking import asked_provider, say_masks
from histoscope.core.config import build
from histoscope.core.contracts.installed import chosen_domain, find_sources, load_domain
from histoscope.core.errors import UsageError


@click.command("prepare")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--domain", "domain_name", help="whose files; needed where several domains are installed"
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="the store's folder")
@click.option(
    "--encoding",
    type=click.Choice(["jpeg", "lossless"]),
    default="jpeg",
    show_default=True,
    help="JPEG quality 95 4:4:4, or lossless WebP",
)
@click.option("--masks", help="then mark subjects by this provider, as the command masks does")
@click.option("--masks-set", multiple=True, help="NAME=VALUE: a setting of that provider")
@work_options
@stage_options
@click.option("--root", multiple=True, help="NAME=PATH: where a named root lies on this machine")
@click.option("--dry-run", is_flag=True, help="say what would be read, and stop")
@domain_options("prepare")
def command(
    inputs: tuple[Path, ...],
    domain_name: str | None,
    out: Path,
    encoding: Any,
    masks: str | None,
    masks_set: tuple[str, ...],
    workers: int,
    deadline: float,
    stage: Path | None,
    stage_gb: float,
    root: tuple[str, ...],
    dry_run: bool,
    **values: Any,
) -> int:
    """Cut INPUTS (folders or files) into a store of samples.

    The same command goes on where it was stopped. Sources that cannot be used are rows with a
    reason in manifest.csv; the exit code is then 1.
    """
    domain = load_domain(chosen_domain(domain_name))
    own, options = split_options(domain, "prepare", values)
    sampling = build(domain.sampling, own, "command line")
    roots = roots_of(inputs, root)
    if masks_set and masks is None:
        raise UsageError("--masks-set: nothing is marked without --masks NAME")
    marking = asked_provider(masks, domain.name, masks_set) if masks else None
    if dry_run:
        return say_plan(find_sources(domain, roots, options), out)
    from histoscope.core.stages.prepare import prepare

    progress = Console()
    engine = engine_of(workers, deadline, stage, stage_gb, progress)
    outcomes = prepare(
        domain, roots, sampling, options, out, encoding=encoding, engine=engine, progress=progress
    )
    counts = Counter(outcome.status for outcome in outcomes)
    samples = sum(outcome.samples for outcome in outcomes)
    scale = ", ".join(f"{name} {value:g}" for name, value in sampling.scale().items())
    click.echo(
        f"{out}: {samples} samples of {sampling.size_px} px at {scale} from {counts['done']} "
        f"sources; {counts['empty']} empty, {counts['failed']} failed (see manifest.csv)"
    )
    code = 1 if counts["failed"] else 0
    if marking is None:
        return code
    from histoscope.core.data.store import Store
    from histoscope.core.stages.masks import make_masks

    compute = compute_of("auto", "float32", workers)
    made = make_masks(Store(out), *marking, engine=engine, compute=compute, progress=progress)
    return max(code, say_masks(out, made))
