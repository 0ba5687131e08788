"""Operations and their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from av.stream import Disposition
from PIL import Image

from histoscope.domains.surgery.phases import PHASES
from tests.domains.surgery.clips import Track, encode_some, numbered, write_parts, write_tracks
from tests.domains.surgery.field_stream import write_fields
from tests.said.case import FILMS, Case, Chapter

FAST = {"preset": "ultrafast", "g": "25"}
RED = np.array((1, 0.4, 0.4))


def film(path: Path, seconds: int = 4, tint: object = RED) -> None:
    """A pattern that moves, in a tint, at 25 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ground = np.random.default_rng(0).integers(40, 200, (64, 64, 1)).repeat(3, 2)
    frames = [
        np.clip(np.roll(ground, 3 * number, 1) * tint, 0, 255).astype(np.uint8)
        for number in range(25 * seconds)
    ]
    encode_some(path, frames, "libx264", FAST)


def phases(folder: Path, name: str, rows: int) -> None:
    """A phase file in Cholec80's layout."""
    place = folder / "phase_annotations"
    place.mkdir(parents=True, exist_ok=True)
    lines = [f"{number}\t{PHASES[number * 7 // rows]}" for number in range(rows)]
    (place / f"{name}.txt").write_text("\n".join(["Frame\tPhase", *lines]) + "\n")


def _fields(folder: Path) -> None:
    folder.mkdir()
    band = np.repeat(np.arange(8) * 20 + 60, 8)[:, None, None]
    still = np.broadcast_to(band, (64, 64, 3)).astype(np.uint8)
    write_fields(folder / "a.ts", [np.roll(still, number, 0) for number in range(50)])


def _clock(folder: Path) -> None:
    folder.mkdir()
    write_parts(folder, ".ts", (900, 0))


def _cover(folder: Path) -> None:
    folder.mkdir()
    cover = Track([np.full((48, 48, 3), 90, np.uint8)], Disposition.attached_pic, "mjpeg")
    frames = [np.asarray(Image.fromarray(one).resize((192, 112))) for one in numbered(50)]
    write_tracks(folder / "a.mp4", [Track(frames, Disposition.default), cover])


def _rate(folder: Path) -> None:
    film(folder / "videos" / "video01.mp4", 60)
    phases(folder, "video01-phase", 60)


def _digitless(folder: Path) -> None:
    film(folder / "videos" / "lap-a.mp4")
    phases(folder, "lap-a-phase", 100)


def _nobodys(folder: Path) -> None:
    film(folder / "videos" / "video01.mp4")
    phases(folder, "video07-phase", 100)


def _spans(folder: Path) -> None:
    film(folder / "video01.mp4")
    (folder.parent / "spans.csv").write_text(
        "case,start,end,phase\nvideo1,0,3,Preparation\nvideo1,3,9,ClippingCutting\n"
    )


def _numbers(folder: Path) -> None:
    for name in ("000001_1fps.png", "000002_1fps.png", "2_1fps.png"):
        path = folder / "frames" / "video01" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 36), (200, 80, 70)).save(path)


def _parts(folder: Path) -> None:
    for name in ("op1.mp4", "op1_2.mp4"):
        film(folder / name, 2)


def _broken(folder: Path) -> None:
    film(folder / "a.mp4")
    (folder / "b.mxf").write_bytes(b"\x06\x0e\x2b\x34" + bytes(2000))
    (folder / "c.mp4").write_bytes((folder / "a.mp4").read_bytes()[:3000])


CASES = (
    Case("Fields that are packets of their own", "A picture is a frame.", _fields, FILMS),
    Case("A clock that starts anew", "All frames, in the file's order.", _clock, FILMS),
    Case("A cover beside the film", "The film; which track is recorded.", _cover, FILMS),
    Case(
        "Labels numbered at another rate",
        "Refused with both readings.",
        _rate,
        FILMS,
        way="--label-rate 1",
    ),
    Case("A name without a number", "Its labels are used.", _digitless, FILMS),
    Case("Labels of no operation here", "Said; the film is read.", _nobodys, FILMS),
    Case(
        "Numbers padded otherwise, spans behind the end",
        "Joined; what lies behind the end is said.",
        _spans,
        FILMS,
        "--labels spans.csv",
    ),
    Case(
        "Two frames of one number",
        "Refused by name.",
        _numbers,
        FILMS,
        "--frame-base 1 --frame-step 25",
    ),
    Case(
        "Parts of one operation",
        "Joined; a part without a number is the first.",
        _parts,
        FILMS,
        "--part-regex (op\\d+)(?:_(\\d+))?",
    ),
    Case(
        "A film that is not red",
        "Read; that all is marked as outside is doubted.",
        lambda folder: film(folder / "a.mp4", tint=1),
        FILMS,
    ),
    Case("Films that are cut or something else", "One row each.", _broken, FILMS),
)
CHAPTER = Chapter("Operations", CASES)
