"""A package and slides for the trials, made in no time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from histoscope.core.contracts import Task
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.folder import EncoderInfo, LoadedEncoder
from histoscope.core.heads.linear import LinearHead
from histoscope.core.packages.info import HeadInfo, PackageInfo, class_infos
from histoscope.core.packages.package import DRAWN, write_package

TASK = Task("tissue", ("stroma", "tumour"))
TILE_PX, MPP = 32, 0.5


def write_colour_package(folder: Path, size_px: int = TILE_PX) -> Path:
    """A package whose scores differ wherever a pixel of a tile does; it loads at once."""
    sampling = {"size_px": size_px, "tile_mpp": MPP, "min_tissue": 0.0}
    encoder = EncoderInfo(
        network={"kind": "colour"},
        dim=ColourEncoder.dim,
        domain="pathology",
        sampling=sampling,
        scale={"mpp": MPP},
        provenance={"kind": "colour"},
    )
    head = HeadInfo(
        task=TASK.name,
        level="sample",
        classes=class_infos(TASK),
        method="probe",
        labels=[5],
        drawn=["a"],
        fraction=0.1,
        draw_by="sample",
        seed=0,
        calibration={"kind": "none", "reason": "none is fitted; scores only rank"},
    )
    weight = np.random.default_rng(0).normal(0, 0.05, (2, ColourEncoder.dim)).astype(np.float32)
    loaded = LoadedEncoder(ColourEncoder(), encoder, frozenset())  # type: ignore[arg-type]
    heads = [[LinearHead(weight, np.zeros(2, np.float32))]]
    info = PackageInfo(encoder=encoder, heads=[head])
    write_package(folder, info, [loaded], heads, frozenset(), DRAWN.empty_table())
    return folder


def write_slides(folder: Path) -> Path:
    """Two slides, and a file that is none."""
    folder.mkdir()
    for seed, name in enumerate(("one", "two")):
        pixels = np.full((64, 96, 3), 245, np.uint8)
        pixels[:, 16 * seed :] = np.random.default_rng(seed).integers(60, 200, 3)
        pixels[32:, 64:] = np.random.default_rng(seed + 9).integers(60, 200, 3)
        tifffile.imwrite(
            folder / f"{name}.tif",
            pixels,
            tile=(32, 32),
            compression="zlib",
            photometric="rgb",
            metadata=None,
            resolution=(1e4 / MPP, 1e4 / MPP),
            resolutionunit="CENTIMETER",
        )
    (folder / "broken.svs").write_text("no slide")
    return folder
