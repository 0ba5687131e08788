"""A folder of extracted frames: which moment each file stands for is asked, never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from histoscope.core.contracts import Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.options import ReadOptions
from histoscope.domains.surgery.readers.decoding import Answer, other_size

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
_COPY = re.compile(r"\s*\(\d+\)$")  # "001171 (1)": a browser's second download
_NUMBER = re.compile(r"(\d+)(?!.*\d)")
HOW = (
    "extracted frames do not say their moment: give --frame-base (the first name's number, 0 or 1) "
    "and --frame-step (frames of the video from one to the next)"
)


def number_of(path: Path) -> int | None:
    """The last number in a frame's name."""
    found = _NUMBER.search(_COPY.sub("", path.stem))
    return int(found.group(1)) if found else None


def frames_in(folder: Path) -> list[Path]:
    """Pictures in a folder whose names hold a number, by that number."""
    found = [
        (number, path.name, path)
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and (number := number_of(path)) is not None
    ]
    return [path for _, _, path in sorted(found)]


class FrameFolder:
    """Extracted frames of one operation. Implements :class:`~.movie.Movie`.

    Args:
        folder: of the pictures.
        options: ``frame_base``, ``frame_step`` and ``frame_rate``.

    Raises:
        UnreadableSource: base or step is not given, no picture that opens, or names that do not
            fit.
    """

    def __init__(self, folder: Path, options: ReadOptions) -> None:
        if options.frame_base is None or options.frame_step is None:
            raise UnreadableSource(HOW)
        chosen: dict[int, Path] = {}
        for path in frames_in(folder):
            chosen.setdefault(number_of(path) or 0, path)  # "001171 (1)" is a copy of "001171"
        if not chosen:
            raise UnreadableSource("no picture with a number in its name")
        named = np.array(sorted(chosen), np.int64)
        if named[0] < options.frame_base:
            raise UnreadableSource(
                f"a frame is numbered {named[0]}, below --frame-base {options.frame_base}"
            )
        self._paths = [chosen[int(number)] for number in named]
        self.pts = named
        self.numbers = (named - options.frame_base) * options.frame_step
        self.times_s = self.numbers / options.frame_rate
        self.parts = np.zeros(len(named), np.int64)
        self.frame_s = 1 / options.frame_rate
        width, height = self._size_px = _size_px(self._paths)
        step = options.frame_step
        missing = int((named[-1] - named[0]) + 1 - len(named))
        self.facts: Mapping[str, Scalar] = {
            "reader": "pictures",
            "vendor": "extracted frames",
            "width_px": width,
            "height_px": height,
            "frames": len(named),
            "rate_hz": round(options.frame_rate / step, 3),
            "duration_s": round(float(self.times_s[-1]) + step / options.frame_rate, 3),
            "frame_base": options.frame_base,
            "frame_step": step,
            "parts": 1,
        }
        self.note = f"{missing} numbers missing between the first frame and the last" * bool(
            missing
        )

    def read(self, places: Sequence[int]) -> Iterator[Answer]:
        """See :class:`~.movie.Movie`."""
        for place in places:
            try:
                with Image.open(self._paths[place]) as picture:
                    same = picture.size == self._size_px
                    yield (
                        place,
                        np.asarray(picture.convert("RGB"))
                        if same
                        else other_size(picture.size, self._size_px),
                    )
            except (OSError, UnidentifiedImageError, SyntaxError):
                yield place, "its picture is damaged"

    def glance(self, places: Sequence[int]) -> Iterator[Answer]:
        """See :class:`~.movie.Movie`."""
        return self.read(places)


def _size_px(paths: Sequence[Path]) -> tuple[int, int]:
    """Width and height of the first picture that opens."""
    for path in paths:
        try:
            with Image.open(path) as picture:
                return picture.size
        except (OSError, SyntaxError):
            continue
    raise UnreadableSource("none of its pictures can be opened")
