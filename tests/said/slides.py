"""Slides and pictures: colours, scale, planes, names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.said.case import SLIDES, Case, Chapter

CM = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
OME = {f"PhysicalSize{axis}": 0.5 for axis in "XY"}


def tissue(seed: int = 0, side: int = 64) -> NDArray[np.uint8]:
    """Stained everywhere."""
    grain = np.random.default_rng(seed).integers(-25, 25, (side, side, 3))
    return np.clip(np.array((150, 60, 140)) + grain, 0, 255).astype(np.uint8)


def slide(path: Path, pixels: NDArray[Any] | None = None, **more: Any) -> None:
    """A plain TIFF of 0.5 um/px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"photometric": "rgb", "metadata": None, **CM, **more}
    tifffile.imwrite(path, tissue() if pixels is None else pixels, **options)


def ome(path: Path, *images: tuple[str, str, NDArray[Any], dict[str, Any]]) -> None:
    """Images of one OME-TIFF: name, axes, pixels, and what else is said of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, ome=True) as out:
        for name, axes, pixels, more in images:
            kind = "rgb" if axes.endswith("S") else "minisblack"
            said = {"axes": axes, "Name": name, **OME, **more}
            out.write(pixels, photometric=kind, metadata=said)


def _planes(folder: Path) -> None:
    names = {"Channel": {"Name": ["Red", "Green", "Blue"]}}
    ome(folder / "a.ome.tif", ("scan", "CYX", tissue().transpose(2, 0, 1), names))


def _fluorescence(folder: Path) -> None:
    names = {"Channel": {"Name": ["DAPI", "CD3"]}}
    ome(folder / "a.ome.tif", ("scan", "CYX", tissue()[..., :2].transpose(2, 0, 1), names))


def _scans(folder: Path) -> None:
    ome(
        folder / "a.ome.tif",
        ("region 1", "YXS", tissue(0), {}),
        ("region 2", "YXS", tissue(1), {}),
        ("macro image", "YXS", tissue(2, 32), {}),
    )


def _stack(folder: Path) -> None:
    ome(folder / "a.ome.tif", ("scan", "ZYXS", np.stack([tissue(n) for n in range(3)]), {}))


def _scales(folder: Path) -> None:
    slide(folder / "dpi.tif", resolution=(300, 300), resolutionunit="INCH")
    slide(folder / "good.tif")


def _turned(folder: Path) -> None:
    slide(folder / "a.tif", extratags=[(274, 3, 1, 6, True)])
    slide(folder / "b.tif")


def _bits(folder: Path) -> None:
    slide(folder / "a.tif", tissue().astype(np.uint16) * 16)
    slide(folder / "b.tif")


def _names(folder: Path) -> None:
    slide(folder / "good.tif")
    slide(folder / "other.tif", tissue(1))
    os.rename(folder / "other.tif", os.fsencode(folder) + b"/Pr\xe4parat.tif")


def _broken(folder: Path) -> None:
    slide(folder / "good.tif")
    (folder / "empty.svs").write_bytes(b"")
    (folder / "cut.tif").write_bytes((folder / "good.tif").read_bytes()[:4000])
    (folder / "text.svs").write_text("not a slide")
    (folder / "a.vsi").write_bytes(b"II*\0")


def _others(folder: Path) -> None:
    slide(folder / "good.tif")
    for name in ("a.gif", "b.heic", "c.npy", "notes.txt"):
        (folder / name).write_bytes(b"x")


def _copies(folder: Path) -> None:
    slide(folder / "a.tif")
    slide(folder / "copy" / "a.tif")


def _results(folder: Path) -> None:
    slide(folder / "good.tif")
    store = folder / "store-of-yesterday"
    store.mkdir()
    body = {"format": "histoscope.store", "version": 1}
    (store / "store.json").write_text(json.dumps(body))
    Image.fromarray(tissue()).save(store / "overlay.png")


def _loops(folder: Path) -> None:
    slide(folder / "ward" / "good.tif")
    (folder / "ward" / "back").symlink_to(folder, target_is_directory=True)
    (folder / "gone.d").symlink_to(folder / "nowhere")


MPP = "give --default-mpp"
CASES = (
    Case("Colours in planes of grey", "The planes are the slide's colours.", _planes, SLIDES),
    Case("Channels of fluorescence", "Refused by name.", _fluorescence, SLIDES),
    Case(
        "Several scans in one file, and an overview",
        "Each scan is a source with its own pixels and scale; the overview is left.",
        _scans,
        SLIDES,
    ),
    Case("A stack of focal planes", "The middle plane, or the one asked for.", _stack, SLIDES),
    Case(
        "A scale that is a screen's or printer's",
        "Missing, as if there were none; the other slide is read.",
        _scales,
        SLIDES,
        way="--default-mpp 0.5",
    ),
    Case("A picture that is turned by a tag", "Refused; the other is read.", _turned, SLIDES),
    Case("12 bits in 16", "Refused where nothing says how many bits count.", _bits, SLIDES),
    Case("A name that is not UTF-8", "One row with that reason.", _names, SLIDES),
    Case("Files that are cut, empty or something else", "One row each.", _broken, SLIDES),
    Case("Files that look like pictures", "Listed, not read.", _others, SLIDES),
    Case("The same slide twice", "Read once; the note says where else it lies.", _copies, SLIDES),
    Case("Results of an earlier call below the input", "Not searched.", _results, SLIDES),
    Case("Links that lead back or nowhere", "Followed once; said.", _loops, SLIDES),
)
CHAPTER = Chapter("Slides and pictures", CASES)
