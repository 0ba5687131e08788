"""Truth and prediction of one video, brought to one rate and joined by frame number.

Never by row count: exports differ by a row at the end, and rates differ. What only one side has
is kept to be said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.errors import DataError, UsageError
from histoscope.domains.surgery.metrics.spread import Ints
from histoscope.domains.surgery.phase_text import PhaseRows
from histoscope.domains.surgery.timeline import EXACT_S, exact_rate
from histoscope.domains.surgery.video_files import natural_key

SHOWN = 5  # lines or names of one kind before "and N more"
SPARSE = 0.75  # of the step, from which rows are taken for those of the rate
APART = 0.9  # of the step, from which no row stands for a frame
FEW_ROWS = 10  # with fewer rows their number says nothing of how frames are numbered


def name_of(folder: Path) -> str:
    """What a file that travels calls a folder: its name, of a prediction's ``results`` its own."""
    return folder.parent.name if folder.name == "results" else folder.name


@dataclass(frozen=True)
class Rate:
    """How often a video is scored.

    Attributes:
        fps: rows a second.
        source_fps: frames a second of the video, which frame numbers count.
    """

    fps: float
    source_fps: float

    def check(self) -> None:
        """Refuse a rate above the video's. Raises UsageError."""
        if self.fps > self.source_fps:
            raise UsageError(
                f"--fps {self.fps:g} is more than the video has; frame numbers are read as "
                f"{self.source_fps:g} a second (--source-fps)"
            )

    @property
    def step(self) -> float:
        """Source frames from one scored row to the next."""
        return float(exact_rate(self.source_fps) / exact_rate(self.fps))

    def keeps(self, frames: Ints) -> NDArray[np.bool_]:
        """Which source frames belong to the rate, (rows,): the first at or after each moment.

        The same that :func:`~.timeline.moments` takes of a video of constant rate.
        """
        early = EXACT_S * self.source_fps
        moment, before = (np.floor((frames - back + early) / self.step) for back in (0, 1))
        return np.asarray(moment > before)

    def is_met_by(self, frames: Ints) -> bool:
        """Whether rows are no more than those of the rate: they say themselves which frames."""
        return len(frames) < 2 or float(np.median(np.diff(frames))) > SPARSE * self.step


@dataclass(frozen=True)
class JoinedVideo:
    """What truth and prediction both have.

    Attributes:
        name: as the truth's file is called.
        frames: source frames, ascending, (rows,).
        truth, predicted: class ids, (rows,), or values of tools, (rows, tools).
        unpredicted, unlabelled: source frames at the scored rate that only the truth, or only
            the prediction, has.
    """

    name: str
    frames: Ints
    truth: NDArray[Any]
    predicted: NDArray[Any]
    unpredicted: Ints
    unlabelled: Ints


def join_video(
    name: str, truth: PhaseRows, predicted: PhaseRows, rate: Rate, classes: Sequence[str]
) -> JoinedVideo:
    """Join one video's rows.

    Args:
        name: of the video.
        truth, predicted: as read.
        rate: at which to score.
        classes: names in the order of their ids.

    Raises:
        DataError: nothing in common, frames numbered in two ways, or rows too far apart for the
            rate.
    """
    sides = [_ids(rows, rate, classes) for rows in (truth, predicted)]
    met = [rate.is_met_by(numbers) for numbers, _ in sides]
    gridded = [(numbers[kept := rate.keeps(numbers)], said[kept]) for numbers, said in sides]
    # frames that one side has chosen count, for a varying rate puts no grid on them
    used = sides if any(met) else gridded
    shown = [one if is_met else grid for one, is_met, grid in zip(sides, met, gridded, strict=True)]
    (true_frames, _), (frames, _) = shown
    if truth.frames is not None and predicted.frames is not None:
        refuse_two_numberings(name, "predictions", predicted.frames, "truth", true_frames)
        refuse_two_numberings(name, "truth", truth.frames, "predictions", frames)
    apart = (
        f"at {rate.fps:g} fps (truth {_first(truth, rate)}; prediction {_first(predicted, rate)}); "
        "number both from 0 by source frame"
    )
    joined = join_rows(name, used[0], used[1], apart)
    _refuse_gaps(name, joined.frames, rate)
    lacking = [
        _far_from(joined.frames, numbers, rate) if any(met) and not is_met else others
        for (numbers, _), is_met, others in zip(
            gridded, met, (joined.unpredicted, joined.unlabelled), strict=True
        )
    ]
    return replace(joined, unpredicted=lacking[0], unlabelled=lacking[1])


def _far_from(common: Ints, frames: Ints, rate: Rate) -> Ints:
    """Frames of the rate that no common frame stands for."""
    gap = max(rate.step, float(np.median(np.diff(common))) if len(common) > 1 else 0.0)
    after = np.searchsorted(common, frames)
    ahead = common[after.clip(max=len(common) - 1)] - frames
    behind = frames - common[(after - 1).clip(min=0)]
    far: Ints = frames[np.minimum(np.abs(ahead), np.abs(behind)) > APART * gap]
    return far


