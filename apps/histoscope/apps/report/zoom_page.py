"""Pages in which all of a source is seen at any scale, beside the pictures that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histoscope.apps.report.page import NO_COLOUR, as_data, safe_colour, visible, write_page
from histoscope.core.stages.zoom import ZOOMS, zoomed
from histoscope.core.work.outcome import Outcome

PAGE = "zoom.html"
MEANING = {
    "sample": "where {} is most probable",
    "source": "what counted most in the answer about {}",
}


def write_zoom_pages(directory: Path, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Write the page of each source that was written at every scale.

    Args:
        directory: what ``predict`` wrote.
        outcomes: of its sources.

    Returns:
        By id of a source its page, relative to the folder.
    """
    found, results = dict[str, str](), {one.source.id: one for one in outcomes}
    for made in zoomed(directory):
        name, known = made.source.id, results.get(made.source.id)
        if known and name == Path(name).name:
            _write(directory / ZOOMS / name / PAGE, made, known)
            found[name] = f"{ZOOMS}/{name}/{PAGE}"
    return found


def _write(path: Path, made: Outcome, known: Outcome) -> None:
    told: Mapping[str, Any] = known.more.get("suspicious") or {}
    marks = [one for one in told.get("shown", ()) if one.get("place")]
    colours = {
        kind["name"]: kind["colour"]
        for answer in (*known.more.get("answers", ()), *known.more.get("of_source", ()))
        if answer["task"] == told.get("task")
        for kind in answer["classes"]
    }
    data = {
        **made.more["zoom"],
        "colour": safe_colour(colours.get(told.get("class"), NO_COLOUR)),
        "marks": [
            {
                "rank": one["rank"],
                **dict(zip(("x", "y", "width", "height"), one["place"], strict=True)),
            }
            for one in marks
        ],
    }
    write_page(
        path,
        "zoom.html.j2",
        "zoom.css",
        "zoom.js",
        beside=True,
        name=visible(known.source.path),
        meaning=MEANING[told.get("level", "sample")].format(told.get("class", "")),
        marks=marks,
        back="../../report.html",
        data=as_data(data),
    )
