"""The scope's circle, painted with known centre and radius, or not there at all."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from histoscope.core.config import build
from histoscope.core.errors import ConfigError
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from histoscope.domains.surgery.picture import Field, to_square
from histoscope.domains.surgery.scope import Circle, find_circle, kept_of

WIDE = (720, 1280)
CIRCLES = {
    "whole": (WIDE, 640.0, 360.0, 320.0),
    "cut at top and bottom": (WIDE, 627.3, 399.2, 567.9),
    "at the left": (WIDE, 380.5, 352.8, 330.2),
    "small picture": ((144, 256), 129.4, 70.1, 68.3),
    "cut at all sides": ((480, 640), 321.7, 244.1, 352.6),
}


def painted(size, x, y, radius, *, light=(170, 70, 60), frames=7, seed=0):
    """Frames of moving tissue, brighter in the middle, on a black ground with noise."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[: size[0], : size[1]]
    away = np.hypot(across + 0.5 - x, down + 0.5 - y)
    share = np.clip(radius - away + 0.5, 0, 1)[..., None]  # smooth by one pixel
    out = []
    for _ in range(frames):
        coarse = rng.uniform(0.5, 1.0, (9, 16)).astype(np.float32)
        tissue = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
        dim = 1 - 0.5 * (away / radius)[..., None] ** 2
        picture = share * np.asarray(light) * tissue * np.clip(dim, 0, 1)
        noise = np.abs(rng.normal(0, 1, (*size, 1)))
        out.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
    return out


@pytest.mark.parametrize("name", CIRCLES)
def test_centre_and_radius_are_found_to_a_hundredth(name):
    _, x, y, radius = CIRCLES[name]
    found = find_circle(painted(*CIRCLES[name]))
    off = [found.x - x, found.y - y, found.across - radius, found.down - radius]
    assert max(map(abs, off)) <= 0.01 * radius, off


def test_a_dark_operation_is_found_too():
    size, x, y, radius = CIRCLES["cut at top and bottom"]
    frames = painted(size, x, y, radius, light=(38, 12, 10))
    assert np.median(frames[0][360, :, 0]) < 25
    found = find_circle(frames)
    assert max(abs(found.x - x), abs(found.y - y), abs(found.across - radius)) <= 0.01 * radius


def test_instruments_white_frames_and_writing_do_no_harm():
    size, x, y, radius = CIRCLES["cut at top and bottom"]
    frames = painted(size, x, y, radius)
    frames[1][:] = 255
    frames[4][:] = 0
    for frame in frames[:3]:
        cv2.line(frame, (900, 700), (640, 400), (8, 8, 8), 60)
    for frame in frames:
        cv2.putText(frame, "12:34:56", (1110, 700), 0, 1, (255, 255, 255), 2)
        frame[-3:] = 0  # a line of the encoder's
    found = find_circle(frames)
    assert max(abs(found.x - x), abs(found.y - y), abs(found.across - radius)) <= 0.01 * radius


def test_a_circle_that_was_squeezed_to_a_square_is_found():
    frames = painted((480, 854), 430.0, 250.0, 300.0)
    square = [to_square(frame, 256) for frame in frames]
    found = find_circle(square)
    expected = (430 * 256 / 854, 250 * 256 / 480, 300 * 256 / 854, 300 * 256 / 480)
    assert (found.x, found.y, found.across, found.down) == pytest.approx(expected, rel=0.015)


def vignetted():
    """Fills the frame, but its corners are dark."""
    return [frame[60:660, 200:1080] for frame in painted(WIDE, 640.0, 360.0, 900.0)]


NOTHING = {
    "full frame": [frame[200:500, 400:900] for frame in painted(WIDE, 640.0, 360.0, 700.0)],
    "dark corners": vignetted(),
    "black": [np.zeros((90, 160, 3), np.uint8)] * 3,
    "letterbox": [np.pad(f[200:500, 400:900], ((60, 60), (0, 0), (0, 0))) for f in vignetted()],
    "a corner of it alone": [f[:300, :500] for f in painted(WIDE, 640.0, 660.0, 560.0)],
    "no frames": [],
}


