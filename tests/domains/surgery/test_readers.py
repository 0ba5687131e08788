"""Exact frames: every clip carries its frame numbers in the picture."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from histoscope.core.contracts import CorruptSample, Reader, Sample
from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from histoscope.domains.surgery.readers import decoding
from histoscope.domains.surgery.readers.decoding import read_by_seeking, read_in_one_pass
from histoscope.domains.surgery.readers.decord_path import read_by_decord
from histoscope.domains.surgery.readers.listing import list_frames
from histoscope.domains.surgery.readers.movie import choose_way
from histoscope.domains.surgery.readers.opening import Film
from histoscope.domains.surgery.timeline import moments
from tests.domains.surgery.clips import CLIPS, Clip, cut_short, number_in, write_clip

EXACT = FrameSampling(size_px=112, fps=1.0)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, list[int]]]:
    """A clip by name, written once."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, tuple[Path, list[int]]] = {}

    def act(name: str) -> tuple[Path, list[int]]:
        if name not in made:
            made[name] = write_clip(folder / name, name)
        return made[name]

    return act


@pytest.fixture
def open_operation() -> Callable[..., Reader]:
    """Find the only operation at a place and open it."""

    def act(place: Path, sampling: FrameSampling = EXACT, **options: object) -> Reader:
        chosen = PrepareOptions.model_validate(options)
        roots = {"input": place}
        (source,) = DOMAIN.find(roots, chosen)
        return DOMAIN.open(source, roots, sampling)

    return act


@pytest.mark.parametrize("name", CLIPS)
def test_one_pass_gives_every_shown_frame_in_order(clip, name: str):
    path, shown = clip(name)
    listing = list_frames(path)
    found = list(read_in_one_pass(path, listing, range(len(listing.pts))))
    assert [place for place, _ in found] == list(range(len(shown)))
    assert [number_in(picture) for _, picture in found] == shown


def test_h264_in_avi_has_times_only_without_b_frames(tmp_path: Path, monkeypatch):
    """What is said to be the time of showing is the place in the file."""
    for name, count in (("plain", "0"), ("reordered", "2")):
        clip = Clip(".avi", Fraction(25), options={"g": "50", "bf": count, "sc_threshold": "0"})
        monkeypatch.setitem(CLIPS, name, clip)
    path, shown = write_clip(tmp_path, "plain", 2)
    found = read_in_one_pass(path, list_frames(path), range(50))
    assert [number_in(picture) for _, picture in found] == shown
    with pytest.raises(UnreadableSource, match="frames without a time; convert it to MP4"):
        list_frames(write_clip(tmp_path, "reordered", 2)[0])


@pytest.mark.parametrize("name", CLIPS)
def test_a_frame_looks_the_same_whichever_others_are_wanted(clip, name: str):
    path, _ = clip(name)
    listing = list_frames(path)
    all_of_them = range(len(listing.pts))
    truth = dict(read_in_one_pass(path, listing, all_of_them))
    for start in (0, 11, 12):
        wanted = all_of_them[start::25]
        found = dict(read_in_one_pass(path, listing, wanted))
        assert list(found) == list(wanted)
        assert all(np.array_equal(found[place], truth[place]) for place in wanted)


@pytest.mark.parametrize("name", ["25", "variable", "open-gop", "edit-list", "transport", "mkv"])
def test_a_frame_that_is_not_wanted_and_that_none_needs_is_not_decoded(clip, monkeypatch, name):
    path, _ = clip(name)
    listing = list_frames(path)
    films, opened = list[Film](), decoding.open_film
    monkeypatch.setattr(decoding, "open_film", lambda path: films.append(opened(path)) or films[-1])
    list(read_in_one_pass(path, listing, range(0, len(listing.pts), 25)))
    assert len(films) == 1  # it is opened once, and nothing is read again
    with opened(path) as film:
        times = [one.pts for one in film.needed(listing.pts[::25].tolist())]
    assert set(times) >= set(listing.pts[::25].tolist())
    assert len(times) < 0.8 * len(listing.pts)


@pytest.mark.parametrize("name", CLIPS)
def test_seeking_gives_the_pixels_of_one_pass(clip, name: str):
    path, _ = clip(name)
    listing = list_frames(path)
    count = len(listing.pts)
    wanted = sorted({0, 1, count - 1, *np.random.default_rng(0).integers(0, count, 20).tolist()})
    truth = dict(read_in_one_pass(path, listing, wanted))
    for place, picture in read_by_seeking(path, listing, wanted):
        assert np.array_equal(picture, truth[place]), place


