"""What the user told of a source beside its pixels: a digest says when it has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from histoscope.core.contracts import Roots, Source, locate
from histoscope.core.errors import HistoscopeError
from histoscope.core.files import content_of, digest_of_bytes
from histoscope.core.tables.cases import Cases
from histoscope.domains.pathology.annotations.matching import match
from histoscope.domains.pathology.options import PrepareOptions, ReadOptions
from histoscope.domains.pathology.scale import ScaleList
from histoscope.domains.pathology.set_sources import open_set


def with_given(
    sources: Sequence[Source], roots: Roots, options: ReadOptions, cases: Cases
) -> Iterator[Source]:
    """Sources with :attr:`Source.given`: a slide's scale and drawings, a set's labels and cases."""
    scales = None if options.mpp_csv is None else ScaleList(options.mpp_csv)
    drawn: Mapping[str, list[Path]] = {}
    if isinstance(options, PrepareOptions) and options.annotations is not None:
        drawn = match(options.annotations, {s.id: s.path for s in sources}).files
    for source in sources:
        if source.kind.startswith("set-"):
            told = _members(source, roots, cases)
        else:
            told = [content_of(file) for file in drawn.get(source.id, ())]
            listed = scales and scales.find(source.path)
            told += [repr(listed).encode()] if listed is not None else []
        yield replace(source, given=digest_of_bytes(told) if told else "")


def _members(source: Source, roots: Roots, cases: Cases) -> list[bytes]:
    """Each picture's name, label, split and case; nothing of a set that does not open."""
    try:
        tiles = open_set(locate(source, roots), source.kind)
    except HistoscopeError:
        return []  # opening it to read says why
    try:
        return [
            repr((m, cases.find(m.name) if tiles.named else None)).encode() for m in tiles.members
        ]
    finally:
        tiles.close()
