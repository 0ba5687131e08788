"""Short clips whose frames carry their number in the picture, in the ways that files go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from histoscope.core.randomness import generator
from histoscope.domains.surgery.phantom.videos import encode

BITS, BLOCK_PX = 12, 16
WIDTH_PX, HEIGHT_PX = BITS * BLOCK_PX, 112
SECONDS = 10
NO_ROLE = Disposition(0)


@dataclass(frozen=True)
class Clip:
    """A kind of clip.

    Attributes:
        suffix: of its container.
        rate: frames a second.
        codec, options: of the encoder.
        ticks: presentation times in ms by frame number, for a variable rate.
        cut_from: frames that an edit list hides at the start, 0 for none.
    """

    suffix: str
    rate: Fraction
    codec: str = "libx264"
    options: Mapping[str, str] = field(default_factory=lambda: {"g": "250", "bf": "2"})
    ticks: Callable[[int], int] | None = None
    cut_from: int = 0


@dataclass(frozen=True)
class Track:
    """One track of pictures.

    Attributes:
        frames: RGB.
        disposition: what it is for.
        codec: encoder's name; ``mjpeg`` for stills.
    """

    frames: Sequence[NDArray[np.uint8]]
    disposition: Disposition = NO_ROLE
    codec: str = "libx264"


def _uneven(number: int) -> int:
    """33 or 50 ms a frame, changing every 40 frames, with one gap of 2 s."""
    rounds, rest = divmod(number, 80)
    at = rounds * (40 * 33 + 40 * 50) + min(rest, 40) * 33 + max(0, rest - 40) * 50
    return at + (2000 if number >= 150 else 0)


_LONG = {"g": "250", "bf": "2", "sc_threshold": "0"}
CLIPS: dict[str, Clip] = {
    "25": Clip(".mp4", Fraction(25), options=_LONG),
    "29.97": Clip(".mp4", Fraction(30000, 1001), options=_LONG),
    "30": Clip(".mp4", Fraction(30), options=_LONG),
    "50": Clip(".mp4", Fraction(50), options=_LONG),
    "59.94": Clip(".mp4", Fraction(60000, 1001), options=_LONG),
    "variable": Clip(".mp4", Fraction(30), options=_LONG, ticks=_uneven),
    "short-gop": Clip(".mp4", Fraction(25), options={"g": "25", "bf": "2"}),
    "no-b-frames": Clip(".mp4", Fraction(25), options={"g": "100", "bf": "0"}),
    "open-gop": Clip(
        ".mp4", Fraction(25), options={**_LONG, "g": "30", "x264-params": "open-gop=1"}
    ),
    "edit-list": Clip(".mp4", Fraction(25), options={**_LONG, "g": "50"}, cut_from=31),
    "hevc": Clip(
        ".mp4",
        Fraction(25),
        "libx265",
        {"x265-params": "keyint=30:min-keyint=30:open-gop=1:bframes=3:log-level=none"},
    ),
    "mpeg2": Clip(".mpg", Fraction(25), "mpeg2video", {"g": "12", "bf": "2", "b": "3M"}),
    "transport": Clip(".ts", Fraction(25), options={**_LONG, "g": "50"}),
    "avi": Clip(".avi", Fraction(25), "mpeg4", {"g": "50", "bf": "2", "b": "3M"}),
    "mkv": Clip(".mkv", Fraction(25), options=_LONG),
}


def write_clip(folder: Path, name: str, seconds: int = SECONDS) -> tuple[Path, list[int]]:
    """Write one clip.

    Args:
        folder: where to.
        name: a key of :data:`CLIPS`.
        seconds: length.

    Returns:
        Its path, and the numbers that its shown frames carry, in order.
    """
    kind = CLIPS[name]
    count = round(seconds * kind.rate)
    path = folder / f"{name}{kind.suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    ticks = None if kind.ticks is None else [kind.ticks(number) for number in range(count)]
    source = path.with_name(f"whole-{path.name}") if kind.cut_from else path
    encode(source, numbered(count), kind.rate, kind.options, codec=kind.codec, ticks=ticks)
    if kind.cut_from:
        hide_start(source, path, kind.cut_from / float(kind.rate))
        source.unlink()
    return path, list(range(kind.cut_from, count))


def numbered(count: int) -> Iterator[NDArray[np.uint8]]:
    """Frames with their number as black and white blocks above a moving pattern."""
    rng = generator(0, "surgery/clip")
    ground = rng.integers(60, 200, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    for number in range(count):
        frame = np.roll(ground, 2 * number, axis=1)
        for bit in range(BITS):
            left = bit * BLOCK_PX
            frame[: 2 * BLOCK_PX, left : left + BLOCK_PX] = 255 if number >> bit & 1 else 0
        yield frame


def number_in(picture: NDArray[np.uint8]) -> int:
    """The number that a frame carries, also when it was resized."""
    height, width = picture.shape[:2]
    row = round(BLOCK_PX / HEIGHT_PX * height)
    places = ((np.arange(BITS) + 0.5) / BITS * width).astype(int)
    bits = picture[row, places].mean(axis=1) > 127
    return int((bits << np.arange(BITS)).sum())


def hide_start(source: Path, target: Path, seconds: float) -> None:
    """Copy packets with times moved back, so that an edit list hides those before zero."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        stream = inside.streams.video[0]
        copy = outside.add_stream_from_template(stream)
        moved = round(seconds / (stream.time_base or Fraction(1, 1000)))
        for packet in inside.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts -= moved
            packet.dts -= moved
            packet.stream = copy
            outside.mux(packet)


