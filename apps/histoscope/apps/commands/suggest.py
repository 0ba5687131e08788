"""``histoscope suggest``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from histoscope.apps.console import Console
from histoscope.apps.flags import compute_of, compute_options, domain_options, split_options
from histoscope.core.errors import UsageError


@click.command("suggest")
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    help="a folder of a run, a package or import-weights; timm:NAME, random:NAME or colour",
)
@click.option(
    "--package", type=click.Path(path_type=Path), help="a package: what it is sure of comes last"
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="folder of the results")
@click.option(
    "--count", default=40, show_default=True, type=click.IntRange(min=1), help="how many samples"
)
@click.option("--task", help="what the labels shall answer  [default: the only one known]")
@click.option("--classes", help="its classes, as a line of CSV  [default: those known]")
@click.option("--several", is_flag=True, help="any number of the classes may hold at once")
@click.option(
    "--method",
    type=click.Choice(["core-set", "typical"]),
    default="core-set",
    show_default=True,
    help="far from all that is labelled, or typical of many",
)
@click.option("--split", help="FILE:PART, NAME:PART or PART instead of the store's train split")
@click.option("--marked", is_flag=True, help="also samples that prepare marked as unfit")
@compute_options
@domain_options("suggest")
def command(
    store: Path,
    encoder: str | None,
    package: Path | None,
    out: Path,
    count: int,
    task: str | None,
    classes: str | None,
    several: bool,
    method: Any,
    split: str | None,
    marked: bool,
    device: str,
    precision: str,
    **values: Any,
) -> None:
    """Choose the samples of STORE that are most worth a label, and write a page to label them.

    One a case before two, nothing that has a label already, no near duplicates.
    """
    from histoscope.apps.report.label_page import check_classes
    from histoscope.apps.suggestions import folder_of, import_command, write_suggestions
    from histoscope.core.contracts.installed import load_domain
    from histoscope.core.data.store import Store
    from histoscope.core.inference.runner import Runner
    from histoscope.core.labelling.task import asked_task, class_names, labelled_ids
    from histoscope.core.packages.package import open_package
    from histoscope.core.stages.encoders import check_fits, open_encoder
    from histoscope.core.stages.suggest import suggest

    if (encoder is None) == (package is None):
        raise UsageError("suggest: give either --encoder or --package")
    opened, progress = Store(store), Console()
    domain = load_domain(opened.domain)
    _, options = split_options(domain, "suggest", values)
    names = class_names(classes)
    folder_of(out).take()
    model = open_package(package) if package else None
    asked = asked_task(opened, task, names, several, model.tasks if model else ())
    check_classes(asked)
    if model is not None:
        check_fits(model.info.encoder, opened, str(package))
        loaded, head = model.encoder(), _head_for(asked.name, model)
    else:
        loaded, head = open_encoder(encoder or "", opened, 0, progress), None
    compute = compute_of(device, precision)
    compute.say(progress)
    runner = Runner.of(loaded, compute)
    found = suggest(
        opened,
        runner,
        asked,
        labelled_ids(opened, asked),
        count,
        head=head,
        method=method,
        split=split,
        marked=marked,
        progress=progress,
    )
    artefacts = write_suggestions(opened, domain, found, options, out)
    then = import_command(shlex.quote(str(store)), opened, found)
    for one in artefacts:
        click.echo(f"{out / 'annotations' / one.file}: {one.title}")
    click.echo(
        f"{out}: {len(found.rows)} samples to label for {asked.name}\n"
        f"open {out / 'label.html'} in a browser, save, then: {then}"
    )


def _head_for(task: str, model: Any) -> Any:
    """The first draw's head of a package that answers a task."""
    answered = [one.name for one in model.tasks]
    if task not in answered:
        raise UsageError(f"--task {task}: the package answers {', '.join(answered)}")
    return model.head(answered.index(task))
