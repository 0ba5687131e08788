"""Bring the stains of a slide or a picture to a reference: Macenko's and Reinhard's ways.

A fit is made on pooled pixels and applied to pictures. Pixels that no fit can be trusted on give an
:class:`Unfit` with its reason, and the picture stays as it is. Glass stays as it is either way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from histoscope.domains.pathology.colour_spaces import DARKEST, lab_to_rgb, rgb_to_lab
from histoscope.domains.pathology.stain import tissue_part
from histoscope.domains.pathology.stain_statistics import tissue_statistics

Way = Literal["macenko", "reinhard"]
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

# Macenko et al. 2009 ("A method for normalizing histology slides", ISBI), as their code has them:
# haematoxylin and eosin (red, green, blue), and the 99th percentiles of their amounts
REFERENCE = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
REFERENCE_LARGEST = np.array([1.9705, 1.0308])
STAINED_OD = 0.15  # in every channel; theirs
# the mean 96 px tile of PatchCamelyon (240 of its train part): tissue's mean and deviation in LAB
LAB_MEAN, LAB_STD = (57.0, 26.0, -11.0), (17.0, 6.0, 6.0)

ONE_STAIN, OTHER_STAINS = "one stain", "not haematoxylin and eosin"
FEWEST_PX, LEAST_PART = 100, 0.01
# between the two stains: 9 to 40 degrees on H&E (PatchCamelyon, five sections), 7 on a noisy one
CLOSEST_DEGREES = 8.0
# of haematoxylin from the reference: up to 20 degrees on H&E; Giemsa 27 to 35, blue pen 21 to 31
FARTHEST_DEGREES = 25.0
LARGEST_GAIN = 3.0  # of a channel's contrast: more is the noise of flat tissue

TILES, PIXELS_A_TILE = 32, 16_384  # of a slide, that are pooled for its fit


@dataclass(frozen=True)
class Unfit:
    """Why pixels are not fitted; a few words."""

    reason: str


@dataclass(frozen=True)
class Macenko:
    """What changes optical densities: a row of them times ``mix``, (3, 3)."""

    mix: Floats

    def apply(self, rgb: Floats) -> Floats:
        """RGB in 0..1, (pixels, 3), to the reference's stains; clipped to 0..1."""
        return np.asarray(np.exp(-_density(rgb) @ self.mix).clip(0, 1))


@dataclass(frozen=True)
class Reinhard:
    """Mean and gain of each LAB channel, (3,) both."""

    mean: Floats
    gain: Floats

    def apply(self, rgb: Floats) -> Floats:
        """RGB in 0..1, (pixels, 3), to the reference's statistics; clipped to 0..1."""
        lab = rgb_to_lab(torch.from_numpy(rgb.T[None].copy()))[0].numpy().T
        moved = (lab - self.mean) * self.gain + LAB_MEAN
        return np.asarray(lab_to_rgb(torch.from_numpy(moved.T[None].copy()))[0].numpy().T)


Fit = Macenko | Reinhard


def fit(way: Way, pixels: Pixels) -> Fit | Unfit:
    """Fit pooled pixels, (pixels, 3), RGB, glass among them."""
    rgb = pixels.reshape(-1, 3) / 255.0
    return _fit_macenko(rgb) if way == "macenko" else _fit_reinhard(rgb)


def _fit_macenko(rgb: Floats) -> Macenko | Unfit:
    """Macenko et al. 2009, section 2, with eigenvectors whose red is positive.

    Unsigned ones let the angle cross its cut, which turns a stain by up to 80 degrees.
    """
    density = _density(rgb)
    stained = density[(density >= STAINED_OD).all(axis=1)]
    if not _enough(len(stained), len(rgb)):
        return Unfit("too little tissue")
    stains = _stains_of(stained)
    if reason := _why_not(stains):
        return Unfit(reason)
    unmix = np.linalg.pinv(stains)  # least squares: amounts are densities times this, (3, 2)
    largest = np.percentile(stained @ unmix, 99, axis=0)
    if (largest < STAINED_OD).any():
        return Unfit(ONE_STAIN)
    return Macenko(unmix * (REFERENCE_LARGEST / largest) @ REFERENCE)


def _stains_of(stained: Floats) -> Floats:
    """Haematoxylin and eosin, (2, 3), of the optical densities of stained pixels, (pixels, 3)."""
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, [2, 1]]  # (channel, the two largest)
    plane = plane * np.where(plane[0] < 0, -1.0, 1.0)
    first, second = (stained @ plane).T
    angles = np.percentile(np.arctan2(second, first), [1, 99])
    ends = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T
    return np.asarray(ends[np.argsort(-ends[:, 0])])  # haematoxylin takes away more red


