"""Files of annotations, each read by the program that its suffix tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from histoscope.core.tables.classes import AS_WRITTEN, ClassNames
from histoscope.domains.pathology.annotations.asap import groups_in, read_asap
from histoscope.domains.pathology.annotations.drawing import Drawing
from histoscope.domains.pathology.annotations.qupath import classes_of, read_qupath

READERS: Mapping[str, Callable[[Path, tuple[int, int]], list[Drawing]]] = {
    ".geojson": read_qupath,
    ".xml": lambda path, offset: read_asap(path),  # whose pixels are level 0's
}
CLASSES: Mapping[str, Callable[[Path], set[str]]] = {".geojson": classes_of, ".xml": groups_in}


def read_drawings(
    path: Path, offset: tuple[int, int] = (0, 0), names: ClassNames = AS_WRITTEN
) -> list[Drawing]:
    """All annotations of a file, usable or not.

    Args:
        path: of QuPath or of ASAP.
        offset: added to QuPath's coordinates to get level-0 px, x and y.
        names: what the person said of the names of classes.

    Raises:
        DataError: not readable, or not what its suffix says.
    """
    drawings = READERS[path.suffix.lower()](path, offset)
    return [replace(one, kind=names.of(one.kind)) for one in drawings]


def classes_in(path: Path) -> set[str]:
    """Classes of all annotations of a file, as written; raises as :func:`read_drawings`."""
    return CLASSES[path.suffix.lower()](path)
