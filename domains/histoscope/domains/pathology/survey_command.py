"""``histoscope tissue``: what of each slide is tissue, to be looked at and corrected."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click


@click.command("tissue")
@click.argument("slides", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the results")
@click.option("--size-px", type=int, help="side of a tile, px  [default: 224]")
@click.option("--tile-mpp", type=float, help="scale of a tile, um per pixel  [default: 0.5]")
@click.option("--min-tissue", type=float, help="smallest part that is tissue  [default: 0.3]")
@click.option("--mpp-csv", type=click.Path(path_type=Path), help="CSV with columns slide,mpp")
@click.option("--default-mpp", type=float, help="um per pixel of slides whose file gives none")
@click.option(
    "--tissue", type=click.Path(path_type=Path), help="folder of outlines that were corrected"
)
@click.option(
    "--coordinates",
    type=click.Choice(["qupath", "level0"]),
    help="pixels of outlines: QuPath's, or of level 0 (its --no-crop)  [default: qupath]",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--deadline",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="seconds after which a slide counts as hung; 0: none",
)
def command(slides: Path, out: Path, workers: int, deadline: float, **asked: Any) -> int:
    """Find the tissue of SLIDES (a folder or a file), and say what is doubtful.

    Writes tissue.csv, one row a slide, with area, sharpness and warnings; a preview of each slide
    with its tissue and tiles; and outlines/, a GeoJSON a slide, which QuPath opens: correct them
    there, export, and give the folder to prepare, predict or embed as --tissue.
    """
    from histoscope.core.config import build
    from histoscope.core.contracts.installed import find_sources, load_domain
    from histoscope.core.progress import Silent
    from histoscope.core.work.folder import OutFolder, work_through
    from histoscope.core.work.local import Local
    from histoscope.core.work.reading import Opening
    from histoscope.domains.pathology.options import PrepareOptions, TileSampling
    from histoscope.domains.pathology.survey import PARTS, SURVEY, SurveyJob, write_survey

    class Said(Silent):
        def say(self, line: str) -> None:
            click.echo(line, err=True)

    given = {name: value for name, value in asked.items() if value is not None}
    cut = {name: given.pop(name) for name in list(given) if name in TileSampling.model_fields}
    sampling = build(TileSampling, cut, "command line")
    options = build(PrepareOptions, {**given, "layout": "slides"}, "command line")
    roots, domain = {"input": slides}, load_domain("pathology")
    found = find_sources(domain, roots, options)
    folder = OutFolder(out, SURVEY, parts=PARTS)
    usual = {
        "sampling": TileSampling().model_dump(mode="json"),
        "options": PrepareOptions().named(),
    }
    about = {"sampling": sampling.model_dump(mode="json"), "options": options.named()}
    folder.claim(about, usual=usual)
    job = SurveyJob(Opening(domain.name, roots, sampling), options.coordinates, folder)
    engine = Local(workers, deadline or math.inf)
    outcomes = work_through("tissue", found.sources, job, engine, Said())
    write_survey(out, outcomes)
    failed = sum(one.status == "failed" for one in outcomes)
    doubtful = sum(bool(one.reason) and one.status != "failed" for one in outcomes)
    told = f"{len(outcomes)} slides, {failed} failed, {doubtful} doubtful"
    click.echo(f"{out / 'tissue.csv'}: {told}")
    click.echo(f"outlines to correct: {out / 'outlines'}; then --tissue FOLDER")
    return int(failed > 0)
