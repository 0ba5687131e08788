"""H.264 whose fields are packets of their own: two packets are one picture.

Read from the sequence parameter set and the first bits of each slice (ITU-T H.264, 7.3.2.1.1 and
7.3.3). Whether fields are coded alone may change from picture to picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SLICE, SLICE_IDR, SPS = 1, 5, 7
HEAD_BYTES = 32  # of a slice; what is wanted stands in the first few
HIGH = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


@dataclass(frozen=True)
class Sequence:
    """What a parameter set says.

    Attributes:
        fields: whether fields may be coded alone.
        number_bits: of a frame's number in a slice.
        planes: whether colour planes are coded alone.
    """

    fields: bool
    number_bits: int
    planes: bool


class LoneFields:
    """Finds packets that hold one field of a picture.

    Args:
        codec_context: of the stream.
    """

    def __init__(self, codec_context: Any) -> None:
        self._wanted = codec_context.name == "h264"
        self._sequence: Sequence | None = None
        extra = bytes(codec_context.extradata or b"") if self._wanted else b""
        self._length_bytes = (extra[4] & 3) + 1 if extra[:1] == b"\x01" and len(extra) > 6 else 0
        units = _avcc_units(extra) if self._length_bytes else _annexb_units(extra)
        self._learn(units)

    def is_one(self, packet: Any) -> bool:
        """Whether a packet holds one field; not where another says nothing of fields."""
        may_be = self._sequence is not None and self._sequence.fields
        if not self._wanted or not (may_be or packet.is_keyframe):
            return False
        data = bytes(packet)
        if self._length_bytes:
            units = list(_sized_units(data, self._length_bytes))
        else:
            units = list(_annexb_units(data))
        self._learn(iter(units))
        if self._sequence is None or not self._sequence.fields:
            return False
        sides = {_side(one, self._sequence) for one in units if one[0] & 31 in (SLICE, SLICE_IDR)}
        return len(sides) == 1 and None not in sides

    def _learn(self, units: Iterator[bytes]) -> None:
        for unit in units:
            if unit and unit[0] & 31 == SPS:
                self._sequence = _read_sequence(unit) or self._sequence


class _Bits:
    """Bits of a unit, without the bytes that keep start codes apart; zeros behind its end."""

    def __init__(self, unit: bytes) -> None:
        data = unit[1:].replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            return 0
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        zeros = 0
        while self._left > 0 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def _side(unit: bytes, sequence: Sequence) -> int | None:
    """0 for a slice of a top field, 1 of a bottom field, None of a frame."""
    bits = _Bits(unit[:HEAD_BYTES])
    for _ in range(3):  # first macroblock, type, picture parameter set
        bits.golomb()
    bits.take(2 * sequence.planes + sequence.number_bits)
    return bits.take(1) if bits.take(1) else None


def _read_sequence(unit: bytes) -> Sequence | None:
    bits = _Bits(unit)
    profile = bits.take(8)
    bits.take(16)  # constraints and level
    bits.golomb()
    planes = profile in HIGH and _skip_high(bits)
    number_bits = bits.golomb() + 4
    _skip_order(bits)
    bits.golomb()  # reference frames
    bits.take(1)
    bits.golomb()  # width
    bits.golomb()  # height
    return Sequence(not bits.take(1), number_bits, planes)


def _skip_high(bits: _Bits) -> bool:
    """What only high profiles say; whether colour planes are coded alone."""
    chroma = bits.golomb()
    planes = bool(chroma == 3 and bits.take(1))
    bits.golomb()
    bits.golomb()  # depth of luma and chroma
    bits.take(1)
    if bits.take(1):
        for place in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_scaling(bits, 16 if place < 6 else 64)
    return planes


def _skip_scaling(bits: _Bits, count: int) -> None:
    last, following = 8, 8
    for _ in range(count):
        if following:
            code = bits.golomb()
            following = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = following or last


def _skip_order(bits: _Bits) -> None:
    """How the order of pictures is told."""
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.take(1)
        bits.golomb()
        bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()


def _annexb_units(data: bytes) -> Iterator[bytes]:
    """Units behind start codes."""
    for part in data.split(b"\0\0\1")[1:]:
        if part:
            yield part


def _sized_units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Units behind their lengths."""
    at = 0
    while at + length_bytes < len(data):
        size = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        if size:
            yield data[at : at + size]
        at += size


def _avcc_units(extra: bytes) -> Iterator[bytes]:
    """Parameter sets of an MP4's or Matroska's header."""
    at = 6
    for _ in range(extra[5] & 31):
        size = int.from_bytes(extra[at : at + 2], "big")
        yield extra[at + 2 : at + 2 + size]
        at += 2 + size
