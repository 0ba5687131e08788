"""Files of a folder of suggestions: the table, the page, and the field's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
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
from histoscope.apps.report.page import heading
from histoscope.core.config import Spec
from histoscope.core.contracts import Artefact, Domain, Source
from histoscope.core.data.store import MANIFEST, ImageReader, Store
from histoscope.core.errors import DataError, UsageError
from histoscope.core.files import holds_anything, read_json, read_table
from histoscope.core.labelling.task import class_line
from histoscope.core.stages.suggest import SUGGEST, Suggestions

PLACES, PAGE = "annotations", "label.html"  # the page is written last
BEGUN = f"{PLACES}.part"  # until all of them are there
_OURS = re.compile(rf"suggest\.json|suggested\.csv|{re.escape(BEGUN)}")
_PART = re.compile(r"(suggest\.json|suggested\.csv|label\.html)(\.\d+\.part)+")


def check_folder(out: Path) -> None:
    """See that suggestions may go to a folder: nothing is there, or they were interrupted.

    Raises:
        UsageError: ``out`` is a file, or holds something else.
    """
    if holds_anything(out) and not _unfinished(out):
        raise UsageError(f"{out}: not empty; give another --out")


def _unfinished(out: Path) -> bool:
    """Whether all that a folder holds was written by a ``suggest`` that did not end."""
    names = [file.name for file in out.iterdir() if not _PART.fullmatch(file.name)]
    if not names:
        return True
    try:
        read_json(out / "suggest.json", *SUGGEST)  # the first that is written
    except (DataError, OSError):
        return False
    return all(_OURS.fullmatch(name) for name in names)


def _clear(out: Path) -> None:
    """Take away what was not ended."""
    check_folder(out)
    for file in out.iterdir() if out.exists() else ():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name != "suggest.json":
            file.unlink()
    (out / "suggest.json").unlink(missing_ok=True)  # last: by it the rest is known


def write_suggestions(
    store: Store, domain: Domain, found: Suggestions, options: Spec, out: Path
) -> list[Artefact]:
    """Write ``suggested.csv``, what the field's viewers open, and ``label.html``.

    Returns:
        The files of the second kind.

    Raises:
        UsageError: as :func:`check_folder`.
    """
    _clear(out)
    found.write(out)
    manifest = {
        row["id"]: row for row in read_table(store.path / "manifest.parquet", *MANIFEST).to_pylist()
    }
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
    if task.name in store.tasks() and store.labels(task.name)[0].classes == task.classes:
        return command
    return f"{command} --classes {shlex.quote(class_line(task.classes))}"


def _items(
    store: Store, domain: Domain, found: Suggestions, manifest: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    reader = ImageReader(store)
    names = [field.name for field in domain.location if field.type != "string"]
    scale = ", ".join(f"{heading(name)} {value:g}" for name, value in store.scale.items())
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
        place = [f"{heading(n)} {_number(told[n])}" for n in names if told[n] is not None]
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
