"""Segments as chapters that players show: WebVTT (W3C) and SubRip."""

from __future__ import annotations

from collections.abc import Sequence

from histoscope.domains.surgery.segments import Segment

IN_VTT = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
IN_SRT = {"<": "\u2039", ">": "\u203a", "{": "(", "}": ")"}  # it has no escapes, players read tags


def as_webvtt(segments: Sequence[Segment]) -> str:
    """One cue a segment, numbered from 1."""
    cues = [
        f"{number}\n{_stamp(start, '.')} --> {_stamp(end, '.')}\n{_plain(one.kind, IN_VTT)}\n"
        for number, (one, start, end) in enumerate(_in_ms(segments), 1)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def as_subrip(segments: Sequence[Segment]) -> str:
    """The same as SubRip."""
    return "\n".join(
        f"{number}\n{_stamp(start, ',')} --> {_stamp(end, ',')}\n{_plain(one.kind, IN_SRT)}\n"
        for number, (one, start, end) in enumerate(_in_ms(segments), 1)
    )


def _in_ms(segments: Sequence[Segment]) -> list[tuple[Segment, int, int]]:
    """With start and end in whole milliseconds, of which there is one at least."""
    out = []
    for one in segments:
        start = round(one.start_s * 1000)
        out.append((one, start, max(start + 1, round(one.end_s * 1000))))
    return out


def _stamp(time_ms: int, point: str) -> str:
    """``00:12:34.567``; hours have two digits or more, as both forms ask."""
    seconds, rest = divmod(time_ms, 1000)
    hours, left = divmod(seconds, 3600)
    return f"{hours:02d}:{left // 60:02d}:{left % 60:02d}{point}{rest:03d}"


def _plain(text: str, replaced: dict[str, str]) -> str:
    """A name on one line, with nothing that a player would read as a mark."""
    one_line = " ".join(text.split()) or "?"
    return "".join(replaced.get(letter, letter) for letter in one_line)
