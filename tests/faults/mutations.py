"""Damage to the bytes of a file, by a seed, and which bytes it touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

Range = tuple[int, int]
SHORT = (1, 512)  # bytes of a small piece
LONG = (64, 4096)


@dataclass(frozen=True)
class Whole:
    """An undamaged file.

    Attributes:
        name: of it.
        data: its bytes.
        pixels: where in the file pixels lie, first and behind the last; the rest is structure.
        sizes: where it says how long a piece of it is.
    """

    name: str
    data: bytes
    pixels: Sequence[Range]
    sizes: Sequence[Range] = ()


@dataclass(frozen=True)
class Mutant:
    """A damaged file.

    Attributes:
        whole: what it was.
        kind: of damage.
        data: its bytes.
        touched: which of the former bytes are others now, or gone.
    """

    whole: Any  # a Whole, or more
    kind: str
    data: bytes
    touched: Sequence[Range]

    @property
    def structure_kept(self) -> bool:
        """Whether only bytes of pixels were touched."""
        return all(
            any(start <= first and last <= stop for start, stop in self.whole.pixels)
            for first, last in self._pieces()
        )

    def _pieces(self) -> list[Range]:
        """What was touched, cut where pieces of pixels end."""
        edges = sorted({edge for piece in self.whole.pixels for edge in piece})
        out = list[Range]()
        for first, last in self.touched:
            inside = [edge for edge in edges if first < edge < last]
            starts = [first, *inside]
            out += zip(starts, [*inside, last], strict=True)
        return out

    def touches(self, piece: Range) -> bool:
        """Whether bytes of a piece of the file were touched."""
        start, stop = piece
        return any(first < stop and start < last for first, last in self.touched)


def _flipped(data: bytes, places: Sequence[int], draw: Random) -> tuple[bytes, list[Range]]:
    out = bytearray(data)
    for place in places:
        out[place] ^= 1 << draw.randrange(8)
    return bytes(out), [(place, place + 1) for place in places]


def flip_anywhere(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """One to eight bits, anywhere."""
    places = [draw.randrange(len(whole.data)) for _ in range(draw.randint(1, 8))]
    return Mutant(whole, "bits anywhere", *_flipped(whole.data, places, draw))


def flip_structure(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """One to four bits of what is no pixel: heads, directories, descriptions."""
    bounds = [0, *(edge for piece in sorted(whole.pixels) for edge in piece), len(whole.data)]
    rest = [
        place
        for start, stop in zip(bounds[::2], bounds[1::2], strict=True)
        for place in range(start, stop)
    ]
    places = [draw.choice(rest) for _ in range(draw.randint(1, 4))]
    return Mutant(whole, "bits of the structure", *_flipped(whole.data, places, draw))


def flip_pixels(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """One to four bits of one piece of pixels."""
    start, stop = draw.choice(whole.pixels)
    places = [draw.randrange(start, stop) for _ in range(draw.randint(1, 4))]
    return Mutant(whole, "bits of pixels", *_flipped(whole.data, places, draw))


def cut(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """The end is missing."""
    left = draw.randrange(len(whole.data))
    return Mutant(whole, "cut", whole.data[:left], [(left, len(whole.data))])


def zero(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """A piece is zeros, as where a copy was cut off on some disks."""
    return _overwritten(whole, "zeroed", draw, lambda size: bytes(size))


def scramble(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """A piece is noise."""
    return _overwritten(whole, "scrambled", draw, draw.randbytes)


def swap_heads(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """It begins as another file does."""
    other = draw.choice([one for one in others if one is not whole])
    size = min(draw.randint(4, SHORT[1]), len(whole.data), len(other.data))
    data = other.data[:size] + whole.data[size:]
    return Mutant(whole, "another's head", data, [(0, size)])


def swap_pieces(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """Two pieces have changed places."""
    size = draw.randint(*SHORT)
    one = draw.randrange(len(whole.data) - 2 * size)
    other = draw.randrange(one + size, len(whole.data) - size)
    data = bytearray(whole.data)
    data[one : one + size], data[other : other + size] = (
        whole.data[other : other + size],
        whole.data[one : one + size],
    )
    touched = [(one, one + size), (other, other + size)]
    return Mutant(whole, "pieces swapped", bytes(data), touched)


def lose(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """A piece is gone, and what stood behind it follows."""
    size = min(draw.randint(*LONG), len(whole.data) // 2)
    start = draw.randrange(len(whole.data) - size)
    data = whole.data[:start] + whole.data[start + size :]
    return Mutant(whole, "a piece lost", data, [(start, len(whole.data))])


def resize(whole: Whole, others: Sequence[Whole], draw: Random) -> Mutant:
    """It says of a piece that it is of another length: none, a little more or less, or any."""
    start, stop = draw.choice(whole.sizes)
    most = 256 ** (stop - start) - 1
    said = int.from_bytes(whole.data[start:stop], "big")
    near = (said + draw.randint(-16, 16)) % most
    wrong = draw.choice([0, 1, near, most, most // 2, draw.randrange(most)])
    data = whole.data[:start] + wrong.to_bytes(stop - start, "big") + whole.data[stop:]
    return Mutant(whole, "a wrong size", data, [(start, stop)])


def _overwritten(whole: Whole, kind: str, draw: Random, by: object) -> Mutant:
    size = min(draw.randint(*LONG), len(whole.data) // 2)
    start = draw.randrange(len(whole.data) - size)
    data = whole.data[:start] + by(size) + whole.data[start + size :]  # type: ignore[operator]
    return Mutant(whole, kind, data, [(start, start + size)])


KINDS = (
    *(flip_anywhere, flip_structure, flip_pixels, cut),
    *(zero, scramble, swap_heads, swap_pieces),
)


def mutants(
    wholes: Sequence[Whole], count: int, seed: int, kinds: Sequence[Any] = KINDS
) -> list[Mutant]:
    """So many, over formats and kinds in turn; one that is as it was is drawn again."""
    out = list[Mutant]()
    draw = Random(seed)  # noqa: S311 - no secret
    pairs = [
        (whole, kind) for kind in kinds for whole in wholes if whole.sizes or kind is not resize
    ]
    draw.shuffle(pairs)
    while len(out) < count:
        whole, kind = pairs[len(out) % len(pairs)]
        one = kind(whole, wholes, draw)
        if one.data != whole.data:
            out.append(one)
    return out
