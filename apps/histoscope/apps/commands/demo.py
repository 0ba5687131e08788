"""``histoscope demo``."""

from __future__ import annotations

from pathlib import Path

import click

from histoscope.apps.console import Console


@click.command("demo")
@click.option(
    "--domain", "domain_name", default="pathology", show_default=True, help="whose phantom"
)
@click.option("--out", default=Path("out/demo"), show_default=True, type=click.Path(path_type=Path))
@click.option("--steps", type=int, help="of pretraining  [default: the phantom's]")
@click.option("--draws", default=5, show_default=True, help="of 1 % of the labels")
@click.option("--seed", default=0, show_default=True, help="of everything")
@click.option(
    "--require-gain", type=float, help="exit code 1 unless pretraining gains this, interval above 0"
)
def command(
    domain_name: str,
    out: Path,
    steps: int | None,
    draws: int,
    seed: int,
    require_gain: float | None,
) -> int:
    """Run the whole road on a built-in phantom: prepare, pretrain, finetune, evaluate, predict.

    Prints what pretraining gained beside both baselines, and last where the report is. Called
    again it goes on, or finds all done.
    """
    from histoscope.apps.demonstration import demonstrate

    gain, report = demonstrate(domain_name, out, steps, draws, seed, Console())
    met = require_gain is None or (gain.mean >= require_gain and gain.low > 0)
    if require_gain is not None:
        verdict = "met" if met else "NOT MET"
        click.echo(f"asked for at least {require_gain:+.3f}, interval above 0: {verdict}")
    click.echo(f"report: {report}")
    return 0 if met else 1