def join_rows(
    name: str,
    truth: tuple[Ints, NDArray[Any]],
    predicted: tuple[Ints, NDArray[Any]],
    apart: str,
) -> JoinedVideo:
    """Join rows by their source frames, each once on either side.

    Args:
        name: of the video.
        truth, predicted: source frames, (rows,), and what is said of them, (rows, ...).
        apart: the message's end where they have no frame in common.

    Raises:
        DataError: nothing in common.
    """
    (true_frames, said), (frames, answered) = truth, predicted
    common, left, right = np.intersect1d(
        true_frames, frames, assume_unique=True, return_indices=True
    )
    if not len(common):
        raise DataError(f"{name}: truth and prediction have no frame in common {apart}")
    return JoinedVideo(
        name=name,
        frames=common,
        truth=said[left],
        predicted=answered[right],
        unpredicted=np.setdiff1d(true_frames, common),
        unlabelled=np.setdiff1d(frames, common),
    )


def pair_names(
    truth: Iterable[str], predicted: Iterable[str], where: str
) -> tuple[dict[str, str], list[str]]:
    """Which prediction is of which video.

    Args:
        truth, predicted: video names.
        where: the folders, for the message.

    Returns:
        The truth's name to the prediction's, in natural order, and a line for each kind of video
        that only one side has.

    Raises:
        DataError: no video in common.
    """
    by_key = {natural_key(name): name for name in predicted}
    pairs = {name: by_key.pop(natural_key(name), "") for name in sorted(truth, key=natural_key)}
    found = {name: other for name, other in pairs.items() if other}
    if not found:
        raise DataError(
            f"{where}: no video in common (truth has {_some(list(pairs))}; predictions are of "
            f"{_some(list(by_key.values()))})"
        )
    lines = []
    if len(found) < len(pairs):
        lines.append(f"not scored, no prediction: {_some([n for n in pairs if n not in found])}")
    if by_key:
        lines.append(f"not scored, no truth: {_some(list(by_key.values()))}")
    return found, lines


def row_notes(videos: Sequence[JoinedVideo]) -> Iterator[str]:
    """Say which rows one side lacks: a line a video, the rest of many in one line."""
    unpredicted = [(video, video.unpredicted) for video in videos]
    yield from _shortfalls(unpredicted, "frames", "no prediction")
    unlabelled = [(video, video.unlabelled) for video in videos]
    yield from _shortfalls(unlabelled, "predicted frames", "no truth")


def _shortfalls(missing: Sequence[tuple[JoinedVideo, Ints]], what: str, lack: str) -> Iterator[str]:
    short = [(video, frames) for video, frames in missing if len(frames)]
    for video, frames in short[:SHOWN]:
        has, rows = "has" if len(frames) == 1 else "have", len(video.frames) + len(frames)
        which = _some([str(frame) for frame in frames[:SHOWN]], len(frames))
        yield f"{video.name}: {len(frames)} of {rows} {what} {has} {lack} (source frame {which})"
    if len(short) > SHOWN:
        total = sum(len(frames) for _, frames in short[SHOWN:])
        yield f"and {len(short) - SHOWN} more videos: {total} {what} have {lack}"


def refuse_two_numberings(name: str, who: str, frames: Ints, other: str, others: Ints) -> None:
    """Refuse as many rows as the other side has that end far earlier: rows counted, not frames.

    Raises:
        DataError: joined by number, nearly all rows would be lost.
    """
    if min(len(frames), len(others)) < FEW_ROWS:
        return
    close = abs(len(frames) - len(others)) <= max(1, len(others) // 100)
    if close and 2 * frames[-1] < others[-1]:
        raise DataError(
            f"{name}: {len(frames)} rows of the {who} end at frame {frames[-1]}, {len(others)} of "
            f"the {other} at {others[-1]}; number both by source frame (multiply the first column "
            f"of the {who} by {round(others[-1] / frames[-1])})"
        )


def _ids(rows: PhaseRows, rate: Rate, classes: Sequence[str]) -> tuple[Ints, Ints]:
    """Frames and class ids, each frame once."""
    frames, first = np.unique(rows.frames_at(rate.source_fps), return_index=True)
    names, inverse = np.unique(rows.phases[first], return_inverse=True)
    ids = np.array([classes.index(name) for name in names], dtype=np.int64)
    return frames, ids[inverse] if len(ids) else frames


def _refuse_gaps(name: str, frames: Ints, rate: Rate) -> None:
    """Rows rarer than the rate says would make 10 s of rows longer than 10 s."""
    if len(frames) < 2:
        return
    step = int(np.diff(frames).min())
    if step > 1.5 * rate.source_fps / rate.fps:
        raise DataError(
            f"{name}: the rows that both have come every {step} frames, fewer than "
            f"--fps {rate.fps:g} says; if the video has more than {rate.source_fps:g} frames a "
            f"second, give --source-fps, else give --fps {rate.source_fps / step:g}"
        )


def _first(rows: PhaseRows, rate: Rate) -> str:
    return ", ".join(str(frame) for frame in rows.frames_at(rate.source_fps)[:3]) + ", ..."


def _some(names: Sequence[str], total: int | None = None) -> str:
    """The first few names, and how many more there are."""
    more = (len(names) if total is None else total) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
