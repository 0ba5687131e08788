"""``histoscope labels``."""

from __future__ import annotations

from pathlib import Path

import click

from histoscope.apps.console import Console


@click.command("labels")
@click.argument("store", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--task", help="what the labels answer  [default: as the files say]")
@click.option(
    "--classes", help="its classes in order, as a line of CSV  [default: those known or found]"
)
@click.option(
    "--class-names", help="what classes are called here, as Tumor=tumour; NA=NA: it is a class"
)
@click.option("--null-values", help="what is written where the class is unknown, as NA,unknown")
@click.option("--later-wins", is_flag=True, help="of two labels that contradict, the later counts")
@click.option(
    "--out", type=click.Path(path_type=Path), help="a .parquet file for --labels, not the store"
)
def command(
    store: Path,
    files: tuple[Path, ...],
    task: str | None,
    classes: str | None,
    class_names: str | None,
    null_values: str | None,
    later_wins: bool,
    out: Path | None,
) -> None:
    """Take FILES of labels (the page of suggest saves one) into the label table of STORE.

    Of operations also segments.json of predict, as it is or edited.

    They join what the table says already, and what a label table of the same task says that --out
    is already. A sample or source that STORE does not hold, an unknown class or a contradiction is
    refused, and nothing is written.
    """
    from histoscope.core.data.store import Store
    from histoscope.core.errors import UsageError
    from histoscope.core.labelling.task import class_names as names_in
    from histoscope.core.stages.labels import import_labels, read_labels
    from histoscope.core.tables.classes import ClassNames

    try:
        meant = ClassNames.parse(class_names, null_values)
    except ValueError as fault:
        raise UsageError(f"--class-names {class_names}: {fault}") from None
    opened = Store(store)
    names = names_in(classes)
    told = [read_labels(opened, file, meant) for file in files]
    table = import_labels(
        opened,
        told,
        task,
        names,
        meant=meant,
        out=out,
        later_wins=later_wins,
        progress=Console(),
    )
    asked = table.task
    path = out or store / "labels" / f"{asked.name}.parquet"
    table.write(path)
    kinds = ", ".join(asked.classes)
    click.echo(f"{path}: {len(table.rows)} {asked.level}s with labels of {asked.name} ({kinds})")