@pytest.mark.parametrize("name", NOTHING)
def test_where_there_is_none_nothing_is_cut_and_that_is_said(name):
    frames = NOTHING[name]
    assert find_circle(frames) is None
    for crop in ("circle", "inside"):
        kept = kept_of(frames, crop)
        assert kept.note == "whole pictures are kept, as no circle of the scope was found"
        assert all(np.array_equal(kept.cut(frame), frame) for frame in frames)


def test_outside_is_black_and_inside_as_it_was():
    size, x, y, radius = CIRCLES["at the left"]
    frames = painted(size, x, y, radius)
    for frame in frames:
        frame[:40, :40] = 200  # what is written in a corner of the box
    kept = kept_of(frames, "circle")
    assert kept.note == ""
    before = frames[0].copy()
    cut = kept.cut(frames[0])
    box = kept.field.cut(frames[0])
    assert np.array_equal(before, frames[0])
    assert cut.shape == box.shape
    for down in range(0, cut.shape[0], 7):
        for across in range(0, cut.shape[1], 7):
            here = (across + 0.5 + kept.field.left, down + 0.5 + kept.field.top)
            inside = math.dist(here, (kept.circle.x, kept.circle.y)) <= kept.circle.across
            assert np.array_equal(cut[down, across], box[down, across] if inside else [0, 0, 0])
    assert cut.any()


@pytest.mark.parametrize(
    ("circle", "size"),
    [
        (Circle(50, 50, 40, 40), (100, 100)),
        (Circle(64, 36, 60, 60), (72, 128)),
        (Circle(30, 50, 48, 48), (100, 200)),
        (Circle(50, 50, 30, 45), (100, 100)),
        (Circle(50, 40, 90, 90), (90, 100)),
    ],
)
def test_the_box_inside_is_the_largest_about_the_centre(circle, size):
    box = circle.inscribed(*size)
    inside = circle.inside(*size)
    assert box.cut(inside).mean() > 0.99
    area = (box.right - box.left) * (box.bottom - box.top)
    best = 0
    for across in np.arange(1, min(circle.x, size[1] - circle.x) + 0.01, 0.5):
        share = 1 - (across / circle.across) ** 2
        if share > 0:
            down = min(math.sqrt(share) * circle.down, circle.y, size[0] - circle.y)
            best = max(best, 4 * across * down)
    assert 0.92 * best <= area <= best * 1.001
    assert box.left >= 0
    assert box.top >= 0
    assert box.right <= size[1]
    assert box.bottom <= size[0]


def write_frames(folder: Path, frames) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:06d}.png"), frame[..., ::-1])


@pytest.mark.parametrize("crop", ["none", "field", "circle", "inside"])
def test_a_reader_cuts_every_frame_alike_and_tells_the_circle(tmp_path: Path, crop):
    size, x, y, radius = CIRCLES["small picture"]
    frames = painted(size, x, y, radius)
    write_frames(tmp_path / "op" / "video01", frames)
    sampling = FrameSampling(size_px=48, fps=1, crop=crop)
    options = PrepareOptions(frame_base=0, frame_step=1, frame_rate=1)
    roots = {"input": tmp_path / "op"}
    (source,) = DOMAIN.find(roots, options)
    with DOMAIN.open(source, roots, sampling) as reader:
        plan = reader.plan()
        images = [one.image for one in reader.read(plan.rows)]
        facts = dict(reader.facts)
    kept = kept_of(frames, crop)
    assert len(images) == len(frames)
    for image, frame in zip(images, frames, strict=True):
        assert np.array_equal(image, to_square(kept.cut(frame), 48))
    told = [facts.get(f"circle_{name}_px") for name in ("x", "y", "across", "down")]
    if crop in ("circle", "inside"):
        assert told == pytest.approx([x, y, radius, radius], abs=0.01 * radius)
    else:
        assert not any("circle" in name for name in facts)
    assert (facts["field_left_px"] is None) == (crop == "none")


def test_what_an_image_shows_is_another_with_each_way():
    shown = [FrameSampling(crop=crop).scale() for crop in ("none", "field", "circle", "inside")]
    assert len({tuple(one) for one in shown}) == 4
    with pytest.raises(ConfigError, match="crop"):
        build(FrameSampling, {"crop": "round"}, "sampling")


def test_a_box_is_within_the_picture():
    assert Circle(50.2, 20.7, 40.4, 40.4).box(60, 100) == Field(9, 0, 91, 60)
