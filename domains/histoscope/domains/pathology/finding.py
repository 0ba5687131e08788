"""All sources of an input, slides and sets, with what was told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from histoscope.core.contracts import Roots, Source, Unused
from histoscope.core.errors import DataError, printable
from histoscope.core.tables.files import Cases
from histoscope.domains.pathology.annotations.matching import check_files
from histoscope.domains.pathology.discovery import find_slides
from histoscope.domains.pathology.formats import NAMING, SLIDE_COLUMNS
from histoscope.domains.pathology.layouts import Seen, choose_layout
from histoscope.domains.pathology.options import PrepareOptions
from histoscope.domains.pathology.scale import ScaleList
from histoscope.domains.pathology.set_sources import find_sets
from histoscope.domains.pathology.told import with_told


def find(roots: Roots, options: PrepareOptions) -> Iterator[Source | Unused]:
    """Sources below the roots, root by root, each in sorted order, behind what is not used.

    Raises:
        DataError: a root is absent, holds two layouts or nothing, a set lacks ``--mpp``, or a
            table is not what it should be.
    """
    seen = {root: choose_layout(place, options.layout) for root, place in roots.items()}
    _check(seen, roots, options)
    cases = Cases(options.cases, options.case_regex, SLIDE_COLUMNS, NAMING, options.missing_cases)
    if options.mpp_csv is not None:
        ScaleList(options.mpp_csv)  # a fault in it is no slide's: refused before any is opened
    found = [one for root in roots for one in _below(root, seen[root], roots)]
    sources = [one for one in found if isinstance(one, Source)]
    yield from (one for one in found if not isinstance(one, Source))
    for folder in filter(None, (options.annotations, options.tissue)):
        check_files(folder, {source.id: source.path for source in sources}.values())
    if not sources:
        raise DataError(
            f"{', '.join(map(str, roots.values()))}: no slide or picture found; "
            "give a folder or file that holds one"
        )
    yield from with_told(sources, roots, options, cases)


def _check(seen: Mapping[str, Seen], roots: Roots, options: PrepareOptions) -> None:
    """See that what was given of sets is not for slides, and the other way about."""
    sets = [root for root, one in seen.items() if one.layout != "slides"]
    if options.mpp is not None and not sets:
        whys = [
            f"{roots[root]} is read as slides: {one.why_no_set}"
            for root, one in seen.items()
            if one.why_no_set
        ]
        way = "for slides give --default-mpp or --mpp-csv"
        raise DataError("; ".join(["--mpp is for labelled sets", *whys, way]))
    if options.mpp is None and sets:
        kind = seen[sets[0]].layout
        raise DataError(
            f"{roots[sets[0]]}: read as a labelled set ({kind}), whose tiles have no scale: give "
            "--mpp, or --layout slides where each picture is a slide"
        )
    if options.annotations and sets:
        raise DataError("--annotations is for slides; a set's pictures are labelled as they lie")
    if options.tissue and sets:
        raise DataError("--tissue is for slides; a set's pictures are taken as they are")


def _below(root: str, seen: Seen, roots: Roots) -> Iterator[Source | Unused]:
    place = roots[root]
    if seen.layout != "slides":
        yield from find_sets(root, place, seen.layout)
        return
    yield from find_slides(root, place)
    if seen.why_no_set and seen.like_tiles:
        reason = f"each picture is read as a slide; {seen.why_no_set}"
        yield Unused("class folders", printable(place.name), reason)
