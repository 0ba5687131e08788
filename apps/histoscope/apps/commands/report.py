"""``histoscope report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("directory", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """Rebuild manifest.csv and report.html of DIRECTORY, which 'predict' wrote."""
    from histoscope.apps.report import write_predict_report
    from histoscope.core.work.manifest import write_manifest

    write_manifest(directory)
    click.echo(f"report: {write_predict_report(directory)}")
