"""Packages, slides and operations for the trials, made in no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import tifffile
import torch

from histoscope.core.contracts import Task
from histoscope.core.encoders.colour import ColourEncoder
from histoscope.core.encoders.folder import EncoderInfo, LoadedEncoder
from histoscope.core.heads.linear import LinearHead
from histoscope.core.packages.info import HeadInfo, PackageInfo, class_infos
from histoscope.core.packages.package import DRAWN, write_package
from histoscope.domains.surgery.phantom.videos import encode

TASK = Task("tissue", ("stroma", "tumour"))
TILE_PX, MPP = 32, 0.5
PHASE = Task("phase", ("Preparation", "CalotTriangleDissection", "ClippingCutting"))
TOOLS = Task("tools", ("Grasper", "Hook"), exclusive=False)
FRAME_PX, FPS = 32, 5
STRETCHES, STRETCH = 3, 10  # of a colour, and frames of each


def write_colour_package(folder: Path, size_px: int = TILE_PX) -> Path:
    """A package whose scores differ wherever a pixel of a tile does; it loads at once."""
    sampling = {"size_px": size_px, "tile_mpp": MPP, "min_tissue": 0.0}
    return _write_package(folder, "pathology", sampling, {"mpp": MPP}, [TASK])


def write_operation_package(folder: Path) -> Path:
    """The same for operations, with phases and tools."""
    sampling = {"size_px": FRAME_PX, "fps": FPS}
    return _write_package(folder, "surgery", sampling, {"whole_picture": 1.0}, [PHASE, TOOLS])


def _write_package(
    folder: Path,
    domain: str,
    sampling: Mapping[str, float],
    scale: Mapping[str, float],
    tasks: Sequence[Task],
) -> Path:
    """Colour statistics under a linear head for each task, whose weights are drawn.

    Between colours at random no class is likelier than another.
    """
    encoder = EncoderInfo(
        network={"kind": "colour"},
        dim=ColourEncoder.dim,
        domain=domain,
        sampling=sampling,
        scale=scale,
        provenance={"kind": "colour"},
    )
    colours = torch.rand(64, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    middle = ColourEncoder()(colours).mean(0).numpy()
    heads = list[list[LinearHead]]()
    for task in tasks:
        size = (len(task.classes), ColourEncoder.dim)
        weight = np.random.default_rng(0).normal(0, 0.05, size).astype(np.float32)
        heads.append([LinearHead(weight, -weight @ middle, exclusive=task.exclusive)])
    loaded = LoadedEncoder(ColourEncoder(), encoder, frozenset())  # type: ignore[arg-type]
    info = PackageInfo(encoder=encoder, heads=[_head_info(task) for task in tasks])
    write_package(folder, info, [loaded], heads, frozenset(), DRAWN.empty_table())
    return folder


def _head_info(task: Task) -> HeadInfo:
    return HeadInfo(
        task=task.name,
        level="sample",
        exclusive=task.exclusive,
        classes=class_infos(task),
        method="probe",
        labels=[5],
        drawn=["a"],
        fraction=0.1,
        draw_by="sample",
        seed=0,
        calibration={"kind": "none", "reason": "none is fitted; scores only rank"},
    )


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


def write_operations(folder: Path) -> Path:
    """Two short operations of coloured stretches, and a file that is none."""
    folder.mkdir()
    for seed, name in enumerate(("one", "two")):
        draw = np.random.default_rng(seed)
        colours = draw.integers(0, 220, (STRETCHES, 1, 1, 3))
        noise = draw.integers(0, 30, (STRETCHES * STRETCH, 64, 96, 3))
        frames = (colours.repeat(STRETCH, 0) + noise).astype(np.uint8)
        encode(folder / f"{name}.mp4", frames, Fraction(FPS), {"g": "250", "bf": "2"})
    (folder / "broken.mp4").write_text("no video")
    return folder
