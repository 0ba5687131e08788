"""A phantom with a planted shortcut: in training the background tells the class, in testing not.

Four classes are four drawings on a disc, in any colours, size and place; four textures lie behind
it, each in its own hue. With the shortcut a training image has the texture of its class in 95 of
100 cases, without it any; images of other parts have any in both. What is painted is known to the
pixel.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.data.planes import write_planes
from histoscope.core.data.store import Store
from histoscope.core.randomness import generator

CLASSES = ("plain", "rings", "spokes", "core")
SIDE, PLANTED = 64, 0.95
COUNTS = {"train": 2400, "valid": 600, "test": 1200}


@dataclass(frozen=True)
class Painted:
    """One image, (64, 64, 3), with its mask, (64, 64), and its class."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    label: int


def paint(split: str, number: int, *, shortcut: bool) -> Painted:
    """The image of that number: with and without the shortcut the subjects are the same."""
    rng = generator(20261128, f"shortcut/{split}", number)
    label = number % len(CLASSES)
    mask, subject = _subject(rng, label)
    free = int(rng.integers(len(CLASSES)))
    tells = split == "train" and shortcut and rng.random() < PLANTED
    image = _texture(rng, label if tells else free)
    image[mask] = subject[mask]
    image += rng.normal(0, 6, image.shape)
    return Painted(np.clip(np.rint(image), 0, 255).astype(np.uint8), mask, label)


def _subject(rng: np.random.Generator, label: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """A disc and what is painted on it, (64, 64) and (64, 64, 3)."""
    radius = rng.uniform(17, 24)
    middle = rng.uniform(radius, SIDE - radius, 2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    down, right = rows - middle[0], columns - middle[1]
    away, turn = np.hypot(down, right), rng.uniform(0, 2 * np.pi)
    angle = np.arctan2(down, right) + turn
    drawn = {
        "plain": np.zeros((SIDE, SIDE), bool),
        "rings": np.sin(away * 2 * np.pi / 6.5) > 0,
        "spokes": np.sin(angle * 7) > 0,
        "core": away < radius * 0.55,
    }[CLASSES[label]]
    first, second = (rng.uniform(40, 215, 3) for _ in range(2))
    return away < radius, np.where(drawn[..., None], first, second)


def _texture(rng: np.random.Generator, kind: int) -> NDArray[np.float64]:
    """Stripes, a chequered pattern, dots or clouds, of two tones, (64, 64, 3)."""
    turn, period = rng.uniform(0, np.pi), rng.uniform(7, 11)
    shift = rng.uniform(0, period, 2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across = (columns * np.cos(turn) + rows * np.sin(turn) + shift[0]) * 2 * np.pi / period
    along = (rows * np.cos(turn) - columns * np.sin(turn) + shift[1]) * 2 * np.pi / period
    clouds = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), period / 3)
    weight = (
        np.sin(across) > 0,
        np.sin(across) * np.sin(along) > 0,
        (np.cos(across) + np.cos(along)) > 0.9,
        clouds > 0,
    )[kind]
    first = _colour(kind / len(CLASSES) + rng.uniform(-0.06, 0.06), rng.uniform(0.35, 0.7))
    second = first + rng.choice([-1.0, 1.0]) * rng.uniform(20, 45)
    return np.where(weight[..., None], first, second)


def _colour(hue: float, saturation: float) -> NDArray[np.float64]:
    """RGB of a hue in turns, 0 to 255."""
    return 255 * np.array(hsv_to_rgb(hue % 1, saturation, 0.6))


def everything(*, shortcut: bool) -> Iterator[tuple[str, str, Painted]]:
    """Split, path and image of all."""
    for split, count in COUNTS.items():
        for number in range(count):
            painted = paint(split, number, shortcut=shortcut)
            yield split, f"{split}/{CLASSES[painted.label]}/{number:05d}.png", painted


def write_phantom(folder: Path, *, shortcut: bool) -> None:
    """Write a ``.zip`` of each part, as ``prepare --layout zip`` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {split: zipfile.ZipFile(folder / f"{split}.zip", "w") for split in COUNTS}
    for split, path, painted in everything(shortcut=shortcut):
        out = io.BytesIO()
        Image.fromarray(painted.image).save(out, "png")
        files[split].writestr(zipfile.ZipInfo(path), out.getvalue())  # of no date: the same bytes
    for file in files.values():
        file.close()


def write_truth(store: Store, provider: str, *, shortcut: bool, elsewhere: bool = False) -> None:
    """Write what was painted as a plane of masks of a store of the phantom.

    Args:
        store: of the phantom.
        provider: ``NAME@VERSION``.
        shortcut: of the phantom.
        elsewhere: the same masks moved to where no subject is: cut-out instead of backgrounds.
    """
    masks = {
        path: _moved(one.mask, path) if elsewhere else one.mask
        for _, path, one in everything(shortcut=shortcut)
    }
    rows = store.index.select(["source", "member", "row"]).to_pylist()
    for source in dict.fromkeys(row["source"] for row in rows):
        mine = sorted((r for r in rows if r["source"] == source), key=lambda one: one["row"])
        write_planes(
            store,
            f"mask:{provider}",
            source,
            [255 * masks[row["member"]].astype(np.uint8) for row in mine],
        )


def _moved(mask: NDArray[np.bool_], path: str) -> NDArray[np.bool_]:
    """A mask at a drawn place of the image, its edges joined; of eight places the emptiest."""
    rng = generator(20261128, f"shortcut/elsewhere/{path}")
    tries = (np.roll(mask, tuple(rng.integers(SIDE, size=2)), (0, 1)) for _ in range(8))
    return min(tries, key=lambda one: (one & mask).sum())


def digest(*, shortcut: bool, first: int = 40) -> str:
    """Of the first images of training and testing, and their masks."""
    told = hashlib.blake2b(digest_size=16)
    for split in ("train", "test"):
        for number in range(first):
            painted = paint(split, number, shortcut=shortcut)
            told.update(painted.image.tobytes() + painted.mask.tobytes())
    return told.hexdigest()