def _why_not(stains: Floats) -> str:
    """Why two stain vectors, (2, 3), cannot be haematoxylin and eosin; empty if they can."""
    haematoxylin, eosin = stains
    if _degrees(haematoxylin, eosin) < CLOSEST_DEGREES:
        return ONE_STAIN
    if _degrees(haematoxylin, REFERENCE[0]) > FARTHEST_DEGREES or eosin.argmax() != 1:
        return OTHER_STAINS
    return ""


def _fit_reinhard(rgb: Floats) -> Reinhard | Unfit:
    """Reinhard et al. 2001 ("Color transfer between images"), in CIE LAB, of tissue alone."""
    density = _density(rgb)
    channels = torch.from_numpy(rgb.T[None].copy())
    part = tissue_part(torch.from_numpy(-density.T[None]))
    weight = part[0, 0].numpy()
    stained = density[weight > 0.5]
    if not _enough(len(stained), len(rgb)):
        return Unfit("too little tissue")
    if (weight @ density).argmax() != 1 or _why_not(_stains_of(stained)) == OTHER_STAINS:
        return Unfit(OTHER_STAINS)
    mean, std = (found[0].numpy() for found in tissue_statistics(rgb_to_lab(channels), part, None))
    gain = np.array(LAB_STD) / std.clip(1e-6)
    return Unfit("flat") if gain.max() > LARGEST_GAIN else Reinhard(mean, gain)


def restained(picture: Pixels, found: Fit) -> Floats:
    """A picture brought to the reference, before rounding, 0 to 255; glass as it was.

    Args:
        picture: (height, width, 3), RGB.
        found: of this picture, or of the slide that it is part of.
    """
    rgb = picture.reshape(-1, 3) / 255.0
    part = tissue_part(torch.from_numpy(-_density(rgb).T[None]))[0, 0].numpy()[:, None]
    return np.asarray(255 * (rgb + part * (found.apply(rgb) - rgb))).reshape(picture.shape)


def normalise(picture: Pixels, found: Fit | Unfit) -> Pixels:
    """A picture brought to the reference; itself where nothing was fitted."""
    if isinstance(found, Unfit):
        return picture
    return np.asarray(np.rint(restained(picture, found)), np.uint8)


class EachAlone:
    """Fits every picture by itself, and counts those that stay as they are.

    Args:
        way: how.
    """

    def __init__(self, way: Way) -> None:
        self._way: Way = way
        self._fitted = 0
        self._left = Counter[str]()

    def __call__(self, picture: Pixels) -> Pixels:
        """A picture brought to the reference, or itself."""
        found = fit(self._way, picture)
        if isinstance(found, Unfit):
            self._left[found.reason] += 1
        else:
            self._fitted += 1
        return normalise(picture, found)

    def summary(self) -> str:
        """How many pictures were fitted, and why others were not."""
        left = [f"{count} {reason}" for reason, count in sorted(self._left.items())]
        said = f"{self._fitted} of {self._fitted + self._left.total()} pictures fitted"
        return f"{said}; left as they are: {', '.join(left)}" if left else said


class SlideStains:
    """Brings all tiles of a slide to the reference by one fit on pooled pixels.

    Args:
        way: how.
        tiles: some of the slide's, (height, width, 3).
    """

    def __init__(self, way: Way, tiles: Iterable[Pixels]) -> None:
        pooled = [_some(tile.reshape(-1, 3)) for tile in tiles]
        self._tiles = len(pooled)
        self._found = fit(way, np.concatenate(pooled)) if pooled else Unfit("no tile to fit")

    def __call__(self, tile: Pixels) -> Pixels:
        """A tile brought to the reference, or itself."""
        return normalise(tile, self._found)

    @property
    def left(self) -> bool:
        """Whether the slide stays as it is."""
        return isinstance(self._found, Unfit)

    @property
    def summary(self) -> str:
        """On how many tiles it was fitted, or why it was not."""
        if isinstance(self._found, Unfit):
            return f"left as it is: {self._found.reason}"
        return f"fitted on {self._tiles} tiles"


def spread(rows: int) -> NDArray[np.int64]:
    """Up to 32 rows, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, min(rows, TILES)).round().astype(np.int64))


def _some(pixels: Pixels) -> Pixels:
    """Up to 16,384 pixels, evenly spread; a step of a row's length would see one column."""
    if len(pixels) <= PIXELS_A_TILE:
        return pixels
    return pixels[np.linspace(0, len(pixels) - 1, PIXELS_A_TILE).astype(np.int64)]


def _density(rgb: Floats) -> Floats:
    """Optical density -ln(max(I, 1/255)), (pixels, 3)."""
    return np.asarray(-np.log(rgb.clip(DARKEST)))


def _enough(tissue_px: int, pixels: int) -> bool:
    return tissue_px >= max(FEWEST_PX, LEAST_PART * pixels)


def _degrees(one: Floats, other: Floats) -> float:
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
