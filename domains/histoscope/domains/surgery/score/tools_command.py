"""``histoscope score tools``."""

from __future__ import annotations

from pathlib import Path

import click

FORMAT = ("histoscope.tool-scores", 1)


@click.command("tools")
@click.option("--truth", required=True, type=click.Path(path_type=Path), help="folder of the truth")
@click.option(
    "--predicted",
    required=True,
    type=click.Path(path_type=Path),
    help="folder of probabilities, in the same form",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write the scores here")
def command(truth: Path, predicted: Path, json_file: Path | None) -> None:
    """Score predicted tools by average precision, over all frames and video by video.

    Both folders hold text files as Cholec80 has them (videoNN-tool.txt): a header that names the
    tools, then a frame number and a value for each. They are joined by video and frame number.
    """
    from histoscope.core.files import write_json
    from histoscope.domains.surgery.score.tools_run import score

    found = score(truth, predicted)
    for line in found.lines():
        click.echo(line)
    if json_file is not None:
        write_json(json_file, *FORMAT, found.body())
