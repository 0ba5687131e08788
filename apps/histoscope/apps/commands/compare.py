"""``histoscope compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("compare")
@click.argument("one", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="for scripts")
def command(one: Path, other: Path, as_json: bool) -> None:
    """Is ONE better than OTHER? Two folders that 'evaluate' wrote, paired over cases and draws.

    Both must have been learnt from the same draws of labels and scored on the same samples.
    """
    from histoscope.core.stages.compare import compare

    found = compare(one, other)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for task, metrics in found.items():
        for name, both in metrics.items():
            click.echo(f"{task} {name.replace('_', ' ')}: {_line(both)}")


def _line(both: dict[str, Any]) -> str:
    """Both values, the interval over cases, and below its own name that over draws alone."""
    gap, alone = both["difference"], both.get("over_draws")
    verdict = "above" if gap["low"] > 0 else "below" if gap["high"] < 0 else "around"
    said = (
        f"{both['one']:.3f} and {both['other']:.3f}, difference {gap['mean']:+.3f} "
        f"(95 % interval {gap['low']:+.3f} to {gap['high']:+.3f}, {verdict} 0, over {gap['units']} "
        f"{both['interval_over']} and {gap['draws']} draws"
    )
    if alone:
        said += f"; over draws alone {alone['low']:+.3f} to {alone['high']:+.3f}"
    return said + ")"
