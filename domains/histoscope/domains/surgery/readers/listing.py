"""What a video holds: the presentation time of every frame that is shown, before any is decoded.

One pass over the packets, without decoding, gives the times; packets that an edit list hides are
marked by the demuxer, and frames at the start that cannot be decoded (open groups of pictures)
are found by decoding the first one. The container's own frame count is never used.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import UnreadableSource

SHARED = 0.05  # of the frames may share their time with the one before: a recorder did 4 of 318
EVEN = 0.02  # rate is constant when 99 % of intervals are this near to the median


@dataclass(frozen=True)
class Listing:
    """The frames of one video, in presentation order.

    Attributes:
        pts: presentation time stamps, int64, (frames,), not decreasing; few are equal.
        time_base: seconds a tick.
        keys: places of the key frames, increasing.
        hidden: packets that an edit list hides, or that cannot be decoded at the start.
        decoded: the times come from decoding, because packets carry none.
        container: format's name.
        codec: codec's name.
        width, height: px, as stored.
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


def open_video(path: Path) -> Any:
    """Open a container and check that it has a video stream.

    Raises:
        UnreadableSource: not a video, cut, or without a video stream.
    """
    try:
        if not path.stat().st_size:
            raise UnreadableSource("the file is empty")
        container = av.open(str(path))
    except (OSError, ValueError) as fault:  # av's errors are of either kind
        raise UnreadableSource(_why(fault)) from None
    if not container.streams.video:
        container.close()
        raise UnreadableSource("no video stream in it")
    return container


def _why(fault: BaseException) -> str:
    if isinstance(fault, FileNotFoundError):
        return "no such file"
    if isinstance(fault, av.error.InvalidDataError):
        return "not a video, or cut short (no header was found); copy it again"
    return f"cannot be opened ({getattr(fault, 'strerror', None) or type(fault).__name__})"


def list_frames(path: Path) -> Listing:
    """List a video's frames.

    Raises:
        UnreadableSource: not a video, no frame in it, or times that are missing or not unique.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        shown, keys, hidden, timeless = array("q"), array("q"), 0, False
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if packet.is_discard:
                    hidden += 1
                    continue
                if packet.pts is None:
                    timeless = True
                    continue
                if packet.is_keyframe:
                    keys.append(packet.pts)
                shown.append(packet.pts)
        except (OSError, ValueError):  # cut short: what was read counts
            pass
        about = {
            "time_base": stream.time_base,
            "container": str(container.format.name).partition(",")[0],
            "codec": stream.codec_context.name,
            "width": stream.codec_context.width,
            "height": stream.codec_context.height,
        }
    if timeless:
        return _from_decoding(path, hidden, about)
    pts = np.sort(np.frombuffer(shown, np.int64)) if shown else np.zeros(0, np.int64)
    # frames before the first key frame may need what is not there: decoding tells
    whole = len(pts) > 0 and len(keys) > 0 and min(keys) == pts[0]
    first = None if whole else _first_decoded(path)
    if first is not None:
        hidden += int((pts < first).sum())
        pts = pts[pts >= first]
    return _checked(pts, np.array(sorted(keys), np.int64), hidden, about, decoded=False)


def _from_decoding(path: Path, hidden: int, about: dict[str, Any]) -> Listing:
    """Times of the decoded frames, where packets carry none (AVI)."""
    pts, keys = array("q"), array("q")
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise UnreadableSource("frames without a time; convert it to MP4")
                pts.append(frame.pts)
                if frame.key_frame:
                    keys.append(frame.pts)
        except (av.error.FFmpegError, EOFError):
            pass
    return _checked(np.array(pts, np.int64), np.array(keys, np.int64), hidden, about, decoded=True)


def _first_decoded(path: Path) -> int | None:
    with open_video(path) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    first: int | None = frame.pts
                    return first
            except av.error.FFmpegError:
                continue
    return None


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
