"""``histoscope compare``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("compare")
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="for scripts")
def command(one: Path, other: Path, as_json: bool) -> None:
    """Is ONE better than OTHER? Two folders that 'evaluate' wrote, paired over draws.

    Both must have been learnt from the same draws of labels and scored on the same samples.
    """
    from histoscope.core.stages.compare import compare

    found = compare(one, other)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for task, metrics in found.items():
        for name, both in metrics.items():
            gap = both["difference"]
            verdict = "above" if gap["low"] > 0 else "below" if gap["high"] < 0 else "around"
            click.echo(
                f"{task} {name.replace('_', ' ')}: {both['one']:.3f} and {both['other']:.3f}, "
                f"difference {gap['mean']:+.3f} (95 % interval {gap['low']:+.3f} to "
                f"{gap['high']:+.3f}, {verdict} 0, paired over {gap['draws']} draws)"
            )
