"""Frames out of a video: one sequential pass, or seeking where every frame's time is verified.

A pass decodes all that the wanted frames need. In H.264 each frame says whether others need it; in
HEVC it says so of its own sub-layer only, and there all are decoded.

Both give upright RGB pictures of the same pixels; frame numbers are places in the listing, which is
the order in which a sequential pass puts frames out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from histoscope.domains.surgery.readers.listing import Listing
from histoscope.domains.surgery.readers.opening import Film, open_film

Picture = NDArray[np.uint8]
Answer = tuple[int, Picture | str]  # frame number, and RGB or why it cannot be had
MISSING = "the decoder gives no picture for it"
CUT = "the file ends before it"
TELLS = frozenset({"h264"})  # codecs whose frames say whether another needs them
DAMAGED = "its picture is damaged"
LATE = 16  # frames that a decoder may give before an earlier one: H.264 holds back so many at most


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
    """Decode from the start what the wanted frames need, and convert only these.

    From the first damage on that the decoder tells of, what is left is read by another pass, which
    decodes every frame from a few key frames earlier. Where the last packets are damaged a decoder
    of several frames at once drops what it holds back: these frames are asked of one that decodes
    frame by frame.

    Args:
        path: the video.
        listing: of the video.
        wanted: frame numbers, increasing.

    Yields:
        One answer for each wanted number, in order.
    """
    whole = 0
    tells = listing.codec in TELLS and not listing.only_in_order and not listing.decoded
    if tells:
        times = frozenset(listing.pts[np.asarray(wanted, np.int64)].tolist())
        with open_film(path) as film, suppress(FFmpegError):
            for answer in _wanted_of(film.needed(times), listing, wanted):
                if isinstance(answer[1], str):
                    break
                whole += 1
                yield answer
    if whole < len(wanted):
        since = before(listing, wanted[whole]) if tells else None
        with open_film(path) as film:
            frames = film.frames(listing.restarts, since)
            for answer in _wanted_of(frames, listing, wanted[whole:]):
                if answer[1] is CUT:
                    break
                whole += 1
                yield answer
    if whole < len(wanted):
        with open_film(path) as film:
            film.stream.thread_type = "SLICE"
            frames = film.frames(listing.restarts, before(listing, wanted[whole]))
            yield from _wanted_of(frames, listing, wanted[whole:])


def before(listing: Listing, number: int) -> int | None:
    """Time of the third key frame before a frame; None: there are fewer, or times tell no place.

    The first may begin an open group, whose frames need the one before.
    """
    if listing.only_in_order or listing.decoded:
        return None
    place = int(np.searchsorted(listing.keys, number, side="right")) - 3
    return int(listing.pts[listing.keys[place]]) if place >= 0 else None


def _wanted_of(frames: Iterator[Any], listing: Listing, wanted: Sequence[int]) -> Iterator[Answer]:
    """The wanted ones of decoded frames, each as soon as those before it are answered.

    Behind a damage a decoder may give a later frame before an earlier one. One that is late is
    waited for, until the last few frames are all of later times; wanted ones are held meanwhile.
    """
    left, asked, converter = deque(wanted), frozenset(wanted), VideoReformatter()
    held, recent, furthest = dict[int, Picture | str](), deque[int](maxlen=LATE), -1
    if not left:
        return
    for number, frame in _numbered(frames, listing):
        if number in asked and number >= left[0] and number not in held:
            held[number] = _answer(frame, listing, converter)
        recent.append(number)
        furthest = max(furthest, number)
        while left and (left[0] in held or (len(recent) == LATE and left[0] < min(recent))):
            yield left[0], held.pop(left[0], MISSING)
            left.popleft()
        if not left:
            return
    for number in left:
        yield number, held.get(number, MISSING if number < furthest else CUT)


def _numbered(frames: Iterator[Any], listing: Listing) -> Iterator[tuple[int, Any]]:
    """Decoded frames that are listed, and their numbers; of some that share a time, in turn."""
    number, time = -1, None
    for frame in frames:
        if frame.pts is None:
            continue
        found = number + 1 if frame.pts == time else int(np.searchsorted(listing.pts, frame.pts))
        if found < len(listing.pts) and listing.pts[found] == frame.pts:
            number, time = found, frame.pts
            yield number, frame


def _answer(frame: Any, listing: Listing, converter: VideoReformatter) -> Picture | str:
    """A frame's picture, or why it cannot be used."""
    if frame.is_corrupt:
        return DAMAGED
    if (frame.width, frame.height) != (listing.width, listing.height):
        return other_size((frame.width, frame.height), (listing.width, listing.height))
    return upright(frame, converter)


def other_size(found: tuple[int, int], first: tuple[int, int]) -> str:
    """Why a picture is left out whose width and height, px, are not those of the first."""
    return "its size is {} x {} px, that of the first {} x {}".format(*found, *first)


def read_by_seeking(path: Path, listing: Listing, wanted: Sequence[int]) -> Iterator[Answer]:
    """Seek to each wanted frame's own time and accept only a frame with exactly that time.

    Where the first frame after a seek is later, or the wanted time is passed over, seek 1, 2, 4,
    ... seconds earlier; at last open the file anew and decode from the start, for some containers
    seek by bytes and miss. Arguments and answers as in :func:`read_in_one_pass`.
    """
    with open_film(path) as film:
        for number in wanted:
            found = _sought(film, listing, number)
            yield number, _from_start(path, listing, number) if found is None else found


def _sought(film: Film, listing: Listing, number: int) -> Picture | str | None:
    second = max(1, round(listing.time_base.denominator / listing.time_base.numerator))
    start, back = int(listing.pts[number]), 1
    while start > int(listing.pts[0]) - second:
        film.container.seek(start, stream=film.stream, backward=True)
        found = _until(film, listing, number)
        if found is not None:
            return found
        start, back = start - back * second, back * 2
    return None


def _from_start(path: Path, listing: Listing, number: int) -> Picture | str:
    ((_, answer),) = read_in_one_pass(path, listing, [number])
    return answer


def _until(film: Film, listing: Listing, number: int) -> Picture | str | None:
    """The frame of that number; None when a later one comes first."""
    pts = listing.pts[number]
    for frame in film.frames():
        if frame.pts == pts:
            return _answer(frame, listing, VideoReformatter())
        if frame.pts is not None and frame.pts > pts:
            return None
    return None
