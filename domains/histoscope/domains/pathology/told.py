"""What the user told of a source beside its pixels, resolved once, when it is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from histoscope.core.contracts import Roots, Source, Unused, locate
from histoscope.core.errors import DataError, HistoscopeError
from histoscope.core.files import content_of, digest_of_bytes
from histoscope.core.tables.classes import AS_WRITTEN, ClassNames
from histoscope.core.tables.files import Cases
from histoscope.core.tables.names import listed
from histoscope.domains.pathology.annotations.matching import KINDS, match, other_files
from histoscope.domains.pathology.annotations.reading import classes_in
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
        classes: what the person said of the names of classes.
        task: name of the label table.
        rest_is: class of what nobody drew on.
        tissue: files of outlines of its tissue; none: it is looked for.
    """

    listed_mpp: float | None = None
    default_mpp: float | None = None
    allow_anisotropic: bool = False
    plane: int | None = None
    drawings: Sequence[Path] = ()
    coordinates: Coordinates = "qupath"
    classes: ClassNames = AS_WRITTEN
    task: str = ""
    rest_is: str | None = None
    tissue: Sequence[Path] = ()


@dataclass(frozen=True)
class ToldOfSet:
    """How a labelled set is read.

    Attributes:
        mpp: um/px of its pictures.
        task: name of its labels.
        classes: what the person said of the names of classes.
        cases: by a picture's path, where known.
    """

    mpp: float
    task: str
    classes: ClassNames
    cases: Mapping[str, str]


def with_told(
    sources: Sequence[Source], roots: Roots, options: PrepareOptions, cases: Cases
) -> Iterator[Source | Unused]:
    """Sources with their case and :attr:`Source.told`, and its digest; and what was not used.

    The digest is of what speaks of single slides: a listed scale, drawings, a set's labels and
    cases; the rest is the same for all of a call.

    Raises:
        DataError: a table speaks of none of them, or of one of several alike; or a class may be a
            word for none, or two spellings of one.
    """
    members = {one.id: _members(one, roots) for one in sources if one.kind.startswith("set-")}
    slides = [source for source in sources if source.id not in members]
    files = list(dict.fromkeys(_file_of(source) for source in slides))
    scans = [source.path for source in slides if source.path not in files]
    pictures = [one for found in members.values() if found.named for one in found.members]
    known, unused = _cases_of(cases, files, scans, pictures)
    scales = dict[str, float]()
    if options.mpp_csv is not None:
        scales, idle = ScaleList(options.mpp_csv).of([*files, *scans])
        unused += idle
    drawn, idle = _drawings_of(options.annotations, sources, "annotation")
    outlines, more = _drawings_of(options.tissue, sources, "outline")
    for several in outlines.values():
        if len(several) > 1:  # one of them would give back what the other took away
            names = " and ".join(file.name for file in several)
            raise DataError(f"--tissue: {names} are of one slide; keep the one that counts")
    _check_classes(options, members, drawn)
    yield from [*unused, *idle, *more]
    for source in sources:
        if source.id in members:
            yield _set_with_told(source, roots[source.root], members[source.id], options, known)
        elif (file := _file_of(source)) in known:
            found = replace(source, case=known[source.path] or known[file])
            scale = scales.get(source.path, scales.get(file))
            yield _slide_with_told(found, options, scale, drawn, outlines)


def _cases_of(
    cases: Cases, files: Sequence[str], scans: Sequence[str], pictures: Sequence[Member]
) -> tuple[dict[str, str | None], list[Unused]]:
    stated = {one.name for one in pictures if one.case is not None} | set(scans)
    known, unused = cases.of([*files, *scans, *(one.name for one in pictures)], stated)
    lost = [one.name for one in pictures if one.name not in known]
    if lost:
        raise DataError(
            f"--missing-cases drop is for slides; give a case for each picture of a set "
            f"({listed(lost)}), or --missing-cases source"
        )
    return known, unused


