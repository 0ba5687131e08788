"""Files whose end is missing, and files that only look so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.readers.movie import VideoFile
from histoscope.domains.surgery.readers.whole import said_bytes
from tests.domains.surgery.clips import encode_some, numbered

KINDS: dict[str, tuple[str, Mapping[str, str]]] = {
    "front.mp4": ("libx264", {"movflags": "faststart"}),
    "behind.mp4": ("libx264", {}),
    "pieces.mp4": ("libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "film.mkv": ("libx264", {}),
    "live.mkv": ("libx264", {"live": "1"}),
    "film.avi": ("mpeg4", {}),
    "stream.ts": ("libx264", {}),
}
TELL = ("front.mp4", "behind.mp4", "pieces.mp4", "film.mkv", "film.avi")
TELL_ALL = ("front.mp4", "film.mkv", "film.avi")  # also of what is missing


@pytest.fixture(params=KINDS)
def film(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A second of film in one of several containers."""
    path = tmp_path / str(request.param)
    codec, muxer = KINDS[path.name]
    encode_some(path, [*numbered(25)], codec, {"g": "5"}, muxer)
    return path


def test_a_whole_file_is_as_long_as_it_says(film: Path) -> None:
    assert said_bytes(film) == film.stat().st_size
    assert "cut off" not in VideoFile(film, "auto", 1.0).note
    with film.open("ab") as file:
        file.write(b"\n<!-- not a box, but behind the last one -->\n")
    assert said_bytes(film) == film.stat().st_size


def test_a_file_that_is_cut_off_says_so(film: Path) -> None:
    whole, left = film.stat().st_size, film.stat().st_size * 7 // 10
    film.write_bytes(film.read_bytes()[:left])
    said = said_bytes(film)
    assert (said > left) is (film.name in TELL)
    assert said == whole or film.name not in TELL_ALL
    if film.name == "behind.mp4":  # its index was at the end
        with pytest.raises(UnreadableSource):
            VideoFile(film, "auto", 1.0)
        return
    note = f"the file is cut off: {left} of at least {said} bytes are there, what is behind"
    assert VideoFile(film, "auto", 1.0).note.startswith(note) is (film.name in TELL)


@pytest.mark.parametrize("head", [b"", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x93", b"RIFF"])
def test_a_file_of_a_few_bytes_says_nothing(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "few"
    path.write_bytes(head)
    assert said_bytes(path) in (len(head), 8)
