"""``histoscope annotations``: what drawings say of the tiles of a store."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("annotations")
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the results")
@click.option("--task", default="tissue", show_default=True, help="what the classes answer")
@click.option("--classes", help="the classes that count, A,B,C  [default: all that are drawn]")
@click.option("--class-names", help="what classes are called here, as Tumor=tumour,Other=normal")
@click.option("--null-values", help="what a drawing without a class is called, as NA,unknown")
@click.option("--rest-is", help="class of what nobody drew on, on slides with annotations")
@click.option(
    "--coordinates",
    type=click.Choice(["qupath", "level0"]),
    default="qupath",
    show_default=True,
    help="pixels of annotations: QuPath's, or of level 0 (its --no-crop), as ASAP's are",
)
def command(store: Path, folder: Path, out: Path, classes: str | None, **asked: str | None) -> None:
    """Say which tiles of STORE the annotations of FOLDER label, QuPath's or ASAP's.

    Files are matched by name: x.svs by x.geojson or x.svs.geojson of QuPath, x.xml or x.svs.xml of
    ASAP. A tile takes the class that covers half of it or more. Writes annotations.csv, one row a
    drawing, whatever becomes of it, and labels-TASK.csv for 'histoscope labels'.
    """
    from histoscope.core.config import build
    from histoscope.core.data.store import Store
    from histoscope.domains.pathology.annotations.table import write_annotation_tables
    from histoscope.domains.pathology.options import PrepareOptions

    options = build(PrepareOptions, {**asked, "annotations": folder}, "command line")
    wanted = [name.strip() for name in (classes or "").split(",") if name.strip()]
    found = write_annotation_tables(Store(store), options, wanted, out)
    for name, count in found.tiles.items():
        click.echo(f"{name}: {count} tiles")
    click.echo(
        f"{out / 'annotations.csv'}: {found.used} of {found.drawings} annotations label a tile; "
        f"{found.idle} files of no slide or not readable"
    )
    if found.tiles:
        click.echo(f"take them in with: histoscope labels {store} {out / found.file}")
