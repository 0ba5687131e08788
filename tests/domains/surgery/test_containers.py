"""Files as recorders, cutting programs and archives write them: the film in them, all of it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray
from PIL import Image

from histoscope.core.contracts import CorruptSample, Reader, Sample
from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.label_files import PHASE_FOLDER
from histoscope.domains.surgery.labels import PHASE
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from histoscope.domains.surgery.phases import PHASES
from histoscope.domains.surgery.readers.clock import find_restarts
from tests.domains.surgery.clips import (
    Track,
    cover_in_front,
    encode_some,
    number_in,
    numbered,
    write_clip,
    write_parts,
    write_tracks,
)
from tests.domains.surgery.field_stream import write_fields

EVERY = FrameSampling(size_px=112, fps=25)
HZ = Fraction(1, 90_000)
FAST = {"preset": "ultrafast", "g": "25"}


@pytest.fixture
def open_operation() -> Callable[..., Reader]:
    """Find the only operation at a place and open it."""

    def act(place: Path, sampling: FrameSampling = EVERY, **options: object) -> Reader:
        roots, chosen = {"input": place}, PrepareOptions.model_validate(options)
        (source,) = DOMAIN.find(roots, chosen)
        return DOMAIN.open(source, roots, sampling)

    return act


def read_all(reader: Reader) -> list[Sample | CorruptSample]:
    with reader:
        return list(reader.read(reader.plan().rows))


def barcode(number: int, side: int = 64) -> NDArray[np.uint8]:
    """Bands of 8 rows that say a number in both fields."""
    bits = np.repeat([number >> place & 1 for place in range(8)], side // 8)
    return np.repeat(bits[:, None, None] * 150 + 50, side, 1).repeat(3, 2).astype(np.uint8)


def number_of(picture: NDArray[np.uint8]) -> int:
    middles = (np.arange(8) + 0.5) * len(picture) / 8
    return int(((picture[middles.astype(int)].mean(axis=(1, 2)) > 125) << np.arange(8)).sum())


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
@pytest.mark.parametrize("way", ["auto", "sequential"])
def test_two_fields_are_one_frame(tmp_path: Path, open_operation, suffix: str, way: str):
    write_fields(tmp_path / f"a{suffix}", [barcode(number) for number in range(125)])
    reader = open_operation(tmp_path, video_reader=way)
    assert (reader.facts["frames"], reader.facts["rate_hz"]) == (125, 25.0)
    assert reader.facts["duration_s"] == 5.0
    assert [number_of(one.image) for one in read_all(reader)] == list(range(125))


def test_fields_and_frames_may_take_turns(tmp_path: Path, open_operation):
    frames = [barcode(number) for number in range(50)]
    write_fields(tmp_path / "a.ts", frames, whole=range(20, 50))
    assert [number_of(one.image) for one in read_all(open_operation(tmp_path))] == list(range(50))
    write_fields(tmp_path / "a.ts", frames, whole=range(20))
    assert open_operation(tmp_path).facts["frames"] == 50


def test_labels_of_frames_of_two_fields_are_joined(tmp_path: Path, open_operation):
    (tmp_path / "videos").mkdir()
    (tmp_path / PHASE_FOLDER).mkdir()
    write_fields(tmp_path / "videos" / "video01.ts", [barcode(number) for number in range(125)])
    told = [PHASES[number // 25] for number in range(125)]
    rows = [f"{number}\t{phase}" for number, phase in enumerate(told)]
    (tmp_path / PHASE_FOLDER / "video01-phase.txt").write_text("\n".join(["Frame\tPhase", *rows]))
    with open_operation(tmp_path) as reader:
        plan = reader.plan()
    assert plan.labels[PHASE].values.to_pylist() == told
    assert not plan.reason


@pytest.mark.parametrize("way", ["seek", "decord"])
def test_what_is_read_only_in_order_says_so(tmp_path: Path, open_operation, way: str):
    write_fields(tmp_path / "a.ts", [barcode(number) for number in range(30)])
    with pytest.raises(
        UnreadableSource, match=r"packets of their own; .* --video-reader sequential"
    ):
        open_operation(tmp_path, video_reader=way)


@pytest.mark.parametrize(
    ("suffix", "offsets_s"),
    [(".ts", (0, 0)), (".ts", (0, 3)), (".ts", (900, 0)), (".mpg", (1000, 0)), (".mpg", (0, 0))],
)
def test_a_clock_that_starts_anew_goes_on(tmp_path: Path, open_operation, suffix, offsets_s):
    write_parts(tmp_path, suffix, offsets_s)
    with open_operation(tmp_path) as reader:
        plan = reader.plan()
        images = [number_in(one.image) for one in reader.read(plan.rows)]
    assert images == list(range(225))
    assert (reader.facts["frames"], reader.facts["duration_s"]) == (225, 9.0)
    assert plan.rows.column("at_s").to_numpy() == pytest.approx(np.arange(225) / 25, abs=1e-3)
    assert "its clock starts anew once" in plan.reason


def test_a_packet_out_of_line_is_no_new_clock():
    times = np.arange(0, 40 * 3600, 3600)
    keys = np.ones(40, np.bool_)
    for wrong in (0, 90_000 * 500):
        odd = times + 90_000
        odd[20] = wrong
        assert not find_restarts(odd, odd, keys, HZ)
    (found,) = find_restarts(np.r_[times, times], np.r_[times, times], np.ones(80, bool), HZ)
    assert (found.place, found.moved) == (40, 40 * 3600)


def some(count: int, height: int = 112, start: int = 0) -> list[NDArray[np.uint8]]:
    frames = list(numbered(start + count))[start:]
    return [np.asarray(Image.fromarray(one).resize((192, height), 0)) for one in frames]


STILL = [np.full((48, 48, 3), 90, np.uint8)]


def test_a_cover_in_front_is_not_the_film(tmp_path: Path, open_operation):
    cover = Track(STILL, Disposition.attached_pic, "mjpeg")
    film = Track(some(50), Disposition.default)
    cover_in_front(write_tracks(tmp_path / "a.mp4", [film, cover]))
    reader = open_operation(tmp_path)
    assert reader.facts["track"] == 1
    assert [number_in(one.image) for one in read_all(reader)] == list(range(50))


@pytest.mark.parametrize(
    ("tracks", "taken"),
    [
        ([Track(STILL, Disposition.default, "mjpeg"), Track(some(30))], 1),
        ([Track(some(30, 64)), Track(some(30, 112)), Track(some(30, 96))], 1),
        ([Track(some(30, 112)), Track(some(30, 64), Disposition.default)], 1),
    ],
    ids=["still", "largest", "default"],
)
def test_the_default_track_is_taken_else_the_largest(tmp_path, open_operation, tracks, taken):
    write_tracks(tmp_path / "a.mkv", tracks)
    reader = open_operation(tmp_path)
    assert reader.facts["track"] == taken
    assert reader.facts["height_px"] == tracks[taken].frames[0].shape[0]
    assert reader.facts["frames"] == 30


def test_a_cover_alone_is_no_film(tmp_path: Path, open_operation):
    write_tracks(tmp_path / "a.mp4", [Track(STILL, Disposition.attached_pic, "mjpeg")])
    with pytest.raises(UnreadableSource, match="no film in it, only a still picture"):
        open_operation(tmp_path)


def test_one_track_says_no_track(tmp_path: Path, open_operation):
    write_clip(tmp_path, "short-gop", 1)
    assert "track" not in open_operation(tmp_path).facts


@pytest.mark.parametrize("crop", ["none", "field"])
@pytest.mark.parametrize("way", ["auto", "sequential", "seek"])
def test_frames_of_another_size_are_corrupt(tmp_path: Path, open_operation, crop: str, way: str):
    for number, (frames, at_s) in enumerate(((some(50), 0), (some(50, 64, 50), 4))):
        part = tmp_path / f"part{number}"
        encode_some(
            part,
            frames,
            "libx264",
            FAST,
            {"output_ts_offset": f"{at_s}"},
            container_format="mpegts",
        )
    parts = [tmp_path / "part0", tmp_path / "part1"]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    sampling = FrameSampling(size_px=112, fps=25, crop=crop)
    answers = read_all(open_operation(tmp_path / "a.ts", sampling, video_reader=way))
    assert all(isinstance(one, Sample) for one in answers[:50])
    if crop == "none":
        assert [number_in(one.image) for one in answers[:50]] == list(range(50))
    assert {one.reason for one in answers[50:]} == {
        "unreadable (its size is 192 x 64 px, that of the first 192 x 112)"
    }
    assert len(answers) == 100


@pytest.mark.parametrize("crop", ["none", "field"])
def test_pictures_of_another_size_are_corrupt(tmp_path: Path, open_operation, crop: str):
    for number in range(20):
        picture = Image.new("RGB", (320 if number < 10 else 400, 240), (150, 60, 50))
        picture.save(tmp_path / f"{number:06d}.png")
    sampling = FrameSampling(size_px=32, fps=25, crop=crop)
    answers = read_all(open_operation(tmp_path, sampling, frame_base=0, frame_step=1))
    assert [isinstance(one, Sample) for one in answers] == [True] * 10 + [False] * 10
    assert "400 x 240 px, that of the first 320 x 240" in answers[10].reason
