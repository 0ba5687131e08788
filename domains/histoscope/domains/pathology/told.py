"""What the user told of a source beside its pixels, resolved once, when it is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from histoscope.core.contracts import Roots, Source, Unused, locate
from histoscope.core.errors import DataError, HistoscopeError
from histoscope.core.files import content_of, digest_of_bytes
from histoscope.core.tables.files import Cases
from histoscope.core.tables.names import listed as listed_names
from histoscope.domains.pathology.annotations.matching import match, other_files
from histoscope.domains.pathology.discovery import image_number
from histoscope.domains.pathology.options import Coordinates, PrepareOptions
from histoscope.domains.pathology.scale import ScaleList
from histoscope.domains.pathology.set_sources import open_set
from histoscope.domains.pathology.sets import Member


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
) -> Iterator[Source | Unused]:
    """Sources with their case and :attr:`Source.told`, and its digest; and what was not used.

    The digest is of what speaks of single slides: a listed scale, drawings, a set's labels and
    cases; the rest is the same for all of a call.

    Raises:
        DataError: a table speaks of none of them, or of one of several alike.
    """
    members = {one.id: _members(one, roots) for one in sources if one.kind.startswith("set-")}
    slides = [source for source in sources if source.id not in members]
    files = list(dict.fromkeys(_file_of(source) for source in slides))
    scans = [source.path for source in slides if source.path not in files]
    pictures = [one for found in members.values() if found.named for one in found.members]
    stated = {one.name for one in pictures if one.case is not None} | set(scans)
    known, unused = cases.of([*files, *scans, *(one.name for one in pictures)], stated)
    lost = [one.name for one in pictures if one.name not in known]
    if lost:
        raise DataError(
            f"--missing-cases drop is for slides; give a case for each picture of a set "
            f"({listed_names(lost)}), or --missing-cases source"
        )
    scales = dict[str, float]()
    if options.mpp_csv is not None:
        scales, idle = ScaleList(options.mpp_csv).of([*files, *scans])
        unused += idle
    drawn: Mapping[str, list[Path]] = {}
    if options.annotations is not None:
        matches = match(options.annotations, {s.id: s.path for s in sources})
        drawn = matches.files
        unused += [Unused("annotation files", f.name, why) for f, why in matches.idle.items()]
        others = other_files(options.annotations)
        unused += [Unused("files among the annotations", f.name, "not .geojson") for f in others]
    yield from unused
    for source in sources:
        if source.id in members:
            yield _set_with_told(source, members[source.id], options, known)
        elif (file := _file_of(source)) in known:
            found = replace(source, case=known[source.path] or known[file])
            scale = scales.get(source.path, scales.get(file))
            yield _slide_with_told(found, options, scale, drawn)


def _file_of(source: Source) -> str:
    """The path of a slide's file, of which it may be one scan: tables name either."""
    return source.path.removesuffix(f"#{image_number(source)}")


def _slide_with_told(
    source: Source, options: PrepareOptions, listed: float | None, drawn: Mapping[str, list[Path]]
) -> Source:
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
    return replace(source, told=told, given=digest_of_bytes(parts) if parts else "")


@dataclass(frozen=True)
class _Members:
    """What a set holds: nothing where it does not open, which reading it says.

    Attributes:
        members: in reading order.
        named: whether they have names that a table may speak of.
    """

    members: Sequence[Member] = ()
    named: bool = False


def _members(source: Source, roots: Roots) -> _Members:
    try:
        tiles = open_set(locate(source, roots), source.kind)
    except HistoscopeError:
        return _Members()
    found = _Members(list(tiles.members), tiles.named)
    tiles.close()
    return found


def _set_with_told(
    source: Source, found: _Members, options: PrepareOptions, cases: Mapping[str, str | None]
) -> Source:
    """The digest is of each picture's name, label, split and case; none where it does not open."""
    known = {one.name: case for one in found.members if found.named and (case := cases[one.name])}
    parts = [repr((one, known.get(one.name))).encode() for one in found.members]
    told = ToldOfSet(options.mpp or 0.0, options.task, options.renamed(), known)
    return replace(source, told=told, given=digest_of_bytes(parts) if parts else "")
