"""Files of a folder of suggestions: the table, the page, and the field's own."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histoscope.apps.report.label_page import (
    context_uri,
    file_name,
    picture_uri,
    write_label_page,
)
from histoscope.core.config import Spec
from histoscope.core.contracts import Artefact, Domain, Source
from histoscope.core.data.store import Store
from histoscope.core.labelling.task import class_line
from histoscope.core.stages.suggest import SUGGEST, Suggestions
from histoscope.core.work.folder import OutFolder

PLACES, PAGE = "annotations", "label.html"  # the page is written last
BEGUN = f"{PLACES}.part"  # until all of them are there


def folder_of(out: Path) -> OutFolder:
    """The folder that suggestions shall go to."""
    return OutFolder(out, SUGGEST, closing=PAGE, left=["suggested.csv", BEGUN])


def write_suggestions(
    store: Store, domain: Domain, found: Suggestions, options: Spec, out: Path
) -> list[Artefact]:
    """Write ``suggested.csv``, what the field's viewers open, and ``label.html``.

    Returns:
        The files of the second kind.

    Raises:
        UsageError: ``out`` holds something else.
    """
    folder_of(out).take()
    found.write(out)
    manifest = store.manifest
    items = list(_items(store, domain, found, manifest))
    artefacts = list[Artefact]()
    for source in dict.fromkeys(found.table.column("source").to_pylist()):
        rows = found.table.filter(pc.equal(found.table.column("source"), source))
        names = [f"suggested {rank}" for rank in rows.column("rank").to_pylist()]
        told = manifest[source]
        opened = Source(source, told["path"], told["root"], case=told["case"])
        artefacts += domain.point_out(
            opened,
            json.loads(told["facts"] or "{}"),
            rows.append_column("name", pa.array(names, pa.string())),
            options,
            out / BEGUN,
        )
    page = out / f"{PAGE}.{os.getpid()}.part"
    write_label_page(page, found.task, items, import_command("STORE", store, found))
    if (out / BEGUN).exists():
        os.replace(out / BEGUN, out / PLACES)
    os.replace(page, out / PAGE)
    return artefacts


def import_command(name: str, store: Store, found: Suggestions) -> str:
    """What takes the page's file into the store, which is called ``name``.

    Classes are given only where the store's own table does not say the same of them.
    """
    task = found.task
    command = f"histoscope labels {name} {file_name(task)}"
    if task.name in store.tasks() and store.labels(task.name).task.classes == task.classes:
        return command
    return f"{command} --classes {shlex.quote(class_line(task.classes))}"


def _items(
    store: Store, domain: Domain, found: Suggestions, manifest: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    reader = store.reader
    names = [field.name for field in domain.location if field.type != "string"]
    scale = ", ".join(
        f"{name.replace('_', ' ')} {value:g}" for name, value in store.sampling.scale().items()
    )
    sources = store.index.column("source")
    for row, told in zip(found.rows.tolist(), found.table.to_pylist(), strict=True):
        image = reader.image(row)
        beside = store.index.filter(pc.equal(sources, told["source"])).select(names)
        first = pc.index(sources, told["source"]).as_py()  # a source's rows stand together
        around = [
            (one, reader.image(first + one.place))
            for one in domain.around(beside, row - first)
            if store.index.column("shard")[first + one.place].is_valid
        ]
        place = [f"{n.replace('_', ' ')} {_number(told[n])}" for n in names if told[n] is not None]
        facts = {
            "source": f"{manifest[told['source']]['path']} ({told['source']})",
            "case": told["case"] or "unknown",
            "place": ", ".join(place),
            "image": f"{image.shape[1]} x {image.shape[0]} px, {scale}",
            "why": told["why"],
        }
        yield {
            "id": told["id"],
            "image": picture_uri(image),
            "width": image.shape[1],
            "context": context_uri(image, around),
            "facts": facts,
        }


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
