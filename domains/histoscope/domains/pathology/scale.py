"""Micrometres per pixel: what a file may claim, what a person may say, what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from histoscope.core.contracts import Unused
from histoscope.core.errors import DataError, UnreadableSource
from histoscope.core.tables.files import FileTable
from histoscope.domains.pathology.formats import NAMING, SLIDE_COLUMNS

UM_PER_INCH = 25400
SMALLEST_UM, LARGEST_UM = 0.05, 100.0
OVERVIEW_UM = 2.0  # no scanner's full resolution is this coarse
# what image programs, cameras and printers write when they know nothing
DPI_DEFAULTS = (72, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400, 600, 720, 1200, 2400)
DPI_TOLERANCE = 0.001
ANISOTROPY = 0.02
UPSAMPLING = 1.05
NOTHING = "no mpp in the file"
HOW_TO_GIVE = "give --default-mpp or --mpp-csv"


@dataclass(frozen=True)
class Scale:
    """Size of a level-0 pixel.

    Attributes:
        x_um, y_um: micrometres per pixel along each axis.
        source: who says so: ``file``, ``mpp-csv``, ``default-mpp`` or ``--mpp``.
        refused: why what the file says of its scale was not taken; empty where it was, where it
            says nothing, and where it was not looked at.
    """

    x_um: float
    y_um: float
    source: str
    refused: str = ""


def implausible(mpp: float | None) -> str:
    """Why a stated scale counts as missing; empty when it may be true."""
    if mpp is None or math.isnan(mpp) or mpp == 0:
        return NOTHING
    for dpi in DPI_DEFAULTS:
        if abs(mpp * dpi / UM_PER_INCH - 1) <= DPI_TOLERANCE:
            return f"{mpp:.2f} um/px is the {dpi} dpi default of image programs, not a scale"
    if not SMALLEST_UM <= mpp <= LARGEST_UM:
        return f"{mpp:g} um/px cannot be the scale of a slide"
    return ""


def resolve(
    stated: tuple[float, float] | None,
    listed: float | None,
    default: float | None,
    unreadable: str = "",
) -> Scale:
    """Decide a slide's scale: the CSV beats the file, the default only fills a gap.

    Args:
        stated: x and y in um/px as the file has them, None when it has none.
        listed: um/px from ``--mpp-csv`` for this slide.
        default: um/px from ``--default-mpp``.
        unreadable: why what the file says cannot be read.

    Raises:
        UnreadableSource: no plausible scale from anywhere.
    """
    x_um, y_um = stated or (None, None)
    fault = unreadable or implausible(x_um) or implausible(y_um)
    refused = "" if fault == NOTHING else fault
    if listed is not None:
        return Scale(listed, listed, "mpp-csv", refused)
    if not fault and x_um is not None and y_um is not None:
        return Scale(x_um, y_um, "file")
    if default is not None:
        return Scale(default, default, "default-mpp", refused)
    raise UnreadableSource(f"{fault}; {HOW_TO_GIVE}")


def check(scale: Scale, wanted_um: float, *, allow_anisotropic: bool) -> None:
    """Refuse what cannot be cut honestly at ``wanted_um``.

    Raises:
        UnreadableSource: pixels not square; an overview or a wrong scale (from 2 um/px up when
            the file alone says so); or tiles would be upsampled by more than 5 %.
    """
    skew = abs(scale.x_um / scale.y_um - 1)
    if skew > ANISOTROPY and not allow_anisotropic:
        raise UnreadableSource(
            f"pixels are not square ({scale.x_um:.4g} x {scale.y_um:.4g} um, {skew:.0%} apart); "
            "--allow-anisotropic reads them as they are"
        )
    coarsest = max(scale.x_um, scale.y_um)
    if coarsest >= OVERVIEW_UM and scale.source == "file":
        raise UnreadableSource(
            f"{coarsest:.4g} um/px is an overview, or a wrong scale ({wanted_um:g} um/px is asked "
            "for and nothing is upsampled); a true scale can be given with --mpp-csv"
        )
    if coarsest > wanted_um * UPSAMPLING:
        raise UnreadableSource(
            f"{coarsest:.4g} um/px ({scale.source}) is coarser than the {wanted_um:g} um/px asked "
            "for: it would be upsampled"
        )


class ScaleList:
    """The scales of ``--mpp-csv``.

    Raises:
        DataError: unreadable, or a value that is no plausible um/px.
    """

    def __init__(self, path: Path) -> None:
        self._table = FileTable(path, "mpp", SLIDE_COLUMNS, NAMING)
        for slide, text in self._table.items().items():
            try:
                fault = implausible(_number(text))
            except ValueError:
                fault = f"mpp {text!r} is not a number"
            if fault:
                raise DataError(f"{path}: {slide}: {fault}")

    def of(self, paths: Sequence[str]) -> tuple[dict[str, float], list[Unused]]:
        """um/px of the slides that it names, and rows of none; errors as of :class:`FileTable`."""
        found, unused = self._table.of(paths)
        return {path: _number(text) for path, text in found.items()}, unused


def _number(text: str) -> float:
    return float(text.replace(",", "."))
