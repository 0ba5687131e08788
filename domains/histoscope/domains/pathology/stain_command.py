"""``histoscope stain``: the stain statistics of a store, as a configuration of ``pretrain``."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("stain")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="the YAML file")
@click.option(
    "--space",
    type=click.Choice(["lab", "hsv", "hed"]),
    default="lab",
    show_default=True,
    help="colour space that statistics are measured and changed in",
)
@click.option(
    "--images",
    type=click.IntRange(min=10),
    default=2000,
    show_default=True,
    help="how many images are measured, drawn at random",
)
@click.option("--split", help="FILE:PART or NAME:PART instead of the store's train split")
def command(store: Path, out: Path, space: str, images: int, split: str | None) -> None:
    """Measure how tissue is coloured in STORE's train split, and how much that varies.

    OUT is for 'pretrain --config OUT': each view of a tile then takes on the colour statistics of
    another image that might have been in the store (RandStainNA). Its numbers stand in config.yaml
    of the run.
    """
    from histoscope.core.data.selection import select
    from histoscope.core.data.store import Store
    from histoscope.core.errors import DataError, UsageError
    from histoscope.core.files import write_text
    from histoscope.core.randomness import generator
    from histoscope.domains.pathology.stain_fit import as_configuration, fit_statistics

    opened = Store(store)
    if opened.domain != "pathology":
        raise DataError(f"{store}: holds images of {opened.domain}, which have no stain")
    if out.is_dir():
        raise UsageError(f"{out}: a folder, where a file is needed; give another --out")
    chosen = select(opened, "train", split, marked=False)
    order = generator(0, "pathology/stain-images").permutation(len(chosen.rows))[:images]
    with click.progressbar(
        map(opened.reader.image, chosen.rows[order]),
        length=len(order),
        label="images",
        file=sys.stderr,
    ) as decoded:
        try:
            spec, count = fit_statistics(decoded, space)
        except DataError as fault:
            raise DataError(f"{store}: {fault}") from None
    said = f"stain statistics ({space}) of {count} images with tissue out of {len(order)} read"
    write_text(out, as_configuration(spec, said))
    click.echo(f"reads {chosen.said}\n{out}: {said}")
