"""Short operations of many formats, and where in each file the bytes lie that a frame needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import av
from PIL import Image

from tests.domains.surgery.clips import numbered, write_clip
from tests.faults.mutations import Range, Whole

CLIPS = ("25", "short-gop", "transport", "avi", "mkv", "mpeg2")
SECONDS, RATE, FPS = 4, 25, 5
SAMPLES = SECONDS * FPS
STEP = RATE // FPS  # frames of the video from one picture of a folder to the next
DAMAGED = 7  # number of the picture in the folder that is damaged
SAYS_ENDS = (".mp4", ".mkv", ".avi")  # of each packet; elsewhere the next one tells
NO_TIMES = (".avi", ".mpg")  # that do not write of each frame when it is shown
PACKET, SYNC = 188, 0x47  # of a transport stream
BOXES = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl")  # that hold boxes


@dataclass(frozen=True, kw_only=True)
class WholeOperation(Whole):
    """An undamaged operation: a video, or a folder of pictures of which one is damaged.

    Attributes:
        needs: by time stamp, which bytes of the file a frame needs, and what stands between them.
        others: pictures beside the damaged one, by name; of a video none.
    """

    needs: Mapping[int, Range]
    others: Mapping[str, bytes] = field(default_factory=dict)

    def write(self, path: Path, data: bytes) -> None:
        """Write it, or it as it is damaged."""
        if not self.others:
            path.write_bytes(data)
            return
        path.mkdir()
        for name, other in {**self.others, _picture_name(DAMAGED): data}.items():
            (path / name).write_bytes(other)


def write_all(folder: Path) -> list[WholeOperation]:
    """One of each format, written below ``folder``."""
    videos = [as_video(write_clip(folder, name, SECONDS)[0]) for name in CLIPS]
    pictures = _folder_of_pictures("pictures")
    pictures.write(folder / pictures.name, pictures.data)
    return [*videos, pictures]


def as_video(path: Path) -> WholeOperation:
    """A video, and which of its bytes each frame needs."""
    data, needs, found = path.read_bytes(), dict[int, Range](), list[Any]()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [one for one in container.demux(stream) if one.size]
        starts = _filled([one.pos for one in packets])
        keys = [place for place, one in enumerate(packets) if one.is_keyframe]
        for place, packet in enumerate(packets):
            group = [key for key in keys if key <= place]
            open_too = group[-2:-1] if packet.pts < packets[group[-1]].pts else group[-1:]
            last = _last_needed(path.suffix, place, [one.pts for one in packets])
            stop = next((one for one in starts if one > starts[last]), len(data))
            needs[packet.pts] = (starts[(open_too or group)[0]], stop)
            found.append((starts[place], bytes(packet)))
    pixels = list(_of_transport(data) if path.suffix == ".ts" else _pieces(data, found))
    sizes = list(_sizes(path.suffix, data))
    return WholeOperation(path.name, data, pixels, sizes, needs=needs)


def _last_needed(suffix: str, place: int, shown: Sequence[int]) -> int:
    """Place of the last packet that a frame needs: its own, or one behind that tells of it.

    Where no time is written, that is the next one shown later, for which a decoder waits; where
    no end is written, the packet behind.
    """
    last, final = place, len(shown) - 1
    if suffix in NO_TIMES:
        behind = range(place + 1, len(shown))
        last = next((one for one in behind if shown[one] > shown[place]), final)
    return last if suffix in SAYS_ENDS else min(last + 1, final)


def _filled(places: Sequence[int | None]) -> list[int]:
    """Places of packets; one that has none lies in the piece of the one before."""
    out, last = list[int](), 0
    for place in places:
        last = last if place is None or place < 0 else place
        out.append(last)
    return out


def _pieces(data: bytes, packets: Sequence[tuple[int, bytes]]) -> Iterator[Range]:
    """Where packets lie in one piece."""
    at = 0
    for start, packet in packets:
        place = data.find(packet, max(at, start))
        if place >= 0:
            yield place, (at := place + len(packet))


def _of_transport(data: bytes) -> Iterator[Range]:
    """Packets of the stream of pictures behind their heads, but those in which a frame begins."""
    heads = {at: data[at : at + 6] for at in range(0, len(data) - PACKET + 1, PACKET)}
    begin = {at: bool(head[1] & 0x40) for at, head in heads.items()}
    owner = {at: int.from_bytes(head[1:3], "big") & 0x1FFF for at, head in heads.items()}
    film = max(set(owner.values()), key=list(owner.values()).count)
    for at, head in heads.items():
        behind = at + 4 + (1 + head[4] if head[3] & 0x20 else 0)
        if head[0] == SYNC and owner[at] == film and not begin[at] and behind < at + PACKET:
            yield behind, at + PACKET


def _sizes(suffix: str, data: bytes) -> Iterator[Range]:
    """Where lengths of boxes (MP4) or chunks (AVI) are written."""
    if suffix == ".mp4":
        yield from _sizes_of_boxes(data, 0, len(data))
    elif suffix == ".avi":
        yield from _sizes_of_chunks(data, 0, len(data))


def _sizes_of_boxes(data: bytes, start: int, stop: int) -> Iterator[Range]:
    while start + 8 <= stop:
        size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        yield start, start + 4
        if kind in BOXES:
            yield from _sizes_of_boxes(data, start + 8, start + size)
        elif kind in (b"stts", b"stss", b"ctts", b"stsz", b"stsc", b"stco"):
            yield start + 12, start + 16  # how many rows, or how long all are
        start += max(size, 8)


def _sizes_of_chunks(data: bytes, start: int, stop: int) -> Iterator[Range]:
    while start + 8 <= stop:
        size, kind = int.from_bytes(data[start + 4 : start + 8], "little"), data[start : start + 4]
        yield start + 4, start + 8
        if kind in (b"RIFF", b"LIST"):
            yield from _sizes_of_chunks(data, start + 12, start + 8 + size)
        start += 8 + size + size % 2


def _folder_of_pictures(name: str) -> WholeOperation:
    """JPEG pictures, numbered from 0; each needs itself."""
    made = dict[str, bytes]()
    for number, pixels in enumerate(islice(numbered(SECONDS * RATE), 0, None, STEP)):
        file = BytesIO()
        Image.fromarray(pixels).save(file, "jpeg", quality=90)
        made[_picture_name(number)] = file.getvalue()
    data = made.pop(_picture_name(DAMAGED))
    needs = {number: (0, len(data) if number == DAMAGED else 0) for number in range(SAMPLES)}
    pixels = [(data.index(b"\xff\xda"), len(data))]
    return WholeOperation(name, data, pixels, needs=needs, others=made)


def _picture_name(number: int) -> str:
    return f"{number:06d}.jpg"
