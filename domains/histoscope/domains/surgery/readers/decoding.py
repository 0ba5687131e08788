"""Frames out of a video: one sequential pass, or seeking where every frame's time is verified.

Both give upright RGB pictures of the same pixels; frame numbers are places in the listing, which is
the order in which a sequential pass puts frames out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from histoscope.domains.surgery.readers.listing import Listing, open_video

Picture = NDArray[np.uint8]
Answer = tuple[int, Picture | str]  # frame number, and RGB or why it cannot be had
MISSING = "the decoder gives no picture for it"
CUT = "the file ends before it"
DAMAGED = "its picture is damaged"


def upright(frame: Any, converter: VideoReformatter) -> Picture:
    """RGB pixels of a decoded frame, turned as its rotation metadata says.

    Args:
        frame: as decoded.
        converter: kept over frames: a frame's own ``to_ndarray`` makes a new one each time.
    """
    picture = np.asarray(converter.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
    turns = round((frame.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def read_in_one_pass(path: Path, listing: Listing, wanted: Sequence[int]) -> Iterator[Answer]:
    """Decode from the start, converting only the wanted frames.

    Args:
        path: the video.
        listing: of the video.
        wanted: frame numbers, increasing.

    Yields:
        One answer for each wanted number, in order.
    """
    number, count, converter = -1, len(listing.pts), VideoReformatter()
    left = iter(wanted)
    next_wanted = next(left, None)
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in _decoded(container, stream):
            if next_wanted is None:
                return
            if frame.pts is None:
                continue
            # of frames that share a time, the next one
            found = max(number + 1, int(np.searchsorted(listing.pts, frame.pts)))
            if found >= count or listing.pts[found] != frame.pts:
                continue
            number = found
            while next_wanted is not None and next_wanted < number:
                yield next_wanted, MISSING
                next_wanted = next(left, None)
            if number == next_wanted:
                yield number, DAMAGED if frame.is_corrupt else upright(frame, converter)
                next_wanted = next(left, None)
    while next_wanted is not None:
        yield next_wanted, CUT
        next_wanted = next(left, None)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames in presentation order; a packet that cannot be decoded is stepped over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def read_by_seeking(path: Path, listing: Listing, wanted: Sequence[int]) -> Iterator[Answer]:
    """Seek to each wanted frame's own time and accept only a frame with exactly that time.

    Where the first frame after a seek is later, or the wanted time is passed over, seek 1, 2, 4,
    ... seconds earlier; at last open the file anew and decode from the start, for some containers
    seek by bytes and miss. Arguments and answers as in :func:`read_in_one_pass`.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number in wanted:
            pts = int(listing.pts[number])
            found = _sought(container, stream, listing, pts)
            yield number, _from_start(path, pts) if found is None else found


def _sought(container: Any, stream: Any, listing: Listing, pts: int) -> Picture | str | None:
    second = max(1, round(listing.time_base.denominator / listing.time_base.numerator))
    start, back = pts, 1
    while start > int(listing.pts[0]) - second:
        container.seek(start, stream=stream, backward=True)
        found = _until(container, stream, pts)
        if found is not None:
            return found
        start, back = start - back * second, back * 2
    return None


def _from_start(path: Path, pts: int) -> Picture | str:
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        found = _until(container, stream, pts)
    return MISSING if found is None else found


def _until(container: Any, stream: Any, pts: int) -> Picture | str | None:
    """The frame of that time; None when a later one comes first."""
    for frame in _decoded(container, stream):
        if frame.pts == pts:
            return DAMAGED if frame.is_corrupt else upright(frame, VideoReformatter())
        if frame.pts is not None and frame.pts > pts:
            return None
    return None
