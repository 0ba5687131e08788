"""What a video holds: the presentation time of every frame that is shown, before any is decoded.

One pass over the packets, without decoding, gives the times; packets that an edit list hides are
marked by the demuxer, and frames at the start that cannot be decoded (open groups of pictures)
are found by decoding the first one. The container's own frame count is never used.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import UnreadableSource
from histoscope.domains.surgery.readers.clock import Restart, carried_on, find_restarts
from histoscope.domains.surgery.readers.fields import LoneFields
from histoscope.domains.surgery.readers.opening import Film, open_film

SHARED = 0.05  # of the frames may share their time with the one before: a recorder did 4 of 318
EVEN = 0.02  # rate is constant when 99 % of intervals are this near to the median


@dataclass(frozen=True)
class Listing:
    """The frames of one video, in presentation order.

    Attributes:
        pts: presentation time stamps, int64, (frames,), not decreasing; few are equal. Where the
            file's clock starts anew they go on.
        time_base: seconds a tick.
        keys: places of the key frames, increasing.
        hidden: packets that an edit list hides, or that cannot be decoded at the start.
        decoded: the times come from decoding, because packets carry none.
        container: format's name.
        codec: codec's name.
        width, height: px, as stored, of the first frame.
        track: place of the stream in the file.
        tracks: how many tracks of pictures the file has.
        fields: whether fields of a frame are packets of their own.
        restarts: where the file's clock starts anew.
    """

    pts: NDArray[np.int64]
    time_base: Fraction
    keys: NDArray[np.int64]
    hidden: int
    decoded: bool
    container: str
    codec: str
    width: int
    height: int
    track: int
    tracks: int
    fields: bool
    restarts: Sequence[Restart]

    @property
    def only_in_order(self) -> str:
        """Why a frame cannot be found by its time alone, empty where it can."""
        if self.restarts:
            return f"its clock starts anew {self.how_often}"
        if self.fields:
            return "its fields are packets of their own"
        return (
            f"{self.shared} frames share a time with another and cannot be told apart by it"
            if self.shared
            else ""
        )

    @property
    def how_often(self) -> str:
        """How often its clock starts anew, in words."""
        return "once" if len(self.restarts) == 1 else f"{len(self.restarts)} times"

    @property
    def shared(self) -> int:
        """Frames that have the time of the one before."""
        return int((np.diff(self.pts) == 0).sum())

    @property
    def key_every(self) -> int:
        """Frames from key frame to key frame, the median; all when there is one."""
        gaps = np.diff(np.unique(np.r_[self.keys, len(self.pts)]))
        return max(1, int(np.median(gaps))) if len(gaps) else len(self.pts)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Presentation times from the first shown frame, (frames,)."""
        ticks = (self.pts - self.pts[0]).astype(np.float64)
        return np.asarray(ticks * self.time_base.numerator / self.time_base.denominator)

    @property
    def constant_rate(self) -> bool:
        """Whether nearly all frames last equally long."""
        steps = np.diff(self.pts)
        if len(steps) < 2:
            return True
        middle = np.median(steps)
        return bool(np.mean(np.abs(steps - middle) <= max(1, EVEN * middle)) >= 0.99)


@dataclass
class _Packets:
    """What one pass over the packets tells, without decoding.

    Attributes:
        places: packets with a time that are not hidden, (rows,); the following have these rows.
        decoded, shown: times, ticks.
        keys: whether key frames.
        hidden: packets that an edit list hides.
        timeless: whether some that are not hidden have no time.
        fields: whether some hold one field.
    """

    places: array[int]
    decoded: array[int]
    shown: array[int]
    keys: array[int]
    hidden: int = 0
    timeless: bool = False
    fields: bool = False


def list_frames(path: Path) -> Listing:
    """List a video's frames.

    Raises:
        UnreadableSource: not a video, no frame in it, or times that are missing or not unique.
    """
    with open_film(path) as film:
        found = _pass_over(film)
        context = film.stream.codec_context
        about = {
            "time_base": film.stream.time_base,
            "container": str(film.container.format.name).partition(",")[0],
            "codec": context.name,
            "width": context.width,
            "height": context.height,
            "track": film.stream.index,
            "tracks": film.tracks,
            "fields": found.fields,
        }
    shown = np.array(found.shown, np.int64)
    keys = np.array(found.keys, np.bool_)
    decoded = np.array(found.decoded, np.int64)
    rows = find_restarts(decoded, shown, keys, about["time_base"])
    about["restarts"] = [Restart(found.places[one.place], one.moved) for one in rows]
    first = _first_decoded(path)
    if first is not None:
        about |= {"width": first.width, "height": first.height}
    if found.timeless or found.fields:
        return _from_decoding(path, found.hidden, about)
    shown, early = carried_on(shown, rows)
    keys, shown, hidden = keys[~early], shown[~early], found.hidden + int(early.sum())
    pts, key_pts = np.sort(shown), np.sort(shown[keys])
    # frames before the first key frame may need what is not there: decoding tells
    whole = len(key_pts) > 0 and key_pts[0] == pts[0]
    if not whole and first is not None and first.pts is not None:
        hidden += int((pts < first.pts).sum())
        pts = pts[pts >= first.pts]
    return _checked(pts, key_pts, hidden, about, decoded=False)


def _pass_over(film: Film) -> _Packets:
    found = _Packets(array("q"), array("q"), array("q"), array("q"))
    lone = LoneFields(film.stream.codec_context)
    for place, packet in enumerate(film.packets()):
        if not packet.size:
            continue
        if packet.is_discard:
            found.hidden += 1
            continue
        found.fields = found.fields or lone.is_one(packet)
        if packet.pts is None:
            found.timeless = True
            continue
        found.places.append(place)
        found.shown.append(packet.pts)
        found.decoded.append(packet.pts if packet.dts is None else packet.dts)
        found.keys.append(packet.is_keyframe)
    return found


def _from_decoding(path: Path, hidden: int, about: dict[str, Any]) -> Listing:
    """Times of the decoded frames, where packets carry none (AVI) or are no frames (fields)."""
    pts, keys = array("q"), array("q")
    with open_film(path) as film:
        for frame in film.frames(about["restarts"]):
            if frame.pts is None:
                raise UnreadableSource("frames without a time; convert it to MP4")
            pts.append(frame.pts)
            if frame.key_frame:
                keys.append(frame.pts)
    return _checked(np.array(pts, np.int64), np.array(keys, np.int64), hidden, about, decoded=True)


def _first_decoded(path: Path) -> Any | None:
    """The first frame that can be decoded."""
    with open_film(path) as film:
        return next(iter(film.frames()), None)


def _checked(
    pts: NDArray[np.int64],
    keys: NDArray[np.int64],
    hidden: int,
    about: dict[str, Any],
    *,
    decoded: bool,
) -> Listing:
    if not len(pts):
        raise UnreadableSource("no frame of its video stream can be decoded")
    if not about["time_base"]:
        raise UnreadableSource("its frames have no time base")
    steps = np.diff(pts)
    twice = int((steps == 0).sum())
    if twice > SHARED * len(pts) or (steps < 0).any():
        raise UnreadableSource(
            f"its timestamps are broken ({twice} frames share a time with another); write them "
            "anew, for example by converting it to MP4"
        )
    places = np.unique(np.searchsorted(pts, keys[keys >= pts[0]]))
    return Listing(pts=pts, keys=places, hidden=hidden, decoded=decoded, **about)
