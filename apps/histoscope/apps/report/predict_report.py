"""``report.html`` of a folder that ``predict`` wrote, derived from its files only."""

from __future__ import annotations

from pathlib import Path

from histoscope.apps.report.page import render_page
from histoscope.apps.report.provenance import in_words, package_lines
from histoscope.apps.report.quality import quality_of
from histoscope.apps.report.sources import bytes_for, view_source
from histoscope.core.files import write_bytes
from histoscope.core.stages.predict import RESULTS, read_results

OPEN_SOURCES = 30  # with more, the sections of the page are closed at first


def write_predict_report(directory: Path) -> Path:
    """Write ``report.html``: the same files give the same bytes, at any time and place.

    Args:
        directory: what ``predict`` wrote, complete or not.

    Returns:
        The page's path.

    Raises:
        DataError: no results there, or of a newer program.
    """
    about, outcomes = read_results(directory)
    package = about["package"]
    heads = package["heads"]
    most = bytes_for(sum(outcome.status == "done" for outcome in outcomes))
    sources = [view_source(directory / RESULTS, outcome, most) for outcome in outcomes]
    done = [source for source in sources if source.status == "done"]
    page = render_page(
        "predict.html.j2",
        task=" and ".join(head["task"] for head in heads),
        heads=[{**head, "quality": quality_of(head["evaluation"], head)} for head in heads],
        sources=sources,
        done=done,
        rest=[source for source in sources if source.status != "done"],
        tally={
            status: sum(source.status == status for source in sources)
            for status in ("done", "empty", "failed")
        },
        samples=sum(source.samples for source in sources),
        corrupt=sum(source.corrupt for source in sources),
        several_roots=len({source.root for source in sources}) > 1,
        any_case=any(source.case for source in sources),
        opened=len(done) <= OPEN_SOURCES,
        provenance={
            **package_lines(package),
            "Digest of the weights (SHA-256)": about["model"],
            "Options of predict": in_words(about["options"]),
            "Predicted by": f"histoscope {about['program']}",
        },
    )
    path = directory / "report.html"
    write_bytes(path, page)
    return path
