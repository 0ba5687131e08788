"""What is written and drawn of one operation: answers, and features for temporal models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histoscope.core.contracts import (
    Answer,
    Artefact,
    Reader,
    Rendering,
    Results,
)
from histoscope.core.files import write_csv, write_text
from histoscope.domains.surgery.chapters import as_subrip, as_webvtt
from histoscope.domains.surgery.labels import PHASE, TOOL
from histoscope.domains.surgery.operation_reader import OperationReader
from histoscope.domains.surgery.options import PredictOptions
from histoscope.domains.surgery.segments import Segment, segments_of, write_segments
from histoscope.domains.surgery.smoothing import merged_facts, smoothed
from histoscope.domains.surgery.storyboard import draw_storyboard, longest
from histoscope.domains.surgery.timeline import clock, interval_s, lasting_s, moments
from histoscope.domains.surgery.timeline_picture import draw_timeline
from histoscope.domains.surgery.totals import low_facts, untold_facts, write_totals, write_use

_NAMED = "What the model named, moment by moment. White: not recorded, or could not be read. "


def render(
    reader: OperationReader, results: Results, options: PredictOptions, out: Path
) -> Rendering:
    """Write tables, the timeline, segments with chapters, and other groups' text forms.

    Args:
        reader: the open operation.
        results: what the package says of it.
        options: ``write`` (``cholec80`` also writes NAME-phase.txt and NAME-tool.txt) and
            ``least_segment_s``, below which no segment is left.
        out: folder of this source.
    """
    times = results.rows.column("at_s").to_numpy()
    answers = smoothed(results.answers, times, options.least_segment_s)
    results = replace(results, answers=answers)
    step, each = interval_s(times) or 1.0, lasting_s(times)
    write_csv(out / "phases.csv", by_second(results))
    draw_timeline(results, times, step, out / "timeline.png")
    artefacts = [
        Artefact(
            "timeline.png",
            "picture",
            "Timeline",
            f"{_NAMED if results.answers else ''}The last row shows frames that are black, "
            "repeated, or may show the room and not the patient.",
        ),
        *(write_totals(answer, results, each, out) for answer in results.answers),
        Artefact("phases.csv", "data", "Second by second", "Time, frame, answers and scores."),
    ]
    phases = [answer for answer in results.answers if answer.task.exclusive]
    for answer in results.answers:
        artefacts += [] if answer.task.exclusive else write_use(answer, phases, each, out)
    for ending, answer in of_each(results):
        segments = segments_of(answer, times, step)
        artefacts += write_runs(reader.name, results, answer, segments, ending, out)
        artefacts += write_storyboard(reader, results, segments, f"storyboard{ending}.jpg", out)
    if options.write == "cholec80":
        artefacts += write_cholec80(reader.name, results, out)
    told = _facts(reader, results) | low_facts(phases, each)
    told |= untold_facts([*results.answers, *results.of_source])
    return Rendering(artefacts, told | merged_facts(phases, options.least_segment_s, each))


def of_each(results: Results) -> list[tuple[str, Answer]]:
    """Answers of exclusive classes, with what hangs behind the names of their files.

    Nothing where there is one such task, else a hyphen and its name.
    """
    exclusive = [answer for answer in results.answers if answer.task.exclusive]
    several = len(exclusive) > 1
    return [(f"-{answer.task.name}" if several else "", answer) for answer in exclusive]


def write_runs(
    name: str,
    results: Results,
    answer: Answer,
    segments: Sequence[Segment],
    ending: str,
    out: Path,
) -> Sequence[Artefact]:
    """Segments to edit, and chapters for players."""
    write_segments(out / f"segments{ending}.json", results.source.id, name, answer, segments)
    write_text(out / f"chapters{ending}.vtt", as_webvtt(segments))
    write_text(out / f"chapters{ending}.srt", as_subrip(segments))
    said = {
        f"segments{ending}.json": ("Segments", "To edit, and to give back as labels."),
        f"chapters{ending}.vtt": ("Chapters", "WebVTT, for players and browsers."),
        f"chapters{ending}.srt": ("Chapters", "SubRip, for players."),
    }
    return [Artefact(file, "data", title, text) for file, (title, text) in said.items()]


def write_storyboard(
    reader: OperationReader, results: Results, segments: Sequence[Segment], file: str, out: Path
) -> Sequence[Artefact]:
    """A still where each of the longest segments begins."""
    shown = longest(segments)
    if not shown:
        return []
    frames = results.rows.column("frame").to_pylist()
    missing = draw_storyboard(reader, frames, shown, out / file)
    of = f"The {len(shown)} longest of {len(segments)}" if len(shown) < len(segments) else "All"
    said = f"{of} segments in order of time: the first frame of each, when it begins, how long it "
    said += "lasts, and what the model named it."
    if missing:
        said += f" {missing} could not be read again and are grey."
    return [Artefact(file, "picture", "Storyboard", said)]


def by_second(results: Results) -> pa.Table:
    """One row a second: the first frame at or after it.

    A column whose name is taken (a class of two tasks, a task called ``frame``) has its task's name
    before its own.
    """
    rows = results.rows
    times = rows.column("at_s").to_numpy()
    chosen = moments(times, 1.0)
    columns = {
        "second": pa.array(np.floor(times[chosen] + 1e-6).astype(np.int64)),
        "time": pa.array([clock(time) for time in times[chosen]], pa.string()),
        "at_s": rows.column("at_s").take(chosen),
        "frame": rows.column("frame").take(chosen),
        "status": rows.column("status").take(chosen),
        "mark": rows.column("mark").take(chosen),
    }
    bad = np.array([s != "ok" for s in columns["status"].to_pylist()], bool)
    for answer in results.answers:
        for name, values in _answer_columns(answer, chosen, bad).items():
            columns[f"{answer.task.name}:{name}" if name in columns else name] = values
    return pa.table(columns)


def _answer_columns(
    answer: Answer, chosen: NDArray[np.int64], bad: NDArray[np.bool_]
) -> dict[str, pa.Array]:
    """Answers and scores of one task at chosen rows, null where they are bad."""
    held, task = answer.chosen()[chosen], answer.task
    if task.exclusive:
        names = np.array(answer.kinds, dtype=object)[held.argmax(axis=1)]
        columns = {task.name: pa.array(names, pa.string(), mask=bad)}
        if answer.settled is not None:
            best = np.array(task.classes, dtype=object)[answer.highest()[chosen]]
            columns[f"{task.name}_by_score"] = pa.array(best, pa.string(), mask=bad)
    else:
        columns = {
            name: pa.array(held[:, place].astype(np.int64), mask=bad)
            for place, name in enumerate(task.classes)
        }
    for place, name in enumerate(task.classes):
        scores = answer.probabilities[chosen, place].astype(np.float64).round(6)
        columns[f"p_{name}"] = pa.array(scores, pa.float64(), mask=bad)
    return columns


def _readable(answer: Answer) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(answer.probabilities).any(axis=1))


def write_cholec80(name: str, results: Results, out: Path) -> Sequence[Artefact]:
    """``NAME-phase.txt`` (phase by name) and ``NAME-tool.txt`` (probabilities), one row a frame.

    Further tasks of a package have files that end in their names. These forms know no doubt: the
    best class stands there.
    """
    frames = results.rows.column("frame").to_pylist()
    artefacts = []
    for answer in results.answers:
        best, task = answer.best(), answer.task
        readable = _readable(answer)
        kind = {PHASE: "phase", TOOL: "tool"}.get(task.name, task.name)
        lines = ["Frame\tPhase" if task.exclusive else "\t".join(["Frame", *task.classes])]
        for place, frame in enumerate(frames):
            if readable[place]:
                said = (
                    [task.classes[int(best[place])]]
                    if task.exclusive
                    else [f"{p:.6f}" for p in answer.probabilities[place]]
                )
                lines.append("\t".join([str(frame), *said]))
        write_text(out / f"{name}-{kind}.txt", "\n".join(lines) + "\n")
        artefacts.append(
            Artefact(f"{name}-{kind}.txt", "data", "Cholec80 text", "As 'histoscope score' reads.")
        )
    return artefacts


def _facts(reader: Reader, results: Results) -> dict[str, str]:
    facts, marks = reader.facts, results.rows.column("mark").drop_null().to_pylist()
    status = results.rows.column("status").to_pylist()
    told = {
        "Length": clock(float(facts.get("duration_s") or 0)),
        "Frames analysed": f"{sum(one == 'ok' for one in status)} at {facts.get('fps')} a second",
        "Frames that could not be read": str(sum(one != "ok" for one in status)),
        "Picture": f"{facts.get('width_px')} x {facts.get('height_px')} px, "
        f"{facts.get('rate_hz')} frames a second",
        "Read with": ", ".join(str(facts[n]) for n in ("reader", "vendor") if facts.get(n)),
    }
    if int(facts.get("parts") or 1) > 1:
        told["Parts of the recording"] = str(facts["parts"])
    for mark in sorted(set(marks)):
        told[f"Frames marked {mark}"] = str(marks.count(mark))
    return told
