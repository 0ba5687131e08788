"""``report.html`` of a folder that ``predict`` wrote, derived from its files only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from histoscope.apps.report.beside import of_source, overview
from histoscope.apps.report.package import in_words, package_lines, quality_of
from histoscope.apps.report.page import TEMPLATES, write_page
from histoscope.apps.report.sources import PICTURES_BYTES, bytes_for, view_source
from histoscope.apps.report.suspects import doubts, known_false_calls, suspicion
from histoscope.apps.report.zoom_page import write_zoom_pages
from histoscope.core import __version__
from histoscope.core.contracts.results import UNCERTAIN, UNCERTAIN_COLOUR
from histoscope.core.errors import DataError
from histoscope.core.files import content_of, digest_of_bytes
from histoscope.core.stages.beside import set_beside
from histoscope.core.stages.predict import RESULTS, read_results
from histoscope.core.work.outcome import DONE, Outcome

HEAD_LETTERS = 2000  # of a page, in which it says what it was made of
ONE_PAGE = 30  # with more finished sources each has a page of its own


def write_predict_report(directory: Path, *, anew: bool = False) -> Path:
    """Write ``report.html``: the same files give the same bytes, at any time and place.

    Of many sources it is an index, and each that is finished has ``results/<id>/report.html``.

    Args:
        directory: what ``predict`` wrote, complete or not.
        anew: make the pages of sources also where they are of the same outcome and program.

    Returns:
        The page's path.

    Raises:
        DataError: no results there, or of a newer program.
    """
    about, outcomes = read_results(directory)
    package = about["package"]
    heads = package["heads"]
    tally = {"done": 0, "empty": 0, "failed": 0} | Counter(one.status for one in outcomes)
    paged, most = tally["done"] > ONE_PAGE, bytes_for(tally["done"])
    wrong, wanted = known_false_calls(about, heads), suspicion(about, heads)
    zooms = write_zoom_pages(directory, outcomes)
    beside = set_beside(directory, about, outcomes)
    sources = list[dict[str, Any]]()
    for outcome in outcomes:
        folder = directory / RESULTS / outcome.source.id
        if outcome.source.id != Path(outcome.source.id).name:
            raise DataError(f"{directory}: results under {outcome.source.id!r}, which is no id")
        if not (paged and outcome.status == "done"):
            (folder / "report.html").unlink(missing_ok=True)  # of an earlier outcome
        if paged and outcome.status == "done":
            its = of_source(beside, outcome.source.id)
            zoom = zooms.get(outcome.source.id)
            source = _on_its_page(directory, outcome, wrong, zoom, its, anew)
        else:
            base = f"{RESULTS}/{outcome.source.id}/"
            source = view_source(directory / RESULTS, outcome, most, wrong, base)
            source["beside"] = of_source(beside, outcome.source.id)
        sources.append({**source, "zoom": zooms.get(outcome.source.id, "")})
    if wanted:
        sources.sort(key=lambda one: -one["suspicious"]["score"] if one["suspicious"] else 1.0)
    return write_page(
        directory / "report.html",
        "predict.html.j2",
        task=" and ".join(head["task"] for head in heads),
        by_sample=[
            {**head, "kinds": _kinds(head, about)} for head in heads if head["level"] == "sample"
        ],
        by_source=[head for head in heads if head["level"] == "source"],
        heads=[{**head, "quality": quality_of(head["evaluation"], head)} for head in heads],
        sources=sources,
        done=[source for source in sources if source["status"] == "done"],
        rest=[source for source in sources if source["status"] != "done"],
        tally=tally,
        samples=sum(outcome.samples for outcome in outcomes),
        corrupt=sum(outcome.corrupt for outcome in outcomes),
        wanted=wanted,
        compared=overview(beside, sources, heads),
        several_roots=len({outcome.source.root for outcome in outcomes}) > 1,
        paged=paged,
        provenance={
            **package_lines(package),
            "Digest of the weights (SHA-256)": about["model"],
            "Options of predict": in_words(about["options"] or about["features"]),
            **_doubt(about.get("uncertain_below", 0.0)),
            "Predicted by": f"histoscope {about['program']}",
        },
    )


def _on_its_page(
    directory: Path,
    outcome: Outcome,
    wrong: Mapping[str, Mapping[str, str]],
    zoom: str | None,
    beside: Sequence[Mapping[str, Any]],
    anew: bool,
) -> dict[str, Any]:
    """Write the page of a source, unless there is one of it; what the index shows."""
    results = directory / RESULTS
    folder = results / outcome.source.id
    rows = [[one["title"], one["rows"]] for one in beside]  # they change with the other sources
    told = json.dumps([wrong, zoom, *rows], sort_keys=True).encode()
    made_of = digest_of_bytes([_program(), told, content_of(folder / DONE)])
    page = folder / "report.html"
    if anew or not _is_of(page, made_of):
        source = view_source(results, outcome, PICTURES_BYTES, wrong)
        source |= {"zoom": f"../../{zoom}" if zoom else "", "beside": beside}
        write_page(page, "source.html.j2", source=source, made_of=made_of)
    view = view_source(results, outcome, 0, wrong)
    return {**view, "page": f"{RESULTS}/{outcome.source.id}/report.html"}


def _kinds(head: Mapping[str, Any], about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Names and colours of what a head may have said of a sample."""
    unsure = [{"name": UNCERTAIN, "colour": UNCERTAIN_COLOUR}] if doubts(about, head) else []
    return [*head["classes"], *unsure]


def _doubt(least: float) -> dict[str, str]:
    return {"Uncertain below a best score of": f"{least:g}"} if least else {}


@cache
def _program() -> bytes:
    """What makes pages: this version, and its templates."""
    files = sorted(path for path in TEMPLATES.iterdir() if path.is_file())
    return b"".join([__version__.encode(), *(path.read_bytes() for path in files)])


def _is_of(page: Path, made_of: str) -> bool:
    try:
        with page.open(encoding="utf-8") as file:
            return f'content="{made_of}"' in file.read(HEAD_LETTERS)
    except (OSError, UnicodeDecodeError):
        return False
