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
    """Operations with :attr:`Source.given`: all that label files say of them.

    Raises:
        DataError: label files that were asked for are not what they should be, or speak of no
            operation.
    """
    any_told = False
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
        any_told = any_told or bool(told)
        yield replace(source, given=digest_of_bytes(told) if told else "")
    asked = options.labels or options.tools_csv
    if asked and not any_told:
        raise DataError(f"{asked}: speaks of no operation here; label files are named after videos")


def _open(place: Path | None, options: PrepareOptions) -> LabelFiles | None:
    """None where those found beside the videos are not what they should be: reading says why."""
    try:
        return LabelFiles(place, options.tools_csv, options.class_order)
    except DataError:
        if options.labels or options.tools_csv:
            raise
        return None
