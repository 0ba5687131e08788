"""Features as CLAM looks them up: ``h5_files``, ``pt_files`` and ``process_list_autogen.csv``.

CLAM opens ``pt_files/<slide_id>.pt`` or ``h5_files/<slide_id>.h5``, where ``slide_id`` is the
slide's file name without its suffix. Its own extraction writes ``features`` float32 (N, D) and
``coords`` int32 (N, 2), upper left corners at level 0, without attributes; those that it reads of
files of patches stand here, too: tiles as patches of level 0.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch

from histoscope.core.contracts import Features, Reader, Source
from histoscope.core.files import write_bytes, write_csv
from histoscope.core.work.outcome import Outcome, Status
from histoscope.domains.pathology.exports.hdf5 import corners, spanned, write_hdf5
from histoscope.domains.pathology.exports.names import (
    name_of,
    name_parts,
    once_a_name,
    remove_others,
)
from histoscope.domains.pathology.tiling import PLACE

LIST = "process_list_autogen.csv"
FATE: Mapping[Status, tuple[int, str]] = {  # CLAM's process and status
    "done": (0, "processed"),
    "empty": (0, "failed_seg"),
    "failed": (1, "tbp"),
}
DEFAULTS: Mapping[str, Any] = {  # of CLAM's own search for tissue, which did not run
    **{"seg_level": -1, "sthresh": 8, "mthresh": 7, "close": 4, "use_otsu": False},
    **{"keep_ids": "none", "exclude_ids": "none", "a_t": 100.0, "a_h": 16.0, "max_n_holes": 8},
    **{"vis_level": -1, "line_thickness": 250, "use_padding": True, "contour_fn": "four_pt"},
}


@dataclass(frozen=True)
class ClamExport:
    """See the module."""

    said: ClassVar[str] = (
        "layout clam: files bear the names of the slides: h5_files/NAME.h5, pt_files/NAME.pt, "
        f"{LIST}"
    )

    def name(self, source: Source) -> str:
        """CLAM's ``slide_id``."""
        return name_of(source)

    def write(self, reader: Reader, features: Features, out: Path) -> None:
        """Write the features of one slide; nothing of one without tiles, where CLAM would stop."""
        if not len(features.rows):
            return
        name, source = name_of(features.source), features.source.id
        places = ("coords", corners(features.rows).astype(np.int32), _patches(reader, features))
        path = out / "h5_files" / f"{name}.h5"
        write_hdf5(path, features, {}, places, {"source_id": source})
        data = io.BytesIO()  # in memory: no name in it
        torch.save(torch.tensor(features.vectors), data)
        write_bytes(out / "pt_files" / f"{name}.pt", data.getbuffer())

    def close(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """Write the list of all slides, as their files are called."""
        slides = once_a_name(outcomes)
        for suffix in (".h5", ".pt"):
            remove_others(out / f"{suffix[1:]}_files", suffix, slides, {"done"})
        write_csv(out / LIST, pa.Table.from_pylist([_row(one) for one in slides]))


def _patches(reader: Reader, features: Features) -> dict[str, Any]:
    """How CLAM says where patches lie: their side and level, and the size of that level."""
    width, height = (features.rows.column(name)[0].as_py() for name in PLACE[2:])
    size = [reader.facts["width_level0_px"], reader.facts["height_level0_px"]]
    return {
        "patch_size": round(width),
        "patch_level": 0,
        "downsample": np.ones(2),
        "downsampled_level_dim": np.array(size, np.int64),
        "level_dim": np.array(size, np.int64),
        "name": name_of(features.source),
        "save_path": "",
        **spanned(width, height),
    }


def _row(one: Outcome) -> dict[str, Any]:
    process, status = FATE[one.status]
    return {
        "slide_id": "".join(name_parts(one.source)),
        "process": process,
        "status": status,
        **DEFAULTS,
        "source_id": one.source.id,
        "reason": one.reason,
    }