def cut_short(source: Path, target: Path, share: float) -> Path:
    """Copy the first part of a file's bytes, as a broken transfer leaves it."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def write_parts(folder: Path, suffix: str, offsets_s: tuple[float, float]) -> Path:
    """A recording of 5 s and of 4 s appended to it, each with a clock of its own.

    Args:
        folder: where to.
        suffix: ``.ts`` or ``.mpg``.
        offsets_s: where the clock of each part starts.
    """
    codec, options = ("libx264", _LONG) if suffix == ".ts" else ("mpeg2video", {"g": "12"})
    frames, parts = list(numbered(225)), []
    for number, (start, end) in enumerate(((0, 125), (125, 225))):
        part = folder / f"part{number}{suffix}"
        extra = {"output_ts_offset": str(offsets_s[number])}
        encode_some(part, frames[start:end], codec, {**options, "bf": "2"}, extra)
        parts.append(part)
    whole = folder / f"whole{suffix}"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return whole


def encode_some(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    codec: str,
    options: Mapping[str, str],
    muxer: Mapping[str, str] | None = None,
    *,
    pix_fmt: str = "yuv420p",
    container_format: str | None = None,
) -> None:
    """Write frames at 25 a second, with options of the muxer and any name of the file."""
    with av.open(str(path), "w", format=container_format, options=dict(muxer or {})) as container:
        stream = container.add_stream(codec, rate=25, options=dict(options))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.thread_count = pix_fmt, 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def write_tracks(path: Path, tracks: Sequence[Track]) -> Path:
    """A file of several tracks of pictures at 25 a second, in the order given."""
    with av.open(str(path), "w") as container:
        streams = []
        for track in tracks:
            stream = container.add_stream(track.codec, rate=25)
            stream.height, stream.width = track.frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if track.codec == "mjpeg" else "yuv420p"
            stream.disposition = track.disposition
            streams.append(stream)
        for stream, track in zip(streams, tracks, strict=True):
            for pixels in track.frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    return path


def cover_in_front(path: Path) -> None:
    """Lay an MP4's cover before its tracks, as programs that write tags do."""
    ranks = {b"mvhd": 0, b"udta": 1}
    out = b""
    for kind, box in _boxes(path.read_bytes()):
        if kind == b"moov":
            inner = sorted(_boxes(box[8:]), key=lambda one: ranks.get(one[0], 2))
            box = box[:8] + b"".join(data for _, data in inner)
        out += box
    path.write_bytes(out)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at : at + size]
        at += size
