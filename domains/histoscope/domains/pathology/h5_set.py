"""PatchCamelyon's pair of HDF5 files, also as people write it anew: floats, one-hot labels.

Values are converted where their meaning is certain, and that is said; otherwise they are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import UnreadableSource
from histoscope.domains.pathology.readers.base import RegionFault
from histoscope.domains.pathology.sets import Member

_LOOKED_AT = 32  # pictures that tell what the values mean
_MOST_LABELS = 1000  # numbers a picture; more are a mask


class H5Set:
    """``x`` (tiles, height, width, 3) or (tiles, 3, height, width), ``y`` (tiles, ...).

    Implements :class:`~histoscope.domains.pathology.sets.TileSet`.

    Raises:
        UnreadableSource: not HDF5, cut, of another shape, or of values that may mean two things.
    """

    kind = "h5"
    named = False

    def __init__(self, images: Path, labels: Path) -> None:
        import h5py

        try:
            with h5py.File(labels, "r") as handle:
                names, labels_said = _labels(handle["y"])
            self._file = h5py.File(images, "r")
        except (OSError, KeyError, ValueError) as fault:
            raise UnreadableSource(f"not a whole PatchCamelyon pair ({_one_line(fault)})") from None
        try:
            self._images = self._file["x"]
            self._pixels = _pixels(self._images, len(names))
        except (OSError, KeyError, ValueError) as fault:
            self._file.close()
            raise UnreadableSource(f"not a whole PatchCamelyon pair ({_one_line(fault)})") from None
        except UnreadableSource:
            self._file.close()
            raise
        self.notes: Sequence[str] = [said for said in (self._pixels.said, labels_said) if said]
        self.members: Sequence[Member] = [Member(str(row), name) for row, name in enumerate(names)]

    def load(self, item: int) -> NDArray[np.uint8]:
        """See :class:`~histoscope.domains.pathology.sets.TileSet`."""
        try:
            return self._pixels.of(np.asarray(self._images[item]))
        except OSError as fault:
            raise RegionFault(_one_line(fault)) from None

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


@dataclass(frozen=True)
class _Pixels:
    """How values become RGB of 8 bits.

    Attributes:
        channels_first: whether a picture is (3, height, width).
        factor: what values are multiplied by.
        said: what is converted, empty where nothing is.
    """

    channels_first: bool
    factor: int
    said: str

    def of(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """One picture, (height, width, 3)."""
        if self.channels_first:
            values = values.transpose(1, 2, 0)
        if values.dtype == np.uint8 and self.factor == 1:
            return np.ascontiguousarray(values)
        if not _inside(values, 255 // self.factor):
            raise RegionFault(f"values outside of 0 to {255 // self.factor}")
        return np.rint(values.astype(np.float64) * self.factor).astype(np.uint8)


def _pixels(images: Any, rows: int) -> _Pixels:
    """What the values of ``x`` mean, from pictures all over the file."""
    shape = images.shape
    first = len(shape) == 4 and shape[3] != 3 and shape[1] == 3
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or rows != shape[0] or not rows:
        raise UnreadableSource(f"x has shape {shape} and y {rows} rows")
    places = np.unique(np.linspace(0, rows - 1, _LOOKED_AT).astype(int))
    looked = np.stack([np.asarray(images[place]) for place in places])
    kind = f"{looked.dtype}"
    if looked.dtype.kind not in "uif":
        raise UnreadableSource(f"x holds {kind}, not pixels")
    low, high = looked.min(), looked.max()
    if looked.dtype.kind == "f" and _inside(looked, 1):
        factor, scale = 255, f"{kind} of 0 to 1, times 255"
    elif _inside(looked, 255):
        factor, scale = 1, "" if kind == "uint8" else f"{kind} of 0 to 255"
    else:
        raise UnreadableSource(
            f"x holds {kind} from {low:g} to {high:g}, where 0 to 255 is expected, or 0 to 1 of "
            "floats; save it as uint8"
        )
    if np.isin(looked, (0, 1)).all():
        raise UnreadableSource("x holds nothing but 0 and 1: a mask, or pixels that were divided")
    parts = [f"pixels: {scale}" if scale else "", "channels first" if first else ""]
    return _Pixels(first, factor, ", ".join(filter(None, parts)))


def _inside(values: NDArray[Any], most: int) -> bool:
    return bool(np.isfinite(values).all() and values.min() >= 0 and values.max() <= most)


def _labels(told: Any) -> tuple[list[str | None], str]:
    """The class of each row, and what was made of it."""
    width = int(np.prod(told.shape[1:]))
    if width > _MOST_LABELS:
        raise UnreadableSource(f"y has {width} numbers a picture: masks, where a class is expected")
    values = np.asarray(told).reshape(len(told), -1)
    if values.dtype.kind in "SO" and width == 1:
        return [one.decode() if isinstance(one, bytes) else str(one) for one in values[:, 0]], ""
    numbers = values.astype(np.float64)
    empty = np.asarray(np.isnan(numbers).all(axis=1))
    whole = numbers[~empty]
    odd = whole[~np.isfinite(whole) | (whole != np.rint(whole))]
    if odd.size:
        raise UnreadableSource(f"y holds {odd[0]:g}, where a class's number is expected")
    said = [f"labels: {empty.sum()} are NaN, unknown"] if empty.any() else []
    if width > 1:
        if not (np.isin(whole, (0, 1)).all() and (whole.sum(axis=1) == 1).all()):
            raise UnreadableSource(f"y has {width} numbers a picture that are not one-hot")
        said.append(f"labels: one-hot of {width}, read as the class's number")
    classes = numbers.argmax(axis=1) if width > 1 else np.where(empty, 0, numbers[:, 0])
    names = [None if none else str(int(one)) for one, none in zip(classes, empty, strict=True)]
    return names, ", ".join(said)


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:120]
