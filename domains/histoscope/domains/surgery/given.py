"""What the user told of an operation beside its frames: a digest says when it has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from histoscope.core.contracts import Roots, Source, locate
from histoscope.core.errors import DataError
from histoscope.core.files import digest_of_bytes
from histoscope.domains.surgery.discovery import label_folder, operation_at
from histoscope.domains.surgery.labels import LabelFiles
from histoscope.domains.surgery.options import PrepareOptions


def with_given(
    sources: Iterable[Source], roots: Roots, options: PrepareOptions
) -> Iterator[Source]:
    """Operations with :attr:`Source.given`: all that label files say of them."""
    opened = dict[Path | None, LabelFiles | None]()
    for source in sources:
        one = operation_at(locate(source, roots), source.kind, options.part_regex)
        place = options.labels or label_folder(one.path)
        if place not in opened:
            opened[place] = _open(place, options)
        files = opened[place]
        told = files.told_of(one.name) if files else []
        if files and not told and source.case:
            told = files.told_of(source.case)
        yield replace(source, given=digest_of_bytes(told) if told else "")


def _open(place: Path | None, options: PrepareOptions) -> LabelFiles | None:
    """None where there are none, or where they are not what they should be, which reading says."""
    try:
        return LabelFiles(place, options.tools_csv, options.class_order)
    except DataError:
        return None
