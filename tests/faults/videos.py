"""Which ways of reading which videos are right, frame by frame.

Clips carry their frame numbers in the picture. Each cell is right/asked: at random places, or at
every 25th frame.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.readers.decoding import read_by_seeking, read_in_one_pass
from histoscope.domains.surgery.readers.decord_path import read_by_decord
from histoscope.domains.surgery.readers.listing import Listing, list_frames
from tests.domains.surgery.clips import CLIPS, number_in, write_clip

ASKED = 40
STRIDE = 25
Ask = Callable[[Path, Listing, list[int]], Iterable[tuple[int, Any]]]


def by_rate(path: Path, listing: Listing, wanted: list[int]) -> Iterable[tuple[int, Any]]:
    """Seek to place / rate and take the first frame from there on, as scripts do."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        for place in wanted:
            time = place / rate
            container.seek(int(time / stream.time_base), stream=stream)
            found = None
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= time - 0.5 / rate:
                    found = frame.to_ndarray(format="rgb24")
                    break
            yield place, found


def by_position(path: Path, listing: Listing, wanted: list[int]) -> Iterable[tuple[int, Any]]:
    """OpenCV's CAP_PROP_POS_FRAMES."""
    video = cv2.VideoCapture(str(path))
    for place in wanted:
        video.set(cv2.CAP_PROP_POS_FRAMES, place)
        ok, picture = video.read()
        yield place, picture[..., ::-1] if ok else None


def by_decord(path: Path, listing: Listing, wanted: list[int]) -> Iterable[tuple[int, Any]]:
    """decord without our check of its frame count."""
    import decord

    video = decord.VideoReader(str(path), num_threads=1)
    inside = [place for place in wanted if place < len(video)]
    for place in inside:
        yield place, video.get_batch([place]).asnumpy()[0]


def score(ask: Ask, path: Path, listing: Listing, wanted: list[int], shown: list[int]) -> str:
    """``right/asked``, or why nothing came."""
    right = 0
    try:
        for place, picture in ask(path, listing, wanted):
            good = isinstance(picture, np.ndarray) and number_in(picture) == shown[place]
            right += good
    except UnreadableSource:
        return "refused"
    except Exception as fault:  # the point of the table: libraries fail in many ways
        return type(fault).__name__
    return f"{right}/{len(wanted)}"


WAYS: dict[str, tuple[Ask, bool]] = {
    "one pass": (read_in_one_pass, False),
    "seek, verified": (read_by_seeking, False),
    "seek place/rate": (by_rate, False),
    "cv2 POS_FRAMES": (by_position, False),
    "decord": (by_decord, False),
    "decord, stride 25": (by_decord, True),
    "decord, ours": (read_by_decord, False),
}


def row_of(name: str, folder: Path) -> list[str]:
    """One clip's row."""
    path, shown = write_clip(folder, name)
    listing = list_frames(path)
    count = len(listing.pts)
    drawn = np.random.default_rng(0).permutation(count)[:ASKED].tolist()
    cells = [name]
    for ask, regular in WAYS.values():
        ordered = ask is read_in_one_pass
        wanted = list(range(0, count, STRIDE)) if regular else sorted(drawn) if ordered else drawn
        cells.append(score(ask, path, listing, wanted, shown))
    return cells


def main(words: list[str] | None = None) -> int:
    """Print the table; exit code 1 when our own ways are wrong."""
    rows = [["clip", *WAYS]]
    with tempfile.TemporaryDirectory() as scratch:
        rows += [row_of(name, Path(scratch)) for name in CLIPS]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())  # noqa: T201
    ours = [cell for row in rows[1:] for cell in (row[1], row[2])]
    return 1 if any(cell != f"{ASKED}/{ASKED}" for cell in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
