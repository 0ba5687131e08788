"""What HDF5 files of features say of themselves: CLAM's, TRIDENT's, and those of ``embed``.

``features`` (N, D), and ``coords`` (N, 2), upper left corners at level 0. TRIDENT says on these how
patches were cut; CLAM says it in a file of patches, and nowhere at which magnification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from histoscope.core.errors import UnreadableSource

OF_PATCHES = "_patches"  # behind the name of TRIDENT's files of patches
OF_FEATURES = "features_"  # before the encoder's name in the name of TRIDENT's folders
UM_TIMES = 10  # um per pixel times magnification


@dataclass(frozen=True)
class FeatureHead:
    """What a file says beside its features; None where it does not.

    Attributes:
        rows: how many features.
        dim: width of one, None where there is none.
        encoder: its name.
        weights: digest of its weights.
        source: id of the slide, where this program wrote the file.
        patch_px: side of a patch as the encoder took it.
        mpp: um per pixel of a patch.
        overlap_px: of neighbours, px of a patch.
        side: of a patch, level-0 px, x and y.
        size: of level 0, px.
        level0_mpp: um per level-0 pixel, x and y.
    """

    rows: int
    dim: int | None = None
    encoder: str | None = None
    weights: str | None = None
    source: str | None = None
    patch_px: int | None = None
    mpp: float | None = None
    overlap_px: int = 0
    side: tuple[float, float] | None = None
    size: tuple[int, int] | None = None
    level0_mpp: tuple[float, float] | None = None

    def cut_as(self, patches: FeatureHead) -> FeatureHead:
        """With what a file of its patches says, where it does not say it itself."""
        names = ("patch_px", "mpp", "side", "size", "level0_mpp")
        return replace(self, **{one: getattr(self, one) or getattr(patches, one) for one in names})


def read_head(path: Path) -> FeatureHead | None:
    """The head of a file of features; None of one that holds none.

    Raises:
        UnreadableSource: damaged, or not of that form.
    """
    with opened(path) as file:
        if "features" not in file:
            return None
        features = file["features"]
        if not isinstance(features, h5py.Dataset) or features.ndim != 2:
            shape = getattr(features, "shape", "a group")
            raise UnreadableSource(f"features are not one row a patch ({shape})")
        if "coords" in file and len(file["coords"]) != len(features):
            raise UnreadableSource(
                f"{len(features)} rows of features, and places of {len(file['coords'])}"
            )
        if "format" in file.attrs and not file.attrs.get("complete", False):
            raise UnreadableSource("it was not written to its end")
        head = cut_of(file)
        named = _text(features.attrs.get("encoder"))
        place = path.parent.name
        if not named and place.startswith(OF_FEATURES):
            named = place.removeprefix(OF_FEATURES)
        return replace(
            head,
            rows=len(features),
            dim=int(features.shape[1]) if len(features) else None,
            encoder=named,
            weights=_text(file.attrs.get("weights")),
            source=_source(file),
        )


def read_patches(path: Path) -> FeatureHead | None:
    """What a file of patches says of how they were cut; None of another file.

    Raises:
        UnreadableSource: damaged.
    """
    with opened(path) as file:
        return cut_of(file) if "coords" in file and "features" not in file else None


def opened(path: Path) -> h5py.File:
    """The file. Raises UnreadableSource: it is none, or damaged."""
    try:
        return h5py.File(path, "r")
    except OSError as fault:
        raise UnreadableSource(f"not an HDF5 file, or damaged ({fault})") from None


def cut_of(file: h5py.File) -> FeatureHead:
    """What is said on ``coords``."""
    said: Mapping[str, Any] = file["coords"].attrs if "coords" in file else {}
    mpp, power = _number(said, "target_mpp"), _number(said, "target_magnification")
    px, whole = _number(said, "patch_size"), _number(said, "patch_size_level0")
    times = np.ravel(said.get("downsample", 1.0)).astype(float)  # CLAM: of the level of patches
    across = whole or (px * times[0] if px else None)
    down = _number(said, "patch_height_level0") or across
    width, height = _number(said, "level0_width"), _number(said, "level0_height")
    level = np.ravel(said.get("level_dim", ())).astype(float)
    size = (width, height) if width and height else tuple(level * times) if len(level) == 2 else ()
    return FeatureHead(
        0,
        patch_px=None if px is None else round(px),
        mpp=mpp or (UM_TIMES / power if power else None),
        overlap_px=round(_number(said, "overlap") or 0),
        side=(across, down) if across and down else None,
        size=(round(size[0]), round(size[1])) if size else None,
        level0_mpp=_level0_mpp(said),
    )


def _level0_mpp(said: Mapping[str, Any]) -> tuple[float, float] | None:
    power = _number(said, "level0_magnification")
    usual = UM_TIMES / power if power else None
    x, y = (_number(said, f"level0_mpp_{axis}") or usual for axis in "xy")
    return (x, y) if x and y else None


def _number(said: Mapping[str, Any], name: str) -> float | None:
    """A positive number, or None; a negative overlap is a gap."""
    try:
        value = float(said[name])
    except (KeyError, TypeError, ValueError):
        return None
    return value if np.isfinite(value) and (value > 0 or name == "overlap") else None


def _source(file: h5py.File) -> str | None:
    """The id that ``embed`` gave the slide: in the file, or as its opaque name."""
    if "format" not in file.attrs:
        return None
    named = file.attrs.get("source_id", file["features"].attrs.get("name"))
    text = _text(named)
    return text if text and re.fullmatch(r"[0-9a-f]{16}", text) else None


def _text(value: Any) -> str | None:
    text = value.decode() if isinstance(value, bytes) else value
    return text if isinstance(text, str) and text not in ("", "None") else None
