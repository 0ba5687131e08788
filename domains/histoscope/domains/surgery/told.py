"""What the user told of an operation beside its frames, resolved once, when it is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from histoscope.core.contracts import Source, Unused
from histoscope.core.errors import DataError
from histoscope.core.files import digest_of_bytes
from histoscope.core.tables.names import listed
from histoscope.domains.surgery.discovery import Operation, label_folder
from histoscope.domains.surgery.label_files import LabelFiles, others_of
from histoscope.domains.surgery.labels import FrameLabels
from histoscope.domains.surgery.options import PrepareOptions, ReadOptions, ReviewOptions


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


def with_told(
    found: Sequence[tuple[Source, Operation]], options: ReadOptions
) -> Iterator[Source | Unused]:
    """Operations with :attr:`Source.told`, and the digest of what label files say of them.

    Labels of none of them come last.

    Raises:
        DataError: label files that were asked for are not what they should be, or speak of no
            operation.
    """
    labelled = options if isinstance(options, ReviewOptions) else None
    known = _Known(labelled, found) if labelled else None
    any_labels = False
    for source, one in found:
        told = ToldOfOperation(one.name, [part.name for part in one.parts], options)
        parts = list[bytes]()
        if known is not None:
            labels, parts, fault = known.of(one, source.case)
            told = replace(told, labels=labels, fault=fault)
        any_labels = any_labels or bool(parts)
        yield replace(source, told=told, given=digest_of_bytes(parts) if parts else "")
    asked = labelled and (labelled.labels or tools_of(labelled))
    if asked and not any_labels:
        raise DataError(f"{asked}: speaks of no operation here; label files are named after videos")
    if known is not None:
        yield from known.unused()


def tools_of(options: ReviewOptions) -> Path | None:
    """The CSV of tools, for which ``review`` does not ask."""
    return options.tools_csv if isinstance(options, PrepareOptions) else None


class _Known:
    """Label files of all operations, each place opened once."""

    def __init__(self, options: ReviewOptions, found: Sequence[tuple[Source, Operation]]) -> None:
        self._options = options
        self._tools = tools_of(options)
        self._asked = options.labels or self._tools
        self._opened = dict[Path | None, LabelFiles | str]()
        self._operations = dict[Path | None, list[tuple[str, str | None]]]()
        self._without = dict[Path | None, list[str]]()
        for source, one in found:
            self._operations.setdefault(self._place(one), []).append((one.name, source.case))

    def of(self, one: Operation, case: str | None) -> tuple[FrameLabels | None, list[bytes], str]:
        """Labels by an operation's name, or its case; all that speaks of it; and a fault."""
        place = self._place(one)
        if place is None and self._tools is None:
            return None, [], ""
        if place not in self._opened:
            self._opened[place] = self._open(place)
        files = self._opened[place]
        if isinstance(files, str):
            return None, [], files
        spoken = files.find(one.name, case, others_of(self._operations[place]))
        if not spoken:
            self._without.setdefault(place, []).append(one.name)
        told = files.told(spoken)
        try:
            return files.read(spoken), told, ""
        except DataError as fault:
            return None, told, str(fault)

    def unused(self) -> Iterator[Unused]:
        """Labels that are of no operation."""
        for place, files in self._opened.items():
            if isinstance(files, str):
                continue  # the rows say it
            lacking = self._without.get(place)
            reason = f"fits no operation here; without labels: {listed(lacking)}" if lacking else ""
            for name in files.unknown(self._operations[place]):
                yield Unused("labels", name, reason or "fits no operation here")

    def _place(self, one: Operation) -> Path | None:
        return self._options.labels or label_folder(one.path)

    def _open(self, place: Path | None) -> LabelFiles | str:
        """The fault where those found beside the videos are not what they should be."""
        options = self._options
        try:
            return LabelFiles(place, self._tools, options.class_order, options.label_rate)
        except DataError as fault:
            if self._asked:
                raise
            return str(fault)
