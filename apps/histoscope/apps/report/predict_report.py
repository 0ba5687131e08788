"""``report.html`` of a folder that ``predict`` wrote, derived from its files only."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from histoscope.apps.report.package import in_words, package_lines, quality_of
from histoscope.apps.report.page import write_page
from histoscope.apps.report.sources import bytes_for, view_source
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
    tally = {"done": 0, "empty": 0, "failed": 0} | Counter(one.status for one in outcomes)
    most = bytes_for(tally["done"])
    sources = [view_source(directory / RESULTS, outcome, most) for outcome in outcomes]
    return write_page(
        directory / "report.html",
        "predict.html.j2",
        task=" and ".join(head["task"] for head in heads),
        by_sample=[head for head in heads if head["level"] == "sample"],
        by_source=[head for head in heads if head["level"] == "source"],
        heads=[{**head, "quality": quality_of(head["evaluation"], head)} for head in heads],
        sources=sources,
        done=[source for source in sources if source["status"] == "done"],
        rest=[source for source in sources if source["status"] != "done"],
        tally=tally,
        samples=sum(outcome.samples for outcome in outcomes),
        corrupt=sum(outcome.corrupt for outcome in outcomes),
        several_roots=len({outcome.source.root for outcome in outcomes}) > 1,
        opened=tally["done"] <= OPEN_SOURCES,
        provenance={
            **package_lines(package),
            "Digest of the weights (SHA-256)": about["model"],
            "Options of predict": in_words(about["options"]),
            "Predicted by": f"histoscope {about['program']}",
        },
    )
