"""``histoscope pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from histoscope.apps.configuration import resolve_settings
from histoscope.apps.console import Console
from histoscope.apps.flags import given_flags, spec_options
from histoscope.core.training.spec import PretrainSpec, TrainingSpec


@click.command("pretrain")
@click.argument("stores", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="the run's folder")
@click.option("--preset", help="a recipe that ships with the program, for example simclr")
@click.option("--config", type=click.Path(path_type=Path), help="YAML over the preset")
@click.option("--set", "sets", multiple=True, help="KEY=VALUE over the rest, for example a.b=1")
@spec_options(PretrainSpec, "init")
@spec_options(
    TrainingSpec, "steps", "seed", "workers", "checkpoint_every", "device", told="{} (training.{})"
)
@click.option("--split", help="FILE:PART, NAME:PART or PART instead of the store's train split")
@click.option("--from-step", type=int, help="go on from this checkpoint, and remove later ones")
@click.option("--dry-run", is_flag=True, help="print the resolved configuration and the plan")
def command(
    stores: tuple[Path, ...],
    out: Path,
    preset: str | None,
    config: Path | None,
    sets: tuple[str, ...],
    init: str | None,
    split: str | None,
    from_step: int | None,
    dry_run: bool,
    **training: Any,
) -> None:
    """Learn an encoder from images of STORES, without labels.

    Order of settings: defaults < preset < --config < --set < the flags. The same command goes on
    where it was stopped.
    """
    from histoscope.core.config import dump
    from histoscope.core.contracts.installed import load_domain
    from histoscope.core.data.joined import joined
    from histoscope.core.data.store import Store
    from histoscope.core.runtime.threads import is_main
    from histoscope.core.stages.pretrain import pretrain, rehearse

    asked = {"training": given_flags(training), **given_flags({"init": init})}
    spec = resolve_settings(PretrainSpec, "recipe", preset, config, sets, asked)
    opened = joined([Store(store) for store in stores])
    domain = load_domain(opened.domain)
    if dry_run:
        resolved, said = rehearse(opened, domain, spec, out, split, from_step)
        click.echo(dump(resolved), nl=False)
        click.echo(f"# reads {said}; would write {out}")
        return
    progress = Console()
    info = pretrain(opened, domain, spec, out, split=split, from_step=from_step, progress=progress)
    if not is_main():
        return
    click.echo(
        f"{out}: {info.architecture} after {spec.training.steps} steps; "
        f"encoder.safetensors, metrics.csv, curves.png, monitors.csv"
    )
