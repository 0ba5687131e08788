"""decord (the maintained fork ``decord2``, same import): by index, and wrong on some files.

It lies on edit lists, transport streams, AVI and open groups of pictures, and where it is right it
is no quicker than one pass or seeking (decision 0007): it is taken only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.readers.decoding import MISSING, Answer, read_in_one_pass
from histoscope.domains.surgery.readers.listing import Listing

AT_A_TIME = 16


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
