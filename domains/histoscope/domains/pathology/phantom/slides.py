"""The phantom on disk: slides, a labelled set of tiles cut from their pixels, and their truth."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from histoscope.core.errors import DataError
from histoscope.core.files import plain_path, read_json, write_json
from histoscope.domains.pathology.phantom.sections import (
    CLASSES,
    GLASS,
    Section,
    laboratory_of,
    make_section,
)

PHANTOM_VERSION = 1
PHANTOM = ("histoscope.phantom", PHANTOM_VERSION)
TILE_PX = 64
TILE_MPP = 1.0
LEVELS = 3
TRUTH_MPP = TILE_MPP * 2 ** (LEVELS - 1)
STEP_PX = 36
PURITY = 0.9
THREADS = 2  # cases at a time; numpy and cv2 let go of the interpreter while they compute
PARTS = ("train", "valid", "test", "new")


@dataclass(frozen=True)
class PhantomSize:
    """How large the phantom is. The defaults are frozen: results are quoted on them.

    Attributes:
        train, valid, test: cases of the labelled set; those of ``train`` have slides as well.
        new: cases whose slides are for ``predict``.
        side_px: width and height of a section at level 0, a multiple of 64.
    """

    train: int = 14
    valid: int = 2
    test: int = 6
    new: int = 4
    side_px: int = 1024


def write_phantom(out: Path, seed: int = 0, **size: int) -> Mapping[str, Path]:
    """Write the phantom into ``out``, or find it written already.

    - ``unlabelled/case-NN_lab-L.tif``: slides of the training cases, tiled pyramids, 1 um/px.
    - ``labelled/<split>/<class>/case-NN_lab-L_x-y.png``: tiles of 64 px cut from level 0 of the
      labelled cases' slides, at least 90 % of one class. No case is in two splits.
    - ``new/case-NN_lab-L.tif``: slides of further cases of both laboratories.
    - ``new-truth/case-NN_lab-L.png``: class id + 1 at 4 um/px, 0 on glass.
    - ``phantom.json``, written last: what is in it, and :func:`phantom_hash`.

    Args:
        out: folder.
        seed: of everything.
        size: fields of :class:`PhantomSize` that differ from the defaults.

    Returns:
        The folders ``unlabelled``, ``labelled``, ``new`` and ``new-truth``, and ``facts``.

    Raises:
        DataError: ``out`` holds another phantom.
    """
    asked = PhantomSize(**size)
    paths = {name: out / name for name in ("unlabelled", "labelled", "new", "new-truth")}
    facts = paths["facts"] = out / "phantom.json"
    body = {"seed": seed, "size": asdict(asked), "classes": list(CLASSES), "mpp": TILE_MPP}
    if facts.is_file():
        found = read_json(facts, *PHANTOM)
        if any(found.get(key) != value for key, value in body.items()):
            raise DataError(f"{facts}: another phantom; give another folder")
        return paths
    for leftover in ("unlabelled", "labelled", "new", "new-truth"):
        shutil.rmtree(out / leftover, ignore_errors=True)
    parts = [part for part in PARTS for _ in range(getattr(asked, part))]

    def write(case: int) -> dict[str, Any]:
        name = f"case-{case:02d}_lab-{laboratory_of(case).name}"
        section = make_section(seed, case, asked.side_px)
        tiles = _write_case(paths, parts[case], name, section)
        return {"name": name, "part": parts[case], "tiles": tiles}

    with ThreadPoolExecutor(THREADS) as pool:
        cases = list(pool.map(write, range(len(parts))))
    tail = {"truth_mpp": TRUTH_MPP, "cases": cases, "sha256": phantom_hash(out)}
    write_json(facts, *PHANTOM, body | tail)
    return paths


def phantom_hash(out: Path) -> str:
    """SHA-256 over a written phantom's decoded pixels and labels, lower-case hex.

    Of every image below ``out``, in the order of the POSIX paths (a tile's label stands in its
    path): the path, the shape and the bytes of level 0, RGB, or of the truth.
    """
    digest = hashlib.sha256()
    images = [path for path in out.rglob("*") if path.suffix in (".png", ".tif")]
    for path in sorted(images, key=lambda path: path.relative_to(out).as_posix()):
        if path.suffix == ".tif":
            pixels = tifffile.imread(path, level=0)
        else:  # grey, or BGR
            pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
            pixels = pixels if pixels.ndim == 2 else pixels[..., ::-1]
        digest.update(f"{path.relative_to(out).as_posix()} {pixels.shape}\n".encode())
        digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def pure_tiles(truth: NDArray[np.uint8]) -> Iterator[tuple[int, int, int]]:
    """Corner (x, y) and class id of tiles that are at least 90 % of one class.

    Args:
        truth: class id + 1, 0 on glass, (side, side).
    """
    last = len(truth) - TILE_PX
    for y in range(0, last + 1, STEP_PX):
        for x in range(0, last + 1, STEP_PX):
            part = truth[y : y + TILE_PX, x : x + TILE_PX]
            counts = np.bincount(part.ravel(), minlength=len(CLASSES) + 1)
            counts[GLASS] = 0
            best = int(counts.argmax())
            if counts[best] >= PURITY * TILE_PX**2:
                yield x, y, best - 1


def _write_case(paths: Mapping[str, Path], part: str, name: str, section: Section) -> int:
    """Write what the case's part of the phantom asks for; returns how many tiles."""
    if part == "new":
        write_slide(paths["new"] / f"{name}.tif", section.pixels)
        side = len(section.truth) // 2 ** (LEVELS - 1)
        _write_png(
            paths["new-truth"] / f"{name}.png",
            cv2.resize(section.truth, (side, side), interpolation=cv2.INTER_NEAREST),
        )
        return 0
    if part == "train":
        write_slide(paths["unlabelled"] / f"{name}.tif", section.pixels)
    tiles = list(pure_tiles(section.truth))
    for x, y, best in tiles:
        tile = section.pixels[y : y + TILE_PX, x : x + TILE_PX, ::-1]
        _write_png(paths["labelled"] / part / CLASSES[best] / f"{name}_{x:04d}-{y:04d}.png", tile)
    return len(tiles)


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    """Write grey or BGR pixels."""
    _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    with plain_path(path):
        path.write_bytes(data.tobytes())


def write_slide(path: Path, pixels: NDArray[np.uint8]) -> None:
    """A tiled pyramid, deflate, with its scale in the resolution tags."""
    level: NDArray[Any] = pixels
    with plain_path(path), tifffile.TiffWriter(path) as tiff:
        for number in range(LEVELS):
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
            level = np.asarray(cv2.resize(level, half, interpolation=cv2.INTER_AREA))
