"""Which annotation file speaks of which slide: by the slide's path or name, never by a guess."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from histoscope.core.errors import DataError
from histoscope.core.tables.names import Files, listed
from histoscope.domains.pathology.annotations.asap import is_asap
from histoscope.domains.pathology.formats import NAMING

SUFFIXES = (".geojson", ".xml")  # of QuPath, of ASAP
KINDS = " or ".join(SUFFIXES)
SEVERAL = "may speak of several slides"


@dataclass(frozen=True)
class Matches:
    """Files and slides.

    Attributes:
        files: by slide's key, its files in order of their names.
        idle: files of no slide, with the reason.
    """

    files: Mapping[str, list[Path]]
    idle: Mapping[Path, str]


def annotation_files(folder: Path) -> list[Path]:
    """``*.geojson`` and ``*.xml`` below a folder, or the one file, sorted.

    Raises:
        DataError: absent, or none there.
    """
    if folder.is_file():
        if folder.suffix.lower() not in SUFFIXES:
            raise DataError(f"{folder}: no {KINDS} file")
        return [folder]
    if not folder.is_dir():
        raise DataError(f"{folder}: no such file or folder")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataError(f"{folder}: no {KINDS} file in it")
    return sorted(path for path in found if path.is_file())


def match(folder: Path, slides: Mapping[str, str]) -> Matches:
    """``x.svs`` is spoken of by ``x.geojson`` and ``x.svs.geojson``, in the same folder or any.

    So it is by ``x.xml`` and ``x.svs.xml``.

    A path that agrees from its end on counts before a bare name.

    Args:
        folder: of the files.
        slides: POSIX path below its root by any key.
    """
    base = folder.parent if folder.is_file() else folder
    keys = defaultdict[str, list[str]](list)
    for key, path in slides.items():
        keys[path].append(key)
    known = Files(keys, NAMING)
    files, idle = dict[str, list[Path]](), dict[Path, str]()
    for file in annotation_files(folder):
        if file.suffix.lower() == ".xml" and not is_asap(file):
            idle[file] = "an XML of another program, not ASAP's"
            continue
        relative = file.relative_to(base).as_posix()[: -len(file.suffix)]
        places = known.find(relative) or known.find(PurePosixPath(relative).name)
        found = [key for place in places for key in keys[place]]
        if len(found) == 1:
            files.setdefault(found[0], []).append(file)
        elif found:
            names = ", ".join(slides[key] for key in found)
            idle[file] = f"{SEVERAL} ({names}): put it at the relative path of its slide"
        else:
            near = known.near(PurePosixPath(relative).name)
            idle[file] = "no slide of this name" + (f"; near: {listed(near)}" if near else "")
    return Matches(files, idle)


def other_files(folder: Path) -> list[Path]:
    """Files in a folder of annotations that are none."""
    found = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [one for one in found if one.is_file() and one.suffix.lower() not in SUFFIXES]


def check_files(folder: Path, paths: Iterable[str]) -> None:
    """Refuse a file that may speak of several slides, of which each would take its drawings.

    Raises:
        DataError: naming the file and the slides; or no file speaks of any slide.
    """
    matches = match(folder, {f"{place}:{path}": path for place, path in enumerate(paths)})
    for path, reason in matches.idle.items():
        if reason.startswith(SEVERAL):
            raise DataError(f"{path.name}: {reason}")
    if not matches.files:
        names = ", ".join(sorted(path.name for path in matches.idle)[:3])
        raise DataError(
            f"{folder}: no file of a slide here in it ({names}); x.geojson or x.xml is of x.svs"
        )
