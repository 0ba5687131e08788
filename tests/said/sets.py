"""Labelled tile sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.said.case import SETS, Case, Chapter
from tests.said.slides import tissue


def tiles(folder: Path, *names: str, side: int = 16) -> None:
    """Pictures of one size."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tissue(seed, side)).save(path)


def _listed(folder: Path, *lines: str) -> None:
    tiles(folder, "tiles/1.png", "tiles/2.png", "tiles/3.png", "tiles/4.png")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def _sizes(folder: Path) -> None:
    tiles(folder, "normal/1.png")
    tiles(folder, "tumour/1.png", side=20)


def _empty(folder: Path) -> None:
    tiles(folder, "normal/1.png", "tumour/1.png")
    (folder / "necrosis").mkdir()


def _pair(folder: Path, x: NDArray[np.generic], y: Sequence[object]) -> None:
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "tiles_x.h5", "w") as file:
        file["x"] = x
    with h5py.File(folder / "tiles_y.h5", "w") as file:
        file["y"] = y


PIXELS = np.stack([tissue(seed, 16) for seed in range(4)])
FOLDERS = "--layout folders"
CASES = (
    Case(
        "One class alone",
        "Not taken by itself: it may be a folder around the classes.",
        lambda folder: tiles(folder, "tumour/1.png", "tumour/2.png"),
        SETS,
        way=FOLDERS,
    ),
    Case("Pictures of several sizes", "Not taken by itself.", _sizes, SETS, way=FOLDERS),
    Case(
        "A picture beside the folders",
        "Not taken by itself.",
        lambda folder: tiles(folder, "normal/1.png", "tumour/1.png", "overview.png"),
        SETS,
        way=FOLDERS,
    ),
    Case(
        "Folders in folders",
        "Not taken by itself: either may be the class.",
        lambda folder: tiles(folder, "P0/normal/1.png", "P0/tumour/1.png", "P1/normal/1.png"),
        SETS,
        way="--layout case-folders",
    ),
    Case("An empty class", "The others are taken; it is named.", _empty, SETS),
    Case(
        "Other words for splits",
        "Taken as train and test.",
        lambda folder: tiles(
            folder, *(f"{s}/{k}/1.png" for s in ("Training", "Testing") for k in "ab")
        ),
        SETS,
    ),
    Case(
        "HDF5 of floats, one-hot",
        "Converted, which is said.",
        lambda folder: _pair(folder, PIXELS / 255, np.eye(2, dtype=np.uint8)[[0, 1, 1, 0]]),
        SETS,
    ),
    Case(
        "HDF5 whose values may mean two things",
        "Refused.",
        lambda folder: _pair(folder, PIXELS / 128 - 1, [0, 1, 1, 0]),
        SETS,
    ),
    Case(
        "A list without suffixes and folders",
        "Completed, which is said.",
        lambda folder: _listed(folder, "filename;class;age", "1;a;70", "2;a;70", "tiles/3;b;71"),
        SETS,
    ),
    Case(
        "A list that names a picture which is not there",
        "A sample with that reason.",
        lambda folder: _listed(folder, "path,label", "tiles/1.png,a", "tiles/9.png,b"),
        SETS,
    ),
    Case(
        "Two spellings of one class",
        "Refused until it is said what is meant.",
        lambda folder: _listed(
            folder, "path,label", "tiles/1.png,1", "tiles/2.png,1.0", "tiles/3.png,2"
        ),
        SETS,
        way="--class-names 1.0=1",
    ),
    Case(
        "A word for none where a class is expected",
        "Refused until it is said what is meant.",
        lambda folder: _listed(
            folder, "path,label", "tiles/1.png,a", "tiles/2.png,NA", "tiles/3.png,b"
        ),
        SETS,
        way="--null-values NA",
    ),
    Case(
        "A case in several splits",
        "As it is told; said.",
        lambda folder: _listed(
            folder, "path,label,case,split", "tiles/1.png,a,P1,train", "tiles/2.png,b,P1,test"
        ),
        SETS,
    ),
)
CHAPTER = Chapter("Labelled tile sets", CASES)
