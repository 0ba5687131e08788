"""What the user told of a source beside its pixels, resolved once, when it is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from histoscope.core.contracts import Roots, Source, locate
from histoscope.core.errors import HistoscopeError
from histoscope.core.files import content_of, digest_of_bytes
from histoscope.core.tables.spreadsheet import Cases
from histoscope.domains.pathology.annotations.matching import match
from histoscope.domains.pathology.discovery import image_number
from histoscope.domains.pathology.options import Coordinates, PrepareOptions
from histoscope.domains.pathology.scale import ScaleList
from histoscope.domains.pathology.set_sources import open_set


@dataclass(frozen=True)
class ToldOfSlide:
    """How a slide is read.

    Attributes:
        listed_mpp: um/px of ``--mpp-csv``, None where it does not name the slide.
        default_mpp: um/px where the file states none.
        allow_anisotropic: read pixels that are not square.
        plane: which of a stack, from 1; None takes the middle one.
        drawings: annotation files of the slide, and below what they mean.
        coordinates: of the drawings.
        renamed: what classes are called, by their names in the drawings.
        task: name of the label table.
        rest_is: class of what nobody drew on.
    """

    listed_mpp: float | None = None
    default_mpp: float | None = None
    allow_anisotropic: bool = False
    plane: int | None = None
    drawings: Sequence[Path] = ()
    coordinates: Coordinates = "qupath"
    renamed: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    rest_is: str | None = None


@dataclass(frozen=True)
class ToldOfSet:
    """How a labelled set is read.

    Attributes:
        mpp: um/px of its pictures.
        task: name of its labels.
        renamed: class names in place of others.
        cases: by a picture's path, where known.
    """

    mpp: float
    task: str
    renamed: Mapping[str, str]
    cases: Mapping[str, str]


def with_told(
    sources: Sequence[Source], roots: Roots, options: PrepareOptions, cases: Cases
) -> Iterator[Source]:
    """Sources with :attr:`Source.told`, and its digest.

    The digest is of what speaks of single slides: a listed scale, drawings, a set's labels and
    cases; the rest is the same for all of a call.
    """
    scales = None if options.mpp_csv is None else ScaleList(options.mpp_csv)
    drawn: Mapping[str, list[Path]] = {}
    if options.annotations is not None:
        drawn = match(options.annotations, {s.id: s.path for s in sources}).files
    for source in sources:
        if source.kind.startswith("set-"):
            yield _set_with_told(source, roots, options, cases)
            continue
        listed = None if scales is None else _listed(scales, source)
        files = drawn.get(source.id, [])
        parts = [content_of(file) for file in files]
        parts += [] if listed is None else [repr(listed).encode()]
        told = ToldOfSlide(
            listed,
            options.default_mpp,
            options.allow_anisotropic,
            options.plane,
            files,
            options.coordinates,
            options.renamed(),
            options.task,
            options.rest_is,
        )
        yield replace(source, told=told, given=digest_of_bytes(parts) if parts else "")


def _listed(scales: ScaleList, source: Source) -> float | None:
    """The scale that a list gives a source by its own path, else by that of its file."""
    file = source.path.removesuffix(f"#{image_number(source)}")
    found = scales.find(source.path)
    return scales.find(file) if found is None and file != source.path else found


def _set_with_told(source: Source, roots: Roots, options: PrepareOptions, cases: Cases) -> Source:
    """The digest is of each picture's name, label, split and case; none where it does not open."""
    known = dict[str, str]()
    parts = list[bytes]()
    try:
        tiles = open_set(locate(source, roots), source.kind)
    except HistoscopeError:
        pass  # opening it to read says why
    else:
        for member in tiles.members:
            case = cases.find(member.name) if tiles.named else None
            parts.append(repr((member, case)).encode())
            if case is not None:
                known[member.name] = case
        tiles.close()
    told = ToldOfSet(options.mpp or 0.0, options.task, options.renamed(), known)
    return replace(source, told=told, given=digest_of_bytes(parts) if parts else "")
