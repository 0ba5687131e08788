"""``histoscope tune``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from histoscope.apps.configuration import load_preset, resolve_settings
from histoscope.apps.console import Console
from histoscope.apps.flags import compute_of, compute_options, given_flags, spec_options
from histoscope.core.config import build, merge
from histoscope.core.errors import UsageError
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.training.arms import ArmSpec, TuneSpec

LEARN = (
    "method",
    "fraction",
    "cases_per_class",
    "whole_cases",
    "subsets",
    "draws",
    "draw_by",
    "seed",
)


@click.command("tune")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of all arms")
@click.option("--task", help="label table that judges  [default: the only one]")
@click.option(
    "--split",
    help="FILE or NAME, of which train and valid are read  [default: the store's split]",
)
@click.option("--preset", help="arms that ship with the program  [default: the domain's]")
@click.option("--arms", type=click.Path(path_type=Path), help="YAML with arms of your own instead")
@click.option("--set", "sets", multiple=True, help="KEY=VALUE over it, as steps=300 or arms.x=null")
@spec_options(TuneSpec, "steps", "rounds")
@spec_options(FinetuneSpec, *LEARN)
@click.option("--workers", type=int, help="processes that read and cut while a recipe learns")
@compute_options
@click.option("--dry-run", is_flag=True, help="try a few steps of each, say the hours, and stop")
def command(
    store: Path,
    out: Path,
    task: str | None,
    split: str | None,
    preset: str | None,
    arms: Path | None,
    sets: tuple[str, ...],
    workers: int | None,
    device: str,
    precision: str,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Choose a recipe of pretraining on the images and few labels of STORE.

    Each arm learns for a few steps and is scored on cases of the valid part; the better half learns
    anew for twice as many, and so on. Writes arms.csv and recipe.yaml, which pretrain takes with
    --config. The test part is never read. The same command goes on where it was stopped.
    """
    from histoscope.core.contracts.installed import load_domain
    from histoscope.core.data.store import Store
    from histoscope.core.stages.estimate import in_hours
    from histoscope.core.stages.tune import RECIPE, TABLE, Asked, check_parts, said, tune
    from histoscope.core.stages.tune_price import price

    if preset and arms:
        raise UsageError("give either --preset or --arms")
    opened, progress = Store(store), Console()
    given = given_flags(flags)
    chosen = None if arms else preset or opened.domain
    told = {name: one for name, one in given.items() if name not in LEARN}
    spec = resolve_settings(TuneSpec, "tune", chosen, arms, sets, told)
    learn = resolve_settings(
        FinetuneSpec, "finetune", None, None, (), {n: one for n, one in given.items() if n in LEARN}
    )
    ways = ways_of(spec, device, workers)
    asked = Asked(task, learn, split, compute_of(device, precision))
    check_parts(opened, asked)
    domain = load_domain(opened.domain)
    progress.say("a few steps of each recipe tell how long all take")
    seconds, each = price(opened, domain, ways, spec.steps, spec.rounds, asked)
    slowest = max(each, key=lambda name: each[name])
    progress.say(
        f"training takes about {in_hours(seconds)} on this machine ({len(each)} recipes; a step of "
        f"{slowest} takes {each[slowest]:.2g} s), scoring comes on top"
    )
    if dry_run:
        return
    rest = (ways, spec.steps, spec.rounds, asked, out)
    found = tune(opened, domain, *rest, progress=progress)
    for line in said(found, ways):
        click.echo(line)
    click.echo(f"{out / TABLE}: all arms; {out / RECIPE}: for pretrain --config")


def ways_of(spec: TuneSpec, device: str, workers: int | None) -> dict[str, Any]:
    """Recipes and encoders by name.

    Raises:
        UsageError: fewer than two.
        ConfigError: a preset or settings that there are not; the arm is named.
    """
    if len(spec.arms) < 2:
        raise UsageError("tune: give two arms or more")
    return {name: _way(name, arm, device, workers) for name, arm in spec.arms.items()}


def _way(name: str, arm: ArmSpec, device: str, workers: int | None) -> Any:
    from histoscope.core.training.spec import PretrainSpec

    if arm.start is not None:
        return arm.start
    body: Mapping[str, Any] = load_preset("recipe", arm.preset) if arm.preset else {}
    training = {"device": device, **({} if workers is None else {"workers": workers})}
    whole = merge(merge(dict(body), dict(arm.set)), {"training": training})
    return build(PretrainSpec, whole, f"arm {name}")
