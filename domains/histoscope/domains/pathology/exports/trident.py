"""Features as TRIDENT looks them up: a folder a way of cutting, in it one an encoder.

``<mag>x_<patch>px_<overlap>px_overlap/features_<encoder>/<slide>.h5``, with ``features`` float32
(N, D) and ``coords`` int64 (N, 2), upper left corners at level 0, (0, D) and (0, 2) of a slide
without tiles. A magnification is TRIDENT's: 10 by um per pixel. Differs: ``savetodir`` is empty,
and level 0 has its own magnification, not the nearest of 5, 10, 20, 40 ..., so that tiles have the
size that they were read with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoscope.core.contracts import Features, Reader, Source
from histoscope.core.work.outcome import Outcome
from histoscope.domains.pathology.exports.hdf5 import (
    corners,
    cut_of,
    nominal,
    overlap_px,
    spanned,
    write_hdf5,
)
from histoscope.domains.pathology.exports.names import name_of, once_a_name, remove_others
from histoscope.domains.pathology.options import TileSampling


@dataclass(frozen=True)
class TridentExport:
    """See the module.

    Attributes:
        encoder: as its folder has it.
        cut: how tiles are cut.
    """

    encoder: str
    cut: TileSampling

    @classmethod
    def of(cls, architecture: str, cut: TileSampling) -> TridentExport:
        """``timm:resnet18`` becomes ``timm_resnet18``: TRIDENT's own names have no kind before."""
        return cls(re.sub(r"[^A-Za-z0-9._-]+", "_", architecture), cut)

    @property
    def place(self) -> str:
        """Folder of the files, below that of all."""
        cut, size = self.cut, self.cut.size_px
        of_cut = f"{self._magnification:g}x_{size}px_{overlap_px(cut)}px_overlap"
        return f"{of_cut}/features_{self.encoder}"

    @property
    def said(self) -> str:
        """Where files go."""
        return f"layout trident: files bear the names of the slides: {self.place}/NAME.h5"

    @property
    def _magnification(self) -> int | float:
        return nominal(10 / self.cut.tile_mpp)

    def name(self, source: Source) -> str:
        """File name of the slide without its suffix."""
        return name_of(source)

    def write(self, reader: Reader, features: Features, out: Path) -> None:
        """Write the features of one slide."""
        name = name_of(features.source)
        common = {"name": name, "savetodir": ""}
        places = ("coords", corners(features.rows), {**common, **self._cut(reader, features)})
        said, source = {**common, "encoder": self.encoder}, {"source_id": features.source.id}
        write_hdf5(out / self.place / f"{name}.h5", features, said, places, source)

    def _cut(self, reader: Reader, features: Features) -> dict[str, Any]:
        """What TRIDENT says of it, the same where there is no tile."""
        said = cut_of(reader, features.rows)
        mpp = said["level0_mpp_x"], said["level0_mpp_y"]
        width, height = (self.cut.size_px * self.cut.tile_mpp / one for one in mpp)
        return {
            **spanned(width, height),
            **said,
            "level0_magnification": nominal(10 / mpp[0]),
            "target_magnification": self._magnification,
        }

    def close(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """Only remove what is left: TRIDENT keeps no list."""
        remove_others(out / self.place, ".h5", once_a_name(outcomes), {"done", "empty"})
