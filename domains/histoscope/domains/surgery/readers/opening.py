"""The film in a container: which of its tracks, its packets and its decoded frames in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Self

import av
from av.stream import Disposition

from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.readers.clock import Restart
from histoscope.domains.surgery.readers.dicom_film import dicom_film, is_dicom

# av's errors need not be of Python's kinds that their names speak of: its EOFError is no OSError
FAULTS = (av.error.FFmpegError, OSError, ValueError)
STILL = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
COUNTED = frozenset({"h264", "hevc"})  # codecs whose frames AVI numbers in the order of the file
STILL_CODECS = frozenset({"mjpeg", "png", "bmp", "gif", "tiff", "webp"})


@dataclass
class Film:
    """An open container, and the one track of it that is read.

    Attributes:
        container, stream: as PyAV has them.
        tracks: how many tracks of pictures there are, covers and stills included.
    """

    container: Any
    stream: Any
    tracks: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.container.close()

    def packets(self, restarts: Sequence[Restart] = ()) -> Iterator[Any]:
        """Packets in the order of the file, to where it is cut; the last one may be empty.

        Args:
            restarts: from these on, times are moved.
        """
        moves = {one.place: one.moved for one in restarts}
        moved, packets = 0, self.container.demux(self.stream)
        context, container = self.stream.codec_context, self.container.format.name
        counted = container == "avi" and context.name in COUNTED and context.has_b_frames
        for place in count():
            try:
                packet = next(packets)
            except (StopIteration, *FAULTS):
                return
            moved = moves.get(place, moved)
            if counted:  # what is said to be the time of showing is the place in the file
                packet.pts = None
            if moved:
                packet.pts = None if packet.pts is None else packet.pts + moved
                packet.dts = None if packet.dts is None else packet.dts + moved
            yield packet

    def frames(self, restarts: Sequence[Restart] = (), since: int | None = None) -> Iterator[Any]:
        """Frames in presentation order; a packet that cannot be decoded is stepped over.

        Args:
            restarts: as in :meth:`packets`.
            since: time of a key frame, ticks; of what the file has before it only key frames are
                decoded. None: all is.
        """
        context = self.stream.codec_context
        for packet in self.packets(restarts):
            if since is not None:
                reached = packet.is_keyframe and packet.pts is not None and packet.pts >= since
                context.skip_frame = "DEFAULT" if reached else "NONKEY"
                since = None if reached else since
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                continue

    def needed(self, times: Collection[int]) -> Iterator[Any]:
        """Frames of these times, ticks, and all that others need; no other is decoded.

        Raises:
            av.error.FFmpegError: at the first damage that the decoder tells of; of a frame that
                is not wanted and not there at all it does not tell.
        """
        context = self.stream.codec_context
        context.options = {"err_detect": "explode"}
        for packet in self.packets():
            context.skip_frame = "DEFAULT" if packet.pts in times else "NONREF"
            yield from packet.decode()


def open_film(path: Path) -> Film:
    """Open a container and choose its film.

    Raises:
        UnreadableSource: not a video, cut, or without a film.
    """
    try:
        if not path.stat().st_size:
            raise UnreadableSource("the file is empty")
        container = _opened(path)
    except FAULTS as fault:
        raise UnreadableSource(_why(fault)) from None
    try:
        stream = choose_track(path, container.streams.video)
    except UnreadableSource:
        container.close()
        raise
    stream.thread_type = "AUTO"
    return Film(container, stream, len(container.streams.video))


def _opened(path: Path) -> Any:
    return av.open(dicom_film(path) if is_dicom(path) else str(path))


def choose_track(path: Path, streams: Sequence[Any]) -> Any:
    """The default film, else the largest, else the first; covers and stills are no films.

    Raises:
        UnreadableSource: no film among them.
    """
    if not streams:
        raise UnreadableSource("no video stream in it")
    films = [one for one in streams if not one.disposition & STILL]
    if not films:
        raise UnreadableSource("no film in it, only a still picture")
    if len(films) > 1:
        films = [one for one in films if not _is_picture(path, one)] or films
    known = [one for one in films if one.codec_context is not None]
    if not known:
        raise UnreadableSource("its codec is not known; convert it to H.264 in MP4")
    return max(known, key=_rank)


def _rank(stream: Any) -> tuple[bool, int, int]:
    chosen = bool(stream.disposition & Disposition.default)
    return chosen, stream.codec_context.width * stream.codec_context.height, -stream.index


def _is_picture(path: Path, stream: Any) -> bool:
    """Whether a track holds one picture that nothing marks as a still."""
    codec = "" if stream.codec_context is None else stream.codec_context.name
    if stream.frames or codec not in STILL_CODECS:
        return bool(stream.frames == 1)
    with _opened(path) as container:
        packets = container.demux(container.streams[stream.index])
        return len(list(islice((one for one in packets if one.size), 2))) < 2


def _why(fault: BaseException) -> str:
    if isinstance(fault, FileNotFoundError):
        return "no such file"
    if isinstance(fault, av.error.InvalidDataError | av.error.EOFError):
        return "not a video, or cut short (no header was found); copy it again"
    return f"cannot be opened ({getattr(fault, 'strerror', None) or type(fault).__name__})"