def _drawings_of(
    folder: Path | None, sources: Sequence[Source], what: str
) -> tuple[Mapping[str, list[Path]], list[Unused]]:
    """Files of drawings by their slide's id, and files that are of none."""
    if folder is None:
        return {}, []
    matches = match(folder, {source.id: source.path for source in sources})
    idle = [Unused(f"{what} files", file.name, why) for file, why in matches.idle.items()]
    others = other_files(folder)
    idle += [Unused(f"files among the {what}s", one.name, f"not {KINDS}") for one in others]
    return matches.files, idle


def _check_classes(
    options: PrepareOptions, members: Mapping[str, _Members], drawn: Mapping[str, list[Path]]
) -> None:
    """See that classes are told apart by more than their spelling, in all sources at once."""
    written = {one.label for found in members.values() for one in found.members if one.label}
    for file in [file for files in drawn.values() for file in files]:
        with suppress(DataError):  # reading the slide says it
            written |= classes_in(file)
    classes, where = options.classes(), f"classes of {options.task}"
    if written:
        classes.check_used(written, where)
    classes.check(written, where)


def _file_of(source: Source) -> str:
    """The path of a slide's file, of which it may be one scan: tables name either."""
    return source.path.removesuffix(f"#{image_number(source)}")


def _slide_with_told(
    source: Source,
    options: PrepareOptions,
    listed_mpp: float | None,
    drawn: Mapping[str, list[Path]],
    outlines: Mapping[str, list[Path]],
) -> Source:
    files, tissue = drawn.get(source.id, []), outlines.get(source.id, [])
    parts = [content_of(file) for file in files]
    parts += [part for file in tissue for part in (b"tissue", content_of(file))]
    parts += [] if listed_mpp is None else [repr(listed_mpp).encode()]
    told = ToldOfSlide(
        listed_mpp,
        options.default_mpp,
        options.allow_anisotropic,
        options.plane,
        files,
        options.coordinates,
        options.classes(),
        options.task,
        options.rest_is,
        tissue,
    )
    return replace(source, told=told, given=digest_of_bytes(parts) if parts else "")


@dataclass(frozen=True)
class _Members:
    """What a set holds: nothing where it does not open, which reading it says.

    Attributes:
        members: in reading order.
        named: whether they have names that a table may speak of.
        notes: what was chosen or converted.
    """

    members: Sequence[Member] = ()
    named: bool = False
    notes: Sequence[str] = ()


def _members(source: Source, roots: Roots) -> _Members:
    try:
        tiles = open_set(locate(source, roots), source.kind)
    except HistoscopeError:
        return _Members()
    found = _Members(list(tiles.members), tiles.named, tiles.notes)
    tiles.close()
    return found


def _set_with_told(
    source: Source,
    place: Path,
    found: _Members,
    options: PrepareOptions,
    cases: Mapping[str, str | None],
) -> Source:
    """The digest is of each picture's name, label, split and case; none where it does not open."""
    if source.kind == "set-folders":
        _check_the_only_folder(place, found.members, options)
    known = {one.name: case for one in found.members if found.named and (case := cases[one.name])}
    parts = [repr((one, known.get(one.name))).encode() for one in found.members]
    told = ToldOfSet(options.mpp or 0.0, options.task, options.classes(), known)
    note = "; ".join(filter(None, [source.note, *found.notes]))
    given = digest_of_bytes(parts) if parts else ""
    return replace(source, told=told, note=note, given=given)


def _check_the_only_folder(place: Path, members: Sequence[Member], options: PrepareOptions) -> None:
    """Refuse one folder around others: is it the class, or are they?"""
    (label, *others) = {one.label for one in members} or {None}
    deep = all(one.name.count("/") > 1 + (one.split is not None) for one in members)
    if label and not others and deep and label not in options.classes().renamed:
        raise DataError(
            f"{place}: all pictures lie in folders in {label!r}; if these are the classes, "
            f"give {label} itself as the input; if it is the class, give "
            f"--class-names {label}={label}"
        )
