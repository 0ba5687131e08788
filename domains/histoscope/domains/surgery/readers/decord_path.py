"""decord (the maintained fork ``decord2``, same import): quick, and wrong on some files.

It lies on edit lists, transport streams, AVI and open groups of pictures. By itself it is taken
only on constant-rate MP4 without an edit list, after frames drawn at random equal a sequential
pass's on that very file, and only where it was quicker there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from histoscope.core.errors import UnreadableSource
from histoscope.core.randomness import generator
from histoscope.domains.surgery.readers.decoding import MISSING, Answer, read_in_one_pass
from histoscope.domains.surgery.readers.listing import Listing

PROBES, KEYS = 8, 6
LOOKED_AT = 2000  # frames from the start: comparing must not cost a pass over hours
AT_A_TIME = 16
Read = Callable[[Path, Listing, Sequence[int]], Iterator[Answer]]


def read_by_decord(path: Path, listing: Listing, wanted: Sequence[int]) -> Iterator[Answer]:
    """Frames by index. Arguments and answers as in :func:`~.decoding.read_in_one_pass`.

    From where decord fails, which spoils frames that are whole, the rest is read in one pass.

    Raises:
        UnreadableSource: decord does not open the file, or counts other frames than there are.
    """
    for read, answer in enumerate(_by_index(path, listing, wanted)):
        if isinstance(answer[1], str):
            yield from read_in_one_pass(path, listing, wanted[read:])
            return
        yield answer


def _by_index(path: Path, listing: Listing, wanted: Sequence[int]) -> Iterator[Answer]:
    """As decord has them, in any order."""
    import decord

    try:
        video = decord.VideoReader(str(path), num_threads=1)
    except (decord.DECORDError, RuntimeError) as fault:
        text = " ".join(str(fault).split())[:80]
        raise UnreadableSource(f"decord cannot open it ({text})") from None
    if len(video) != len(listing.pts):
        raise UnreadableSource(
            f"decord counts {len(video)} frames, {len(listing.pts)} are shown; read it with "
            "--video-reader sequential"
        )
    for start in range(0, len(wanted), AT_A_TIME):
        part = [int(number) for number in wanted[start : start + AT_A_TIME]]
        try:
            pictures = video.get_batch(part).asnumpy()
        except (decord.DECORDError, RuntimeError):
            yield from ((number, MISSING) for number in part)
        else:
            yield from zip(part, pictures, strict=True)


def may_be_right(listing: Listing) -> bool:
    """Whether decord may be trusted at all on such a file."""
    return (
        listing.container in ("mov", "mp4")
        and listing.constant_rate
        and listing.tracks == 1
        and not listing.hidden
        and not listing.decoded
    )


def agrees_and_is_quicker(path: Path, listing: Listing, seed: int = 0) -> bool:
    """Compare probes with a sequential pass, pixel by pixel, in two orders, and both times."""
    wanted = probes(listing, seed)
    truth, once = _timed(read_in_one_pass, path, listing, wanted)
    shuffled = generator(seed, "surgery/decord-order").permutation(wanted).tolist()
    try:
        found, taken = _timed(_by_index, path, listing, shuffled)
        again, _ = _timed(_by_index, path, listing, wanted)
    except UnreadableSource:
        return False
    return taken < once and all(
        _equal(truth[place], found[place]) and _equal(truth[place], again[place])
        for place in wanted
    )


def probes(listing: Listing, seed: int) -> list[int]:
    """Places where decord goes wrong if anywhere: around key frames, and some drawn at random.

    The frames shown just before a key frame but coded behind it (an open group of pictures) are
    those that a decoder entering there gets wrong.
    """
    count = min(len(listing.pts), LOOKED_AT)
    rng = generator(seed, "surgery/decord", count)
    keys = listing.keys[(listing.keys > 0) & (listing.keys < count)]
    some = rng.permutation(keys)[:KEYS]
    around = (some[:, None] + np.arange(-3, 2)).ravel()
    places = np.concatenate([rng.integers(0, count, PROBES), around])
    return [int(place) for place in np.unique(places.clip(0, count - 1))]


def _timed(
    read: Read, path: Path, listing: Listing, wanted: list[int]
) -> tuple[dict[int, object], float]:
    began = time.perf_counter()
    found: dict[int, object] = dict(read(path, listing, wanted))
    return found, time.perf_counter() - began


def _equal(one: object, other: object) -> bool:
    return (
        isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.array_equal(one, other)
    )
