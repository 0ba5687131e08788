"""What a TIFF says of the size of its pixels: OME's words, ImageJ's words, resolution tags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

UM_PER_UNIT = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "\\u00B5m", "micrometer"), 1.0),
    **{"pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6},
    **{"thou": 25.4, "in": 25400.0, "inch": 25400.0},
}
_UM_PER_TIFF_UNIT = {2: 25400.0, 3: 10000.0}  # inch, centimetre; 1 is "no unit"
_LONGEST_QUOTED = 20


@dataclass(frozen=True)
class Stated:
    """What a file says of its scale.

    Attributes:
        mpp: um per pixel along x and y; None where nothing can be read.
        fault: why what stands there cannot be read; empty where it can, or nothing stands there.
    """

    mpp: tuple[float, float] | None = None
    fault: str = ""


def ome_scale(pixels: Element) -> Stated:
    """PhysicalSizeX and Y of one ``Pixels`` of OME-XML."""
    sizes = []
    stands = [axis for axis in "XY" if pixels.get(f"PhysicalSize{axis}")]
    for axis in stands:
        text = pixels.get(f"PhysicalSize{axis}", "")
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if unit not in UM_PER_UNIT:
            return Stated(fault=f"the unit of PhysicalSize{axis}, {_quoted(unit)}, is no length")
        try:
            sizes.append(float(text.replace("_", "?")) * UM_PER_UNIT[unit])  # 1_0 is none, too
        except ValueError:
            return Stated(fault=f"PhysicalSize{axis} {_quoted(text)} is no number")
        if not math.isfinite(sizes[-1]):
            return Stated(fault=f"PhysicalSize{axis} {_quoted(text)} is no size")
    if len(sizes) == 1:
        return Stated(fault=f"of PhysicalSizeX and PhysicalSizeY it has only {stands[0]}")
    return Stated((sizes[0], sizes[1])) if sizes else Stated()


def tag_scale(page: Any, imagej_unit: str = "") -> Stated:
    """Resolution tags.

    Args:
        page: of tifffile.
        imagej_unit: what ImageJ calls the unit of these tags, empty where it did not write them.
    """
    um = UM_PER_UNIT.get(imagej_unit)
    um = um or _UM_PER_TIFF_UNIT.get(int(page.tags.valueof("ResolutionUnit", 1) or 1))
    if um is None:
        return Stated()
    sizes = []
    for axis in "XY":
        value = page.tags.valueof(f"{axis}Resolution")
        if value is None:
            return Stated()
        try:
            above, below = value
            sizes.append(um * below / above)
        except (TypeError, ValueError, ZeroDivisionError):
            return Stated(fault=f"its tag {axis}Resolution holds no resolution")
    return Stated((sizes[0], sizes[1]))


def _quoted(text: str) -> str:
    short = text if len(text) <= _LONGEST_QUOTED else text[:_LONGEST_QUOTED] + "…"
    return repr(" ".join(short.split()))
