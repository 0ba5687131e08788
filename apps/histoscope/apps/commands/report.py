"""``histoscope report``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("directory", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """Rebuild manifest.csv, durations.csv and report.html of DIRECTORY, which 'predict' wrote."""
    from histoscope.apps.report import write_predict_report
    from histoscope.core.stages.predict import read_results, remove_left_reports
    from histoscope.core.work.outcome import write_manifest

    outcomes = read_results(directory)[1]
    remove_left_reports(directory)
    write_manifest(directory, outcomes)
    click.echo(f"report: {write_predict_report(directory, anew=True)}")
