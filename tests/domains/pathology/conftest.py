"""Small slides whose pixels say where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from histoscope.core.contracts import Reader
from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import PrepareOptions, TileSampling


@dataclass(frozen=True)
class CoordinateSlide:
    """A pyramid on disk and the pixels that were written."""

    path: Path
    levels: list[NDArray[np.uint8]]
    mpp: tuple[float, float]


def wave(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangle of period 510 level-0 px: its slope is one grey value a pixel."""
    return np.abs(np.mod(position, 510) - 255)


def paint(size: tuple[int, int], size0: tuple[int, int]) -> NDArray[np.uint8]:
    """Red says x, green says y, blue says both, all at level-0 pixel centres."""
    x = (np.arange(size[0]) + 0.5) * size0[0] / size[0]
    y = (np.arange(size[1]) + 0.5) * size0[1] / size[1]
    image = np.empty((size[1], size[0], 3))
    image[:, :, 0] = wave(x)[None, :]
    image[:, :, 1] = wave(y)[:, None]
    image[:, :, 2] = wave(x[None, :] + y[:, None])
    return np.rint(image).astype(np.uint8)


def write_pyramid(path: Path, levels: list[NDArray[np.uint8]], mpp: tuple[float, float]) -> None:
    """A tiled, lossless TIFF pyramid with its scale in the resolution tags."""
    with tifffile.TiffWriter(path) as out:
        for place, pixels in enumerate(levels):
            out.write(
                pixels,
                tile=(256, 256),
                compression="zlib",
                photometric="rgb",
                metadata=None,
                subfiletype=int(place > 0),
                resolution=(1e4 / mpp[0], 1e4 / mpp[1]),
                resolutionunit="CENTIMETER",
            )


@pytest.fixture(scope="session")
def coordinate_slide(tmp_path_factory: pytest.TempPathFactory) -> CoordinateSlide:
    """Level sizes that give downsamples 2.0005 and 4.003, and a pixel 1 % taller than wide."""
    sizes = [(4443, 1783), (2221, 891), (1110, 445)]
    levels = [paint(size, sizes[0]) for size in sizes]
    path = tmp_path_factory.mktemp("coordinates") / "coordinates.tif"
    write_pyramid(path, levels, (0.25, 0.2525))
    return CoordinateSlide(path, levels, (0.25, 0.2525))


@pytest.fixture
def open_one() -> Callable[..., Reader]:
    """Find the only source at a path and open it."""

    def act(path: Path, sampling: TileSampling | None = None, **options: object) -> Reader:
        chosen = PrepareOptions.model_validate(options)
        roots = {"input": path}
        (source,) = DOMAIN.find(roots, chosen)
        return DOMAIN.open(source, roots, sampling or TileSampling())

    return act
