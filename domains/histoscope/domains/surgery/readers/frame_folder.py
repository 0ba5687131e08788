"""A folder of extracted frames: which moment each file stands for is asked, never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from histoscope.core.contracts import Scalar
from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.options import ReadOptions
from histoscope.domains.surgery.readers.decoding import Answer, other_size

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
_COPY = re.compile(r"\s*\(\d+\)$")  # "001171 (1)": a browser's second download
_NUMBER = re.compile(r"\d+")
HOW = (
    "extracted frames do not say their moment: give --frame-base (the first name's number, 0 or 1) "
    "and --frame-step (frames of the video from one to the next)"
)


def numbered_pictures(folder: Path) -> list[tuple[int, Path]]:
    """Pictures in a folder with the number of their moment, by that number.

    It is the last number of their names that differs from name to name: not the rate in
    ``000001_1fps.png``. A picture without a number is none; where no number differs, the last.
    """
    found = [
        (path, numbers)
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and (numbers := [int(word) for word in _NUMBER.findall(_original(path))])
    ]
    place = _telling({(_original(path), *numbers): numbers for path, numbers in found}.values())
    return sorted((numbers[place], path) for path, numbers in found if len(numbers) >= -place)


def _original(path: Path) -> str:
    return _COPY.sub("", path.stem)


def _telling(names: Iterable[list[int]]) -> int:
    """Which number of the names, counted from their end (-1), differs from name to name."""
    all_numbers = list(names)
    fewest = min(map(len, all_numbers), default=1)
    for place in range(-1, -fewest - 1, -1):
        if len({numbers[place] for numbers in all_numbers}) == len(all_numbers):
            return place
    return -1


def frames_in(folder: Path) -> list[Path]:
    """Pictures in a folder whose names hold a number, by that number."""
    return [path for _, path in numbered_pictures(folder)]


def _one_a_number(found: Sequence[tuple[int, Path]]) -> dict[int, Path]:
    """The picture of each number; "001171 (1)" is a copy of "001171".

    Raises:
        UnreadableSource: no picture, or two of one number.
    """
    chosen: dict[int, Path] = {}
    for number, path in found:
        other = chosen.setdefault(number, path)
        if (_original(other), other.suffix) != (_original(path), path.suffix):
            raise UnreadableSource(
                f"{other.name} and {path.name} are both of number {number}; keep one of them, or "
                "name all by one number that counts the frames"
            )
    if not chosen:
        raise UnreadableSource("no picture with a number in its name")
    return chosen


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
        chosen = _one_a_number(numbered_pictures(folder))
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
