"""``histoscope score phases``."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from histoscope.domains.surgery.phases import CLASS_ORDERS

FORMAT = ("histoscope.phase-scores", 1)


@click.command("phases")
@click.option("--truth", required=True, type=click.Path(path_type=Path), help="folder of the truth")
@click.option(
    "--predicted",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="folder of predictions; give it again for further runs: mean and sd over runs",
)
@click.option(
    "--fps",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="frames a second that are scored",
)
@click.option(
    "--source-fps",
    default=25.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="frames a second that the frame numbers count",
)
@click.option(
    "--class-order",
    type=click.Choice(list(CLASS_ORDERS)),
    default="cholec80",
    show_default=True,
    help="whose ids bare ids are; which were read is said",
)
@click.option(
    "--absent",
    type=click.Choice(["skip", "zero"]),
    help="what a phase absent from the truth counts, instead of each protocol's own rule "
    "(not for relaxed_10s_as_published)",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the scores here")
def command(
    truth: Path,
    predicted: tuple[Path, ...],
    fps: float,
    source_fps: float,
    class_order: str,
    absent: str | None,
    json_file: Path | None,
) -> None:
    """Score predicted surgical phases, ours or another group's, by every protocol of the field.

    Both folders hold text files as Cholec80 has them (videoNN-phase.txt, videoNN.txt,
    videoNN_pred.txt): frame and phase, by name or by id, with or without header. They are joined
    by video and by frame number.
    """
    from histoscope.core.files import write_json
    from histoscope.domains.surgery.metrics.protocols import Absent
    from histoscope.domains.surgery.score.joining import Rate
    from histoscope.domains.surgery.score.phases_run import score
    from histoscope.domains.surgery.score.phases_text import body, lines

    found = score(
        truth,
        predicted,
        Rate(fps, source_fps),
        class_order=class_order,
        absent=cast("Absent | None", absent),
    )
    for line in lines(found):
        click.echo(line)
    if json_file is not None:
        write_json(json_file, *FORMAT, body(found))
