"""H.264 whose fields are pictures of their own, written bit by bit: all macroblocks are raw."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

START = b"\0\0\0\1"


class Bits:
    """Bits of a unit."""

    def __init__(self) -> None:
        self._bits = list[int]()

    def put(self, count: int, value: int) -> Bits:
        self._bits += [value >> place & 1 for place in range(count - 1, -1, -1)]
        return self

    def golomb(self, *values: int) -> Bits:
        for value in values:
            width = (value + 1).bit_length()
            self.put(2 * width - 1, value + 1)
        return self

    def raw(self, *parts: NDArray[np.uint8]) -> Bits:
        self._bits += [0] * (-len(self._bits) % 8)
        for part in parts:
            self._bits += np.unpackbits(np.ascontiguousarray(part)).tolist()
        return self

    def unit(self, head: int) -> bytes:
        """With its end, and with what keeps start codes apart."""
        self._bits.append(1)
        data, out, zeros = np.packbits(self._bits).tobytes(), bytearray(), 0
        for byte in data:
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = 0 if byte else zeros + 1
        return START + bytes([head]) + bytes(out)


def parameter_sets(side: int) -> bytes:
    """Main profile, fields allowed, 50 of them a second."""
    sequence = Bits().put(24, 0x4D001E).golomb(0, 0, 0, 4, 1).put(1, 0)
    sequence.golomb(side // 16 - 1, side // 32 - 1).put(4, 0b0010).put(1, 1)
    sequence.put(4, 0).put(1, 1).put(32, 1).put(32, 50).put(1, 1).put(4, 0)
    picture = Bits().golomb(0, 0).put(2, 0b01).golomb(0, 0, 0).put(3, 0).golomb(0, 0, 0)
    return sequence.unit(0x67) + picture.put(3, 0b110).unit(0x68)


def coded(planes: Sequence[NDArray[np.uint8]], number: int, bottom: int | None) -> bytes:
    """A field, top (0) or bottom (1), or a frame (None), as one slice."""
    key = bottom != 1
    bits = Bits().golomb(0, 7, 0).put(4, 0)
    bits.put(1, 0) if bottom is None else bits.put(2, 2 | bottom)
    if key:
        bits.golomb(number % 2)
    bits.put(8, bottom or 0)
    if bottom is None:
        bits.golomb(0)
    bits.put(2 if key else 1, 0).golomb(0, 1)
    luma, blue, red = planes if bottom is None else [plane[bottom::2] for plane in planes]
    for y in range(0, len(luma), 16):
        for x in range(0, luma.shape[1], 16):
            half = slice(y // 2, y // 2 + 8), slice(x // 2, x // 2 + 8)
            bits.golomb(25).raw(luma[y : y + 16, x : x + 16], blue[half], red[half])
    return bits.unit(0x65 if key else 0x61)


def write_fields(path: Path, frames: Sequence[NDArray[np.uint8]], whole: range = range(0)) -> Path:
    """A video at 25 a second whose fields are packets of their own.

    Args:
        path: its suffix decides the container.
        frames: RGB, square, sides multiples of 32.
        whole: frames that are coded as one picture.
    """
    packets = list[tuple[bytes, int]]()  # and when it is shown, 1/50 s
    sets = parameter_sets(len(frames[0]))
    for number, pixels in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        planes = [_plane(plane) for plane in picture.planes]
        sides = (None,) if number in whole else (0, 1)
        for place, bottom in enumerate(sides):
            head = sets if not place else b""
            data = START + b"\x09\x10" + head + coded(planes, number, bottom)
            packets.append((data, 2 * number + place))
    raw = path.with_suffix(".264")
    raw.write_bytes(b"".join(data for data, _ in packets[:2]))
    with av.open(str(raw)) as template, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(template.streams.video[0])
        for data, at in packets:
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 50)
            packet.pts = packet.dts = at
            packet.is_keyframe = True
            container.mux(packet)
    raw.unlink()
    return path


def _plane(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].clip(1, 254)
