"""A page on which one source is labelled by stretches of time; the answer is a CSV of intervals."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histoscope.apps.report.page import as_data, safe_colour, visible, write_page
from histoscope.core.errors import UsageError
from histoscope.core.labelling.course import Doubt, Stretch
from histoscope.core.stages.review import Review

KEYS = "123456789abcdefghijklmopqrtvwxz"  # n, s, u and y do something else
CHOSEN = {
    "labels": "The stretches below are labels that were known before.",
    "answers": "The stretches below are what the model said{}; correct them.",
    "nothing": "Nothing is labelled yet.",
}


def check_keys(classes: Sequence[str]) -> None:
    """See that each class gets a key.

    Raises:
        UsageError: more classes than keys.
    """
    if len(classes) > len(KEYS):
        raise UsageError(
            f"{len(classes)} classes: the page has keys for {len(KEYS)}; give fewer with --classes"
        )


def write_review_page(path: Path, review: Review, saved_as: str, command: str) -> None:
    """Write the page: one file that loads nothing.

    Args:
        path: of the page.
        review: what it shows.
        saved_as: name of the file that it saves.
        command: what to do with that file.

    Raises:
        UsageError: as :func:`check_keys`.
    """
    names = [one.name for one in review.classes]
    check_keys(names)
    told = "\n".join([review.source.id, review.asked.task, *names])
    digest = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
    data = {
        "name": review.name,
        "column": review.asked.column,
        "classes": [
            {"name": kind.name, "key": KEYS[kind.id], "colour": safe_colour(kind.colour)}
            for kind in review.classes
        ],
        "end": _ms(review.end_s, up=True),
        "stills": [{"t": _ms(one.at_s), "src": _uri(one.data)} for one in review.stills.shown],
        "begun": _edges(review.begun, names),
        "begunBy": review.begun_by,
        "model": _model(review),
        "digest": f"histoscope-review-{digest}",
        "file": saved_as,
    }
    asked = review.asked
    write_page(
        path,
        "review.html.j2",
        "review.css",
        ("review.js", "review_drawing.js"),
        name=review.name,
        task=asked.task,
        file=saved_as,
        command=command,
        stills=stills_in_words(review),
        missing=[(clock(when), reason) for when, reason in review.stills.missing],
        begun=begun_in_words(review),
        model=asked.model is not None,
        only_ranks=asked.model.only_ranks if asked.model else "",
        data=as_data(data),
    )


def stills_in_words(review: Review) -> str:
    """How many stills there are, how far apart, and what was done to keep the page small."""
    stills = review.stills
    said = f"{len(stills.shown)} stills, one in {stills.every_s:g} s"
    if stills.lowered:
        said += f"; {stills.lowered} of lower quality, so that the page stays small"
    if stills.missing:
        said += f"; {len(stills.missing)} could not be read"
    return said


def begun_in_words(review: Review) -> str:
    """What the stretches are at first."""
    return CHOSEN[review.begun_by].format(told_least(review.asked.least_s))


def told_least(least_s: float) -> str:
    """What became of short answers, in words; empty where nothing did."""
    return f" (merged by their scores, none below {least_s:g} s)" if least_s else ""


def file_stem(name: str) -> str:
    """A name as it may stand in that of a file on any system."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:120] or "source"


def clock(at_s: float) -> str:
    """``0:12:34``, or ``0:12:34.5`` between whole seconds."""
    whole, rest = divmod(_ms(at_s), 1000)
    told = f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return told + (f".{rest:03d}".rstrip("0") if rest else "")


def _model(review: Review) -> dict[str, Any] | None:
    answers = review.answers
    if answers is None:
        return None
    return {
        "starts": [_ms(one) for one in answers.starts_s.tolist()],
        "best": answers.best.tolist(),
        "confidence": [round(100 * one) for one in answers.confidence.tolist()],
        "doubts": [_doubt(one) for one in answers.doubts],
    }


def _doubt(one: Doubt) -> dict[str, Any]:
    names = [str(visible(name)) for name in one.between]
    return {
        "start": _ms(one.start_s),
        "end": _ms(one.end_s),
        "confidence": round(one.confidence, 2),
        "between": names,
    }


def _edges(begun: Sequence[Stretch], names: Sequence[str]) -> list[dict[str, Any]]:
    """Where each stretch begins, ms, and its class; -1: no label."""
    return [
        {"t": _ms(one.start_s), "c": -1 if one.name is None else names.index(one.name)}
        for one in begun
    ]


def _ms(at_s: float, *, up: bool = False) -> int:
    """Whole milliseconds, down but for rounding: what begins with a sample holds it."""
    scaled = at_s * 1000
    return -int(-(scaled - 1e-3) // 1) if up else int((scaled + 1e-3) // 1)


def _uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
