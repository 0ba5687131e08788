"""``histoscope demo``."""

from __future__ import annotations

from pathlib import Path

import click

from histoscope.apps.console import Console
from histoscope.apps.flags import compute_of, compute_options
from histoscope.core.contracts.installed import working_domains


@click.command("demo")
@click.option("--domain", "domain_name", help="whose phantom  [default: the first installed]")
@click.option(
    "--out",
    default=Path("out/demo"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="folder of all that is made",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="of pretraining  [default: the phantom's]"
)
@click.option(
    "--draws",
    default=5,
    show_default=True,
    type=click.IntRange(min=2),
    help="of 1 % of the labels; the gain's interval needs two",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="of everything"
)
@click.option(
    "--require-gain", type=float, help="exit code 1 unless pretraining gains this, interval above 0"
)
@compute_options
def command(
    domain_name: str | None,
    out: Path,
    steps: int | None,
    draws: int,
    seed: int,
    require_gain: float | None,
    device: str,
    precision: str,
) -> int:
    """Run the whole road on a built-in phantom: prepare, pretrain, finetune, evaluate, predict.

    Prints what pretraining gained beside both baselines, and last where the report is. Called
    again it goes on, or finds all done.
    """
    from histoscope.apps.demonstration import demonstrate

    known = [domain.name for domain in working_domains()]
    name = domain_name or known[0]
    progress = Console()
    progress.say(f"demo of {name} (--domain takes one of: {', '.join(known)})")
    gain, report = demonstrate(
        name, out, steps, draws, seed, compute_of(device, precision, 1), progress
    )
    met = require_gain is None or (gain.mean >= require_gain and gain.low > 0)
    if require_gain is not None:
        verdict = "met" if met else "NOT MET"
        click.echo(f"asked for at least {require_gain:+.3f}, interval above 0: {verdict}")
    click.echo(f"report: {report}")
    return 0 if met else 1
