"""One operation as a row of frames: a video, parts of a recording joined, or a folder of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from histoscope.core.contracts import Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.discovery import CLOSED, FRAMES
from histoscope.domains.surgery.options import FrameSampling, ReadOptions, VideoReader
from histoscope.domains.surgery.readers.decoding import Answer, read_by_seeking, read_in_one_pass
from histoscope.domains.surgery.readers.decord_path import read_by_decord
from histoscope.domains.surgery.readers.frame_folder import FrameFolder
from histoscope.domains.surgery.readers.listing import Listing, list_frames
from histoscope.domains.surgery.readers.whole import said_bytes
from histoscope.domains.surgery.timeline import interval_s

NEARLY = 1.01  # a second of 25 frames is a second in spite of rounding
READ = {"sequential": read_in_one_pass, "seek": read_by_seeking, "decord": read_by_decord}


class Movie(Protocol):
    """Frames of one operation.

    Attributes:
        times_s: presentation time of every frame, from 0, increasing, (frames,).
        numbers: the frame number that label files use, (frames,).
        pts: time stamps as the file has them, (frames,); those of a folder are its numbers.
        parts: which part of the recording each frame lies in, (frames,).
        frame_s: time from frame to frame of the recording, s; 0 when there is one frame.
        facts: whitelisted facts; no name, no date.
        note: what the user should know, empty when nothing.
    """

    times_s: NDArray[np.float64]
    numbers: NDArray[np.int64]
    pts: NDArray[np.int64]
    parts: NDArray[np.int64]
    frame_s: float
    facts: Mapping[str, Scalar]
    note: str

    def read(self, places: Sequence[int]) -> Iterator[Answer]:
        """Upright RGB pictures, or why not, at places (increasing) in the rows above, in order."""

    def glance(self, places: Sequence[int]) -> Iterator[Answer]:
        """The same for a few places far apart."""


class VideoFile:
    """One video.

    Args:
        path: the file.
        how: ``auto`` or a way of :data:`READ`.
        stride_s: seconds from one wanted frame to the next, which decides whether seeking pays.

    Raises:
        UnreadableSource: not a video, no frame, broken times; or decord was asked for and is wrong.
    """

    def __init__(self, path: Path, how: VideoReader, stride_s: float) -> None:
        self._path = path
        self._listing = list_frames(path)
        self.times_s = self._listing.times_s
        count = len(self.times_s)
        self.numbers = np.arange(count, dtype=np.int64)
        self.pts = self._listing.pts
        self.parts = np.zeros(count, np.int64)
        self._way = choose_way(self._listing, how, stride_s)
        self.frame_s = interval_s(self.times_s)
        rate = 1 / self.frame_s if self.frame_s else 0.0
        self.facts: Mapping[str, Scalar] = {
            "reader": f"pyav-{self._way}" if self._way != "decord" else "decord",
            "vendor": f"{self._listing.container} {self._listing.codec}",
            "width_px": self._listing.width,
            "height_px": self._listing.height,
            "frames": count,
            "hidden_frames": self._listing.hidden,
            "rate_hz": round(rate, 3),
            "constant_rate": self._listing.constant_rate,
            "key_frame_every": self._listing.key_every,
            "duration_s": round(float(self.times_s[-1]) + self.frame_s, 3),
            "parts": 1,
        }
        if self._listing.tracks > 1:
            self.facts = {**self.facts, "track": self._listing.track}
        self.note = "; ".join([*_cut_off(path), *_notes(self._listing)])

    def read(self, places: Sequence[int]) -> Iterator[Answer]:
        """See :class:`Movie`."""
        return READ[self._way](self._path, self._listing, places)

    def glance(self, places: Sequence[int]) -> Iterator[Answer]:
        """See :class:`Movie`."""
        glance = read_in_one_pass if self._listing.only_in_order else read_by_seeking
        return glance(self._path, self._listing, places)


def _cut_off(path: Path) -> Iterator[str]:
    """What the user should know of a file whose end is missing."""
    said, there = said_bytes(path), path.stat().st_size
    if there < said:
        yield (
            f"the file is cut off: {there} of at least {said} bytes are there, what is behind is "
            "not read"
        )


def _notes(listing: Listing) -> Iterator[str]:
    """What the user should know of a video."""
    if listing.tracks > 1:
        yield f"of its {listing.tracks} tracks of pictures number {listing.track} is read"
    if listing.shared:
        yield f"frames that have the time of the one before: {listing.shared}"
    if listing.restarts:
        yield f"its clock starts anew {listing.how_often}; read on in the file's order"


def choose_way(listing: Listing, how: VideoReader, stride_s: float) -> str:
    """Decide how a file is read.

    ``auto``: seeking where key frames are no further apart than the wanted frames, else one pass;
    decord only where it is asked for.

    Raises:
        UnreadableSource: a way is asked for by which some frames cannot be told apart.
    """
    if how in ("seek", "decord") and listing.only_in_order:
        raise UnreadableSource(f"{listing.only_in_order}; read it with --video-reader sequential")
    if how == "decord" and listing.tracks > 1:
        raise UnreadableSource(
            f"decord may take another of its {listing.tracks} tracks; read it with "
            "--video-reader sequential"
        )
    if how != "auto":
        return how
    if listing.only_in_order:
        return "sequential"
    apart_s = listing.key_every * interval_s(listing.times_s)
    if len(listing.pts) > listing.key_every and apart_s <= stride_s * NEARLY:
        return "seek"
    return "sequential"


@dataclass
class JoinedParts:
    """Parts of one recording, in order; each begins where the decoded length of those before ends.

    Args:
        movies: the parts.
    """

    movies: Sequence[VideoFile]

    def __post_init__(self) -> None:
        self._starts = np.cumsum([0, *(len(movie.times_s) for movie in self.movies)])
        offset, times = 0.0, []
        for movie in self.movies:
            times.append(movie.times_s + offset)
            offset += float(movie.times_s[-1]) + movie.frame_s
        self.times_s = np.concatenate(times)
        self.numbers = np.arange(len(self.times_s), dtype=np.int64)
        self.pts = np.concatenate([movie.pts for movie in self.movies])
        counts = [len(movie.times_s) for movie in self.movies]
        self.parts = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
        self.frame_s = interval_s(self.times_s)
        first = self.movies[0].facts
        ways = sorted({str(movie.facts["reader"]) for movie in self.movies})
        self.facts: Mapping[str, Scalar] = {
            **first,
            "reader": ", ".join(ways),
            "frames": len(self.times_s),
            "hidden_frames": sum(int(movie.facts["hidden_frames"] or 0) for movie in self.movies),
            "duration_s": round(offset, 3),
            "parts": len(self.movies),
        }
        notes = ((number, movie.note) for number, movie in enumerate(self.movies, 1))
        self.note = "; ".join(f"part {number}: {note}" for number, note in notes if note)

    def read(self, places: Sequence[int]) -> Iterator[Answer]:
        """See :class:`Movie`."""
        return self._each(places, VideoFile.read)

    def glance(self, places: Sequence[int]) -> Iterator[Answer]:
        """See :class:`Movie`."""
        return self._each(places, VideoFile.glance)

    def _each(
        self, places: Sequence[int], act: Callable[[VideoFile, Sequence[int]], Iterator[Answer]]
    ) -> Iterator[Answer]:
        asked = np.asarray(places, np.int64)
        for number, movie in enumerate(self.movies):
            start, end = self._starts[number], self._starts[number + 1]
            inside = asked[(asked >= start) & (asked < end)]
            if len(inside):
                for place, answer in act(movie, (inside - start).tolist()):
                    yield place + int(start), answer


def open_movie(
    kind: str, path: Path, parts: Sequence[str], sampling: FrameSampling, options: ReadOptions
) -> Movie:
    """Open a video, parts of one, or a folder of frames.

    Args:
        kind: of the source.
        path: the file, the first part, or the folder.
        parts: names of all parts, which lie beside the first.
        sampling: how many frames a second are wanted.
        options: how it is read.

    Raises:
        UnreadableSource: with the true reason; parts whose sizes differ are not of one recording.
    """
    if kind == CLOSED and not path.is_dir():
        raise UnreadableSource("neither a file nor a folder")
    if kind == CLOSED:
        raise UnreadableSource("what lies in this folder cannot be listed; is it yours to read?")
    if kind == FRAMES:
        return FrameFolder(path, options)
    movies = []
    for name in parts:
        try:
            movies.append(VideoFile(path.with_name(name), options.video_reader, 1 / sampling.fps))
        except UnreadableSource as fault:
            where = f"{name}: " * (len(parts) > 1)
            raise UnreadableSource(f"{where}{fault.reason}") from None
    if len(movies) == 1:
        return movies[0]
    sizes = {(movie.facts["width_px"], movie.facts["height_px"]) for movie in movies}
    if len(sizes) > 1:
        told = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise UnreadableSource(f"parts of different sizes ({told} px): not one recording?")
    return JoinedParts(movies)