def test_decord_is_not_even_loaded_where_it_is_not_asked_for(clip, monkeypatch, open_operation):
    path, _ = clip("25")
    monkeypatch.setitem(sys.modules, "decord", None)  # whoever imports it fails
    with open_operation(path) as reader:
        assert reader.facts["reader"] == "pyav-sequential"
        assert all(isinstance(one, Sample) for one in reader.read(reader.plan().rows))
    with (
        pytest.raises(ImportError),
        open_operation(path, video_reader="decord") as reader,
    ):
        list(reader.read(reader.plan().rows))


@pytest.mark.parametrize("name", ["25", "29.97", "50"])
def test_decord_gives_the_pixels_of_one_pass_in_any_order(clip, name: str):
    path, _ = clip(name)
    listing = list_frames(path)
    wanted = np.random.default_rng(1).permutation(len(listing.pts))[:20].tolist()
    truth = dict(read_in_one_pass(path, listing, sorted(wanted)))
    for place, picture in read_by_decord(path, listing, wanted):
        assert np.array_equal(picture, truth[place])


@pytest.mark.parametrize("name", ["25", "29.97", "30", "50", "59.94", "variable", "edit-list"])
def test_a_sample_is_the_first_frame_at_or_after_its_moment(clip, open_operation, name: str):
    path, shown = clip(name)
    kind = CLIPS[name]
    with open_operation(path) as reader:
        rows = reader.plan().rows
        images = [sample.image for sample in reader.read(rows)]
    times = np.array([kind.ticks(n) / 1000 if kind.ticks else n / float(kind.rate) for n in shown])
    times -= times[0]
    expected = []
    for second in range(int(times[-1]) + 1):
        inside = np.flatnonzero((times >= second - 1e-6) & (times < second + 1 - 1e-6))
        expected += inside[:1].tolist()
    assert rows.column("frame").to_pylist() == expected
    assert rows.column("at_s").to_numpy() == pytest.approx(times[expected], abs=2e-3)
    assert [number_in(image) for image in images] == [shown[place] for place in expected]


def test_short_groups_of_pictures_are_sought_and_long_ones_passed(clip):
    for name, stride_s, way in (("short-gop", 1.0, "seek"), ("variable", 1.0, "sequential")):
        path, _ = clip(name)
        assert choose_way(list_frames(path), "auto", stride_s) == way


def test_every_way_gives_a_store_the_same_images(clip, open_operation):
    path, _ = clip("short-gop")
    found = {}
    for way in ("sequential", "seek", "decord"):
        with open_operation(path, video_reader=way) as reader:
            assert way in reader.facts["reader"]
            found[way] = np.stack([s.image for s in reader.read(reader.plan().rows)])
    assert np.array_equal(found["sequential"], found["seek"])
    assert np.array_equal(found["sequential"], found["decord"])


def test_parts_are_joined_in_order_with_their_decoded_length(clip, tmp_path: Path, open_operation):
    for number, name in enumerate(["25", "short-gop", "no-b-frames"]):
        shutil.copy(clip(name)[0], tmp_path / f"op_{number + 9}.mp4")  # op_10 comes behind op_9
    with open_operation(tmp_path, part_regex=r"(op)_(\d+)") as reader:
        rows = reader.plan().rows
        images = [sample.image for sample in reader.read(rows)]
    assert reader.facts["parts"] == 3
    assert rows.column("frame").to_pylist() == list(range(0, 750, 25))
    assert rows.column("part").to_pylist() == [0] * 10 + [1] * 10 + [2] * 10
    assert [number_in(image) for image in images] == list(range(0, 250, 25)) * 3


def write_frames(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.new("RGB", (64, 36), (number, 100, 50)).save(folder / name)


def test_extracted_frames_need_their_base_and_step(tmp_path: Path, open_operation):
    write_frames(tmp_path / "v", ["video26-1.png", "video26-2.png", "video26-10.png"])
    with pytest.raises(UnreadableSource, match=r"give --frame-base .* and --frame-step"):
        open_operation(tmp_path)
    with open_operation(tmp_path, frame_base=1, frame_step=25) as reader:
        rows = reader.plan().rows
        reds = [sample.image[0, 0, 0] for sample in reader.read(rows)]
    assert rows.column("frame").to_pylist() == [0, 25, 225]
    assert rows.column("at_s").to_pylist() == [0, 1, 9]
    assert reds == [0, 1, 2]


def test_a_second_download_of_a_frame_is_no_frame_of_its_own(tmp_path: Path, open_operation):
    write_frames(tmp_path / "v", ["001171 (1).png", "001171.png", "001172.png"])
    with open_operation(tmp_path, frame_base=0, frame_step=25) as reader:
        assert reader.plan().rows.column("frame").to_pylist() == [1171 * 25, 1172 * 25]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"not a video at all" * 100, "not a video, or cut short"),
    ],
)
def test_what_is_no_video_says_so(tmp_path: Path, open_operation, data: bytes, reason: str):
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(UnreadableSource, match=reason):
        open_operation(tmp_path)


