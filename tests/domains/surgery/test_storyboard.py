"""The storyboard: which stills, of which frames, and that a bad one costs nothing else."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histoscope.core.contracts import CorruptSample
from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.operation_reader import OperationReader
from histoscope.domains.surgery.options import FrameSampling
from histoscope.domains.surgery.segments import Segment
from histoscope.domains.surgery.storyboard import (
    COLUMNS,
    GAP_PX,
    MISSING,
    MOST,
    STRIP_PX,
    WIDTH_PX,
    WORDS_PX,
    draw_storyboard,
    longest,
    shortened,
)

HEIGHT_PX = WIDTH_PX // 2


class Film:
    """Frame n is grey of level 2n, 4 times as large as a still; some cannot be had."""

    frame_s, note, facts = 1.0, "", {}

    def __init__(self, bad: Sequence[int] = (), fatal: Sequence[int] = ()) -> None:
        self.numbers = self.pts = np.arange(100)
        self.times_s, self.parts = np.arange(100.0), np.zeros(100, np.int64)
        self._bad, self._fatal, self._held, self.most = bad, fatal, 0, 0

    def glance(self, places: Sequence[int]) -> Iterator[tuple[int, Any]]:
        for place in places:
            if place in self._fatal:
                raise UnreadableSource("gone")
            if place in self._bad:
                yield place, "its picture is damaged"
                continue
            picture = np.full((4 * HEIGHT_PX, 4 * WIDTH_PX, 3), 2 * place, np.uint8)
            self._held += 1
            self.most = max(self.most, self._held)
            weakref.finalize(picture, self._let_go)
            yield place, picture

    def _let_go(self) -> None:
        self._held -= 1


def reader_of(film: Film) -> OperationReader:
    return OperationReader("op", film, FrameSampling(size_px=32, fps=1), None)  # type: ignore[arg-type]


def segment(start_s: float, length_s: float = 1.0, colour: str = "#0072b2") -> Segment:
    return Segment(start_s, start_s + length_s, "Preparation", 0.5, int(start_s), colour)


def corner(place: int) -> tuple[int, int]:
    row, column = divmod(place, COLUMNS)
    down = HEIGHT_PX + STRIP_PX + WORDS_PX + GAP_PX
    return GAP_PX + column * (WIDTH_PX + GAP_PX), GAP_PX + row * down


def drawn(film: Film, starts: Sequence[float], out: Path) -> tuple[Image.Image, int]:
    path = out / "storyboard.jpg"
    missing = draw_storyboard(reader_of(film), range(100), [segment(one) for one in starts], path)
    with Image.open(path) as picture:
        return picture.convert("RGB"), missing


def test_each_segment_shows_its_first_frame_above_its_colour(tmp_path: Path):
    starts = [0, 10, 20, 40, 60, 90]
    picture, missing = drawn(Film(), starts, tmp_path)
    assert missing == 0
    for place, start in enumerate(starts):
        left, top = corner(place)
        seen = picture.getpixel((left + WIDTH_PX // 2, top + HEIGHT_PX // 2))
        assert seen == pytest.approx([2 * start] * 3, abs=2)
        strip = picture.getpixel((left + WIDTH_PX // 2, top + HEIGHT_PX + STRIP_PX // 2))
        assert strip == pytest.approx((0x00, 0x72, 0xB2), abs=12)
        words = picture.crop((left, top + HEIGHT_PX + STRIP_PX + 2, left + WIDTH_PX, top + 160))
        assert np.asarray(words).min() < 80


@pytest.mark.parametrize("how", ["bad", "fatal"])
def test_a_still_that_cannot_be_read_is_grey_and_the_others_are_there(how: str, tmp_path: Path):
    picture, missing = drawn(Film(**{how: [10, 20]}), [0, 10, 20, 40], tmp_path)
    assert missing == 2
    wanted = {1: MISSING, 2: MISSING, 3: "#505050"}
    for place, colour in wanted.items():
        left, top = corner(place)
        level = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert picture.getpixel((left + WIDTH_PX // 2, top + HEIGHT_PX - 4)) == pytest.approx(
            level, abs=4
        )


def test_nothing_at_all_can_be_read(tmp_path: Path):
    assert drawn(Film(fatal=range(100)), [0, 10], tmp_path)[1] == 2


def test_one_frame_at_a_time_is_held_at_full_size():
    film = Film()
    stills = list(reader_of(film).stills(range(0, 100, 5), 64))
    assert 1 <= film.most <= 2  # the one that is made small, and the one that its variable held
    assert {one.shape for one in stills if not isinstance(one, CorruptSample)} == {(32, 64, 3)}


def test_of_many_segments_the_longest_are_shown_in_order():
    lengths = [1.0 + (place % 7) for place in range(3 * MOST)]
    starts = np.cumsum([0.0, *lengths[:-1]])
    every = [segment(start, length) for start, length in zip(starts, lengths, strict=True)]
    shown = longest(every)
    assert len(shown) == MOST
    assert [one.start_s for one in shown] == sorted(one.start_s for one in shown)
    left = [one for one in every if one not in shown]
    least = min(one.end_s - one.start_s for one in shown)
    assert least >= max(one.end_s - one.start_s for one in left)


def test_long_names_end_with_an_ellipsis():
    assert shortened("Preparation", WIDTH_PX) == "Preparation"
    assert shortened("Preparation" * 9, WIDTH_PX).endswith("\u2026")
