"""A sheet that shows masks over some of a store's images, for a person to judge them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoscope.core.data.planes import StorePlanes, plane_folder, planes_of, shards_of
from histoscope.core.data.store import Store
from histoscope.core.errors import DataError, UsageError, near_word
from histoscope.core.files import write_bytes
from histoscope.core.stages.tally import Tally, tally_of

SAMPLES, ACROSS = 24, 2  # on a sheet, and beside each other
LEAST_PX, MOST_PX = 144, 288  # side of a picture
GAP_PX, EDGE_PX, TEXT_PX, TITLE_PX = 6, 24, 13, 19
OUTLINE = (0, 255, 60)  # is neither in stains nor in tissue
GROUND, INK = (222, 222, 222), (20, 20, 20)  # fills are often near white
HEADS = ("image", "mask", "background removed")

Picture = NDArray[np.uint8]


def plane_to_show(store: Store, asked: str | None) -> str:
    """The plane of masks that a sheet shows.

    Args:
        store: which.
        asked: ``provider@version``; None takes the only one.

    Raises:
        UsageError: several, and none asked for, or none such.
    """
    known = [name.partition(":")[2] for name in planes_of(store) if name.startswith("mask:")]
    if not known:
        raise UsageError(f"{store.path}: has no masks; make some with --provider NAME (see --list)")
    if asked is None and len(known) > 1:
        raise UsageError(f"{store.path}: has masks of {', '.join(known)}; name one with --provider")
    if asked not in (None, *known):
        raise UsageError(
            f"--provider {asked}: {store.path} has no such masks{near_word(str(asked), known)}; "
            f"it has {', '.join(known)}"
        )
    return f"mask:{asked or known[0]}"


def write_sheet(store: Store, name: str, path: Path) -> int:
    """Write a PNG with images, outlines of their masks, and subjects on the fill.

    Args:
        store: which.
        name: of the plane.
        path: of the PNG.

    Returns:
        How many samples it shows.

    Raises:
        DataError: the plane is damaged, or of other images.
    """
    folder, planes = plane_folder(store, name), StorePlanes(store, name)
    there = {file.stem for file in folder.glob("*.arrow")} & shards_of(store).keys()
    rows = chosen_rows(store, there, SAMPLES)
    if not rows:
        raise DataError(f"{folder}: no masks of sources that the store has; make them again")
    tally = sum((tally_of(folder / f"{one}.arrow") for one in sorted(there)), Tally())
    title = f"{name}   mean area {tally.mean:.1%}   {tally.masks} masks of {len(there)} sources"
    sources, side = store.index.column("source"), _side_of(store.sampling.size_px)
    cells = []
    for row in rows:
        mask = planes.plane(row)
        shown = pictures(store.reader.image(row), mask, planes.fill(row), side)
        cells.append((f"{mask.mean():.0%}   {sources[row].as_py()[:8]}", shown))
    write_bytes(path, _drawn(title, cells, side))
    return len(rows)


def _drawn(title: str, cells: Sequence[tuple[str, Sequence[Picture]]], side: int) -> bytes:
    """The sheet as PNG: a title, heads, and cells of three pictures with a caption below them."""
    from PIL import Image, ImageDraw, ImageFont

    large, small = ImageFont.load_default(TITLE_PX), ImageFont.load_default(TEXT_PX)
    across = min(ACROSS, len(cells))
    wide, tall = 3 * (side + GAP_PX) - GAP_PX + EDGE_PX, side + TEXT_PX + 3 * GAP_PX
    top = EDGE_PX + TITLE_PX + TEXT_PX + 4 * GAP_PX
    width = max(across * wide, round(large.getlength(title)) + EDGE_PX) + EDGE_PX
    sheet = Image.new("RGB", (width, top + -(-len(cells) // across) * tall + EDGE_PX), GROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((EDGE_PX, EDGE_PX - GAP_PX), title, INK, large)
    for place, (caption, shown) in enumerate(cells):
        x, y = EDGE_PX + place % across * wide, top + place // across * tall
        draw.text((x, y + side + 2), caption, INK, small)
        for at, picture in enumerate(shown):
            left = x + at * (side + GAP_PX)
            sheet.paste(Image.fromarray(picture), (left, y))
            if place < across:
                draw.text((left, y - TEXT_PX - GAP_PX), HEADS[at], INK, small)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def pictures(image: Picture, mask: Picture, fill: Picture, side: int) -> list[Picture]:
    """An image, the outline of its mask over it, and its subject on the fill, (side, side, 3)."""
    size = (side, side)
    shrinks = side < len(image)
    large = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    inside = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
    core = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8))  # the border counts inside
    outlined = np.where((inside & (core == 0))[:, :, None], np.array(OUTLINE, np.uint8), large)
    alone = np.where(inside[:, :, None], large, fill)
    return [np.asarray(one, np.uint8) for one in (large, outlined, alone)]


def _side_of(size_px: int) -> int:
    """A multiple of the images' side that is large enough to be seen, as far as there is room."""
    return min(MOST_PX, size_px * -(-LEAST_PX // size_px))


def chosen_rows(store: Store, sources: set[str], count: int) -> list[int]:
    """Index rows evenly over cases (sources, where these are unknown), and inside each."""
    table = store.index.select(["source", "case", "shard"])
    cases = pc.coalesce(table.column("case"), table.column("source")).to_pylist()
    groups: dict[str, list[int]] = {}
    named = zip(table.column("source").to_pylist(), table.column("shard").to_pylist(), strict=True)
    for row, (source, shard) in enumerate(named):
        if shard is not None and source in sources:
            groups.setdefault(cases[row], []).append(row)
    found = list(groups.values())
    if len(found) > count:
        found = [found[at] for at in _even(len(found), count)]
    shares = np.diff(np.linspace(0, count, len(found) + 1).round().astype(int))
    rows: list[int] = []
    for place, (group, share) in enumerate(zip(found, shares, strict=True)):
        if share == 1:  # not always the first or the middle one
            rows.append(group[int(len(group) * (place + 0.5) / len(found))])
        else:
            rows += [group[at] for at in _even(len(group), min(int(share), len(group)))]
    return rows


def _even(among: int, count: int) -> Sequence[int]:
    return [int((at + 0.5) * among / count) for at in range(count)]
