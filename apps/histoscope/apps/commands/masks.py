"""``histoscope masks``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from histoscope.apps.console import Console
from histoscope.apps.flags import compute_of, engine_of, work_options
from histoscope.apps.masking import asked_provider, say_masks
from histoscope.core.errors import UsageError

if TYPE_CHECKING:
    from histoscope.core.data.store import Store


@click.command("masks")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--provider", help="who marks the subjects; NAME@VERSION: masks that are there")
@click.option("--set", "sets", multiple=True, help="NAME=VALUE: a setting of the provider")
@click.option(
    "--encoder",
    help="for providers that want one, as --set encoder=...: a run, a package, timm:NAME, ...",
)
@work_options
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="of the encoder: auto, cpu, cuda or cuda:N; auto: the GPU where there is one",
)
@click.option(
    "--sheet", type=click.Path(path_type=Path), help="a PNG that shows masks of some samples"
)
@click.option("--list", "listed", is_flag=True, help="say who can, and what masks there are")
def command(
    store: Path,
    provider: str | None,
    sets: tuple[str, ...],
    encoder: str | None,
    workers: int,
    deadline: float,
    device: str,
    sheet: Path | None,
    listed: bool,
) -> int:
    """Mark what is the subject of each image of STORE, for augmentation of backgrounds.

    Masks lie beside the images, which stay as they are. The same command goes on where it was
    stopped. A source whose masks fail is a line with the reason; the exit code is then 1.
    """
    from histoscope.core.data.store import Store

    opened = Store(store)
    if listed:
        if provider or sets or encoder or sheet:
            raise UsageError("--list: only says what there is; leave out what else is asked for")
        return _list(opened)
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet {sheet}: a PNG is written; give a name that ends in .png")
    given = {"--set": sets, "--encoder": encoder}
    made_already = provider is None or "@" in provider
    if made_already:
        for flag, value in given.items():
            if value:
                raise UsageError(f"{flag}: nothing is made without --provider NAME")
        if sheet is None:
            raise UsageError(
                "masks: give --provider NAME, or --sheet FILE of masks that are there, or --list"
            )
    code = 0
    if not made_already:
        from histoscope.core.stages.masks import make_masks

        assert provider is not None
        who, settings = asked_provider(provider, opened.domain, sets, encoder)
        made = make_masks(
            opened,
            who,
            settings,
            engine=engine_of(workers, deadline),
            compute=compute_of(device, "float32", workers),
            progress=Console(),
        )
        code = say_masks(store, made)
        provider = made.name.partition(":")[2]
        if not made.sources:
            return code
    if sheet is not None:
        _sheet(opened, provider, sheet)
    return code


def _sheet(store: Store, asked: str | None, path: Path) -> None:
    from histoscope.core.stages.mask_sheet import plane_to_show, write_sheet

    name = plane_to_show(store, asked)
    shown = write_sheet(store, name, path)
    click.echo(f"{path}: {shown} samples with {name}")


def _list(store: Store) -> int:
    from histoscope.core.contracts.masks import MASKS, providers_of
    from histoscope.core.data.planes import plane_folder, planes_of

    for one in providers_of(store.domain):
        click.echo(f"provider\t{one.name}\t{one.about}")
    for name in MASKS.names():
        try:
            MASKS.load(name)
        except UsageError as fault:
            click.echo(f"broken\t{name}\t{fault}")
    for name in planes_of(store):
        files = list(plane_folder(store, name).glob("*.arrow"))
        size = sum(file.stat().st_size for file in files)
        click.echo(f"there\t{name}\t{len(files)} sources, {size / 1e6:.3g} MB")
    return 0
