"""``label.html``: suggested samples, labelled by keyboard; the answer is a label table."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from histoscope.apps.report.page import as_data, visible, write_page
from histoscope.core.contracts import Neighbour, Task
from histoscope.core.data.shard import encode
from histoscope.core.errors import UsageError
from histoscope.core.labelling.gather import KEYS as COLUMNS
from histoscope.core.labelling.gather import LABEL, TASK
from histoscope.core.packages.info import class_infos

KEYS = "123456789abcdefghijklmnopqrtvxyz"  # s, u and w do something else
CONTEXT_PX = 160  # side of one sample among its neighbours
ABSENT = (214, 216, 220)


def write_label_page(
    path: Path, task: Task, items: Sequence[Mapping[str, Any]], command: str
) -> None:
    """Write the page: one file that loads nothing.

    Args:
        path: of the page.
        task: what is asked; each class gets a key.
        items: one a sample, the first first: ``id``, ``image`` and ``context`` (``data:`` URIs;
            no context: None), ``width`` in px and ``facts``, name to text.
        command: what to do with the saved file, for the page's last line.

    Raises:
        UsageError: as :func:`check_classes`.
    """
    check_classes(task)
    classes = [
        {"name": kind.name, "key": KEYS[kind.id], "colour": kind.colour}
        for kind in class_infos(task)
    ]
    told = [task.name, *task.classes, *(item["id"] for item in items)]
    digest = hashlib.blake2b("\n".join(told).encode(), digest_size=8).hexdigest()
    file = file_name(task)
    data = {
        "task": task.name,
        "exclusive": task.exclusive,
        "classes": classes,
        "items": [{**item, "facts": _visible(item["facts"])} for item in items],
        "digest": f"histoscope-labels-{digest}",
        "file": file,
    }
    write_page(
        path,
        "label.html.j2",
        "label.css",
        "label.js",
        task=task.name,
        exclusive=task.exclusive,
        count=len(items),
        file=file,
        command=command,
        data=as_data(data),
    )


def check_classes(task: Task) -> None:
    """See that each class gets a key, and that the saved file can tell them apart.

    Raises:
        UsageError: more classes than keys, or a class that is called like another column.
    """
    if len(task.classes) > len(KEYS):
        raise UsageError(
            f"{len(task.classes)} classes of {task.name!r}: the page has keys for {len(KEYS)}; "
            "give fewer with --classes"
        )
    taken = {*COLUMNS["sample"], TASK, LABEL}
    for name in () if task.exclusive else task.classes:
        if name.lower() in taken:
            raise UsageError(f"--classes: {name!r} is a column's name already; rename it")
        taken.add(name.lower())


def file_name(task: Task) -> str:
    """What the page saves."""
    return f"labels-{task.name}.csv"


def _visible(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: str(visible(text)) for name, text in facts.items()}


def picture_uri(image: NDArray[np.uint8]) -> str:
    """A sample as it is, as JPEG of the store's quality."""
    return _uri(encode(image, "jpeg"))


def context_uri(
    image: NDArray[np.uint8], neighbours: Sequence[tuple[Neighbour, NDArray[np.uint8]]]
) -> str | None:
    """A sample framed among its neighbours, one side of it each way; None without neighbours."""
    if not neighbours:
        return None
    side = min(CONTEXT_PX, max(image.shape[:2]))
    tall = any(beside.down for beside, _ in neighbours)
    ground = Image.new("RGB", (3 * side, (3 if tall else 1) * side), ABSENT)
    for beside, picture in [*neighbours, (Neighbour(0, 0.0, 0.0), image)]:
        small = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
        corner = round((1 + beside.right) * side), round((tall + beside.down) * side)
        ground.paste(small, corner)
    draw = ImageDraw.Draw(ground)
    left, top = side, side * tall
    for grown, colour in ((2, "white"), (1, "black"), (0, "black")):
        box = (left - grown, top - grown, left + side - 1 + grown, top + side - 1 + grown)
        draw.rectangle(box, outline=colour)
    out = io.BytesIO()
    ground.save(out, format="JPEG", quality=88)
    return _uri(out.getvalue())


def _uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
