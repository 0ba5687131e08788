"""The phantom on disk: a labelled set of tiles, and new slides with their truth."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from histoscope.core.files import read_json, write_json
from histoscope.domains.pathology.phantom.sections import (
    CLASSES,
    Section,
    laboratory_of,
    make_section,
)

PHANTOM = ("histoscope.phantom", 1)
TILE_PX = 64
TILE_MPP = 1.0
STEP_PX = 40
PURITY = 0.9


@dataclass(frozen=True)
class PhantomSize:
    """How large the phantom is. The defaults are frozen: results are quoted on them.

    Attributes:
        train, valid, test: cases of the labelled set.
        new: cases whose slides are for ``predict``.
        side_px: width and height of a section, level 0.
    """

    train: int = 13
    valid: int = 2
    test: int = 5
    new: int = 4
    side_px: int = 1024


def write_phantom(out: Path, seed: int = 0, size: PhantomSize = PhantomSize()) -> dict[str, Any]:
    """Write the phantom into ``out``, or find it written already.

    ``labelled/<split>/<class>/case-NN_x-y.png``: 64 px tiles at 1 um/px, at least 90 % of one
    class, cut from sections of the labelled cases. ``new/case-NN_lab-L.tif``: tiled pyramids of
    further cases. ``new-truth/case-NN_lab-L.png``: class id + 1 of each level-0 pixel, 0 on glass.

    Returns:
        The body of ``phantom.json``, which is written last.
    """
    done = out / "phantom.json"
    if done.is_file():
        return read_json(done, *PHANTOM)
    for leftover in ("labelled", "new", "new-truth"):
        shutil.rmtree(out / leftover, ignore_errors=True)
    digest, tiles, case = hashlib.sha256(), 0, 0
    for split in ("train", "valid", "test", "new"):
        for _ in range(getattr(size, split)):
            section = make_section(seed, case, size.side_px)
            digest.update(section.pixels.tobytes() + section.truth.tobytes())
            name = f"case-{case:02d}"
            if split == "new":
                _write_slide(out, f"{name}_lab-{laboratory_of(case).name}", section)
            else:
                tiles += _write_tiles(out / "labelled" / split, name, section)
            case += 1
    body = {
        "seed": seed,
        "classes": list(CLASSES),
        "cases": {split: getattr(size, split) for split in ("train", "valid", "test", "new")},
        "side_px": size.side_px,
        "tiles": tiles,
        "mpp": TILE_MPP,
        "sha256": digest.hexdigest(),
    }
    write_json(done, *PHANTOM, body)
    return body


def pure_tiles(section: Section) -> Iterator[tuple[int, int, int]]:
    """Corner (x, y) and class id of tiles that are at least 90 % of one class."""
    side = len(section.truth)
    for y in range(0, side - TILE_PX + 1, STEP_PX):
        for x in range(0, side - TILE_PX + 1, STEP_PX):
            part = section.truth[y : y + TILE_PX, x : x + TILE_PX]
            counts = np.bincount(part.ravel(), minlength=len(CLASSES) + 1)
            best = int(counts[1:].argmax())
            if counts[best + 1] >= PURITY * TILE_PX**2:
                yield x, y, best


def _write_tiles(folder: Path, name: str, section: Section) -> int:
    count = 0
    for x, y, best in pure_tiles(section):
        path = folder / CLASSES[best] / f"{name}_{x:04d}-{y:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        tile = section.pixels[y : y + TILE_PX, x : x + TILE_PX]
        cv2.imwrite(str(path), tile[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        count += 1
    return count


def _write_slide(out: Path, name: str, section: Section) -> None:
    """A tiled pyramid, deflate, with its scale in the resolution tags, and its truth."""
    path = out / "new" / f"{name}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    level: NDArray[Any] = section.pixels
    with tifffile.TiffWriter(path) as tiff:
        for number in range(3):
            per_cm = 1e4 / (TILE_MPP * 2**number)
            tiff.write(
                level,
                tile=(256, 256),
                photometric="rgb",
                compression="zlib",
                predictor=True,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=1 if number else 0,
                metadata=None,
            )
            half = (level.shape[1] // 2, level.shape[0] // 2)
            level = cv2.resize(level, half, interpolation=cv2.INTER_AREA)
    truth = out / "new-truth" / f"{name}.png"
    truth.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(truth), section.truth)
