"""Names of sources as names of files: none twice, and none that some machine refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from histoscope.core.contracts import NamedExport, Roots, Source, locate
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.tables.names import folded, listed

LONGEST_BYTES = 200  # what stands behind a name takes some: of 255 on most machines
_SIGNS = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def fault_of_name(name: str) -> str:
    """Why some machine takes no file of this name, with a suffix behind it; empty where all do."""
    if sign := _SIGNS.search(name):
        return f"{sign[0]!r} cannot stand in a file's name on every machine"
    if name in {"", ".", ".."} or _DEVICES.fullmatch(name):
        return f"no file can be called {name!r} on every machine"
    if (size := len(name.encode("utf-8"))) > LONGEST_BYTES:
        return f"its name is too long for a file ({size} bytes, at most {LONGEST_BYTES})"
    return ""


def with_names(
    sources: Sequence[Source], export: NamedExport, earlier: Sequence[Source], roots: Roots
) -> list[Source]:
    """The sources of a call; those are refused that no file can be named after.

    Args:
        sources: of this call.
        export: knows their names.
        earlier: those that have files in the folder already.
        roots: of this call.

    Raises:
        DataError: two would have one name, be it in another letter case or Unicode form.
    """
    places = {source.id: str(locate(source, roots)) for source in sources}
    others = [one for one in earlier if one.id not in places]
    before = {one.id: f"{one.path} of an earlier call" for one in others}
    named, same = list[Source](), dict[str, list[tuple[str, str]]]()
    for source in [*sources, *others]:
        try:
            name = "" if source.refused else export.name(source)
        except UnreadableSource as fault:
            source, name = replace(source, refused=fault.reason), ""
        named.append(source)
        if name:
            place = places.get(source.id) or before[source.id]
            same.setdefault(folded(name), []).append((name, place))
    if faults := list(_faults(same)):
        raise DataError(f"{faults[0]}{_and_more(faults)}; rename, or give each an --out of its own")
    return named[: len(sources)]


def _faults(same: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[str]:
    for found in same.values():
        if len(found) > 1:
            names = list(dict.fromkeys(name for name, _ in found))
            alike = ", one name on many machines" if len(names) > 1 else ""
            places = [place for _, place in found]
            yield f"files of {listed(places)} would have one name, {listed(names)}{alike}"


def _and_more(faults: Sequence[str]) -> str:
    return f" (and {len(faults) - 1} more such names)" if len(faults) > 1 else ""