def test_sound_without_a_picture_says_so(tmp_path: Path, open_operation):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate, frame.pts = 48000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UnreadableSource, match="no video stream"):
        open_operation(tmp_path)


def test_an_mp4_cut_before_its_directory_says_so(clip, tmp_path: Path, open_operation):
    cut_short(clip("25")[0], tmp_path / "a.mp4", 0.6)
    with pytest.raises(UnreadableSource, match="cut short"):
        open_operation(tmp_path)


def test_a_cut_stream_gives_what_is_there(clip, tmp_path: Path, open_operation):
    cut_short(clip("mkv")[0], tmp_path / "a.mkv", 0.5)
    with open_operation(tmp_path) as reader:
        rows = reader.plan().rows
        answers = list(reader.read(rows))
    good = [number_in(answer.image) for answer in answers if isinstance(answer, Sample)]
    assert 2 <= len(good) < 10
    assert good == [25 * place for place in range(len(good))]


def test_damage_inside_loses_frames_and_not_the_rest(clip, tmp_path: Path, open_operation):
    data = bytearray(clip("no-b-frames")[0].read_bytes())
    start = len(data) // 2
    data[start : start + 4000] = bytes(4000)
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    with open_operation(tmp_path, FrameSampling(size_px=112, fps=25)) as reader:
        rows = reader.plan().rows
        answers = list(reader.read(rows))
    assert len(answers) == len(rows) == 250
    assert sum(isinstance(answer, Sample) for answer in answers) > 150
    for place in (0, 50, 99):
        answer = answers[place]
        assert isinstance(answer, CorruptSample) or number_in(answer.image) == place


def test_frames_that_share_a_time_are_refused(tmp_path: Path, open_operation):
    from fractions import Fraction

    from histoscope.domains.surgery.phantom.videos import encode
    from tests.domains.surgery.clips import numbered

    path = tmp_path / "a.mkv"
    encode(path, numbered(20), Fraction(25), {"bf": "0"}, ticks=[n // 2 * 80 for n in range(20)])
    with pytest.raises(UnreadableSource, match="timestamps are broken"):
        open_operation(tmp_path)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotation_metadata_is_applied(turns: int):
    import av

    from histoscope.domains.surgery.readers.decoding import upright

    pixels = np.random.default_rng(0).integers(0, 255, (36, 64, 3), np.uint8)

    class Turned:
        """A frame whose metadata says that it lies on its side."""

        rotation = 90 * turns - (360 if turns == 3 else 0)

    class Converter:
        def reformat(self, frame, format):  # noqa: A002 - av's name
            return av.VideoFrame.from_ndarray(pixels, format="rgb24")

    assert np.array_equal(upright(Turned(), Converter()), np.rot90(pixels, turns))


def test_a_kept_converter_gives_the_pixels_of_a_new_one(clip):
    import av
    from av.video.reformatter import VideoReformatter

    from histoscope.domains.surgery.readers.decoding import upright

    converter = VideoReformatter()
    with av.open(str(clip("29.97")[0])) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 40 == 0:
                assert np.array_equal(upright(frame, converter), frame.to_ndarray(format="rgb24"))


@given(
    steps=st.lists(st.sampled_from([0.02, 0.04, 0.3, 2.5]), min_size=1, max_size=60),
    rate=st.sampled_from([0.5, 1.0, 5.0]),
)
def test_moments_are_those_of_the_definition_as_a_loop(steps: list[float], rate: float):
    times = np.concatenate([[0.0], np.cumsum(steps)])
    expected = []
    k = 0
    while k / rate <= times[-1] + 1e-6:
        inside = [
            place
            for place, time in enumerate(times)
            if k / rate - 1e-6 <= time < (k + 1) / rate - 1e-6
        ]
        expected += inside[:1]
        k += 1
    assert moments(times, rate).tolist() == expected
