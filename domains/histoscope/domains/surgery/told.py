"""What the user told of an operation beside its frames, resolved once, when it is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from histoscope.core.contracts import Source
from histoscope.core.errors import DataError
from histoscope.core.files import digest_of_bytes
from histoscope.domains.surgery.discovery import Operation, label_folder
from histoscope.domains.surgery.labels import FrameLabels, LabelFiles
from histoscope.domains.surgery.options import PrepareOptions, ReadOptions


@dataclass(frozen=True)
class ToldOfOperation:
    """How an operation is read.

    Attributes:
        name: what label files call it.
        parts: files in order, relative to the first one's folder.
        options: how videos and folders of frames are read.
        labels: what is known of its frames, None where nothing is.
        fault: why its labels cannot be used, empty where they can.
    """

    name: str
    parts: Sequence[str]
    options: ReadOptions
    labels: FrameLabels | None = None
    fault: str = ""


def with_told(found: Sequence[tuple[Source, Operation]], options: ReadOptions) -> Iterator[Source]:
    """Operations with :attr:`Source.told`, and the digest of what label files say of them.

    Raises:
        DataError: label files that were asked for are not what they should be, or speak of no
            operation.
    """
    prepare = options if isinstance(options, PrepareOptions) else None
    known = _Known(prepare) if prepare else None
    any_labels = False
    for source, one in found:
        told = ToldOfOperation(one.name, [part.name for part in one.parts], options)
        parts = list[bytes]()
        if known is not None:
            labels, parts, fault = known.of(one, source.case)
            told = replace(told, labels=labels, fault=fault)
        any_labels = any_labels or bool(parts)
        yield replace(source, told=told, given=digest_of_bytes(parts) if parts else "")
    asked = prepare and (prepare.labels or prepare.tools_csv)
    if asked and not any_labels:
        raise DataError(f"{asked}: speaks of no operation here; label files are named after videos")


class _Known:
    """Label files of all operations, each place opened once."""

    def __init__(self, options: PrepareOptions) -> None:
        self._options = options
        self._asked = options.labels or options.tools_csv
        self._opened = dict[Path | None, LabelFiles | str]()

    def of(self, one: Operation, case: str | None) -> tuple[FrameLabels | None, list[bytes], str]:
        """Labels by an operation's name, or its case; all that speaks of it; and a fault."""
        place = self._options.labels or label_folder(one.path)
        if place is None and self._options.tools_csv is None:
            return None, [], ""
        if place not in self._opened:
            self._opened[place] = self._open(place)
        files = self._opened[place]
        if isinstance(files, str):
            return None, [], files
        name = next((n for n in (one.name, case) if n and files.told_of(n)), one.name)
        try:
            return files.of(name), files.told_of(name), ""
        except DataError as fault:
            return None, files.told_of(name), str(fault)

    def _open(self, place: Path | None) -> LabelFiles | str:
        """The fault where those found beside the videos are not what they should be."""
        try:
            return LabelFiles(place, self._options.tools_csv, self._options.class_order)
        except DataError as fault:
            if self._asked:
                raise
            return str(fault)
