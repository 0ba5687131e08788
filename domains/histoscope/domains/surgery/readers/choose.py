"""Open the frames of an operation, whatever they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.discovery import CLOSED, FRAMES
from histoscope.domains.surgery.options import FrameSampling, ReadOptions
from histoscope.domains.surgery.readers.frame_folder import FrameFolder
from histoscope.domains.surgery.readers.movie import JoinedParts, Movie, VideoFile, check_parts


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
        UnreadableSource: with the true reason.
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
            reader = options.video_reader
            movies.append(VideoFile(path.with_name(name), reader, 1 / sampling.fps))
        except UnreadableSource as fault:
            where = f"{name}: " * (len(parts) > 1)
            raise UnreadableSource(f"{where}{fault.reason}") from None
    if len(movies) == 1:
        return movies[0]
    check_parts(movies)
    return JoinedParts(movies)
