"""``report.html`` of a folder that ``evaluate`` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histoscope.apps.report.page import render_page
from histoscope.apps.report.pictures import embed_whole
from histoscope.apps.report.provenance import package_lines
from histoscope.apps.report.quality import quality_of
from histoscope.core.evaluation.evaluate import METRICS
from histoscope.core.files import read_json, write_bytes

# drawn by evaluate: file, title, caption
PICTURES = (
    (
        "confusion.png",
        "What was taken for what",
        "Rows are the truth, columns what the package said; numbers are samples, shades are "
        "parts of a row. Of the first draw of labels, which is the one that predicts.",
    ),
    ("curves.png", "Curves", ""),
)


def write_evaluation_report(directory: Path, package_info: Mapping[str, Any]) -> Path:
    """Write ``report.html`` from ``metrics.json`` and the pictures beside it.

    Args:
        directory: what ``evaluate`` wrote.
        package_info: the body of ``package.json``.

    Returns:
        The page's path.

    Raises:
        DataError: no ``metrics.json`` there, or of a newer program.
    """
    metrics = read_json(directory / "metrics.json", *METRICS)
    colours = {kind["name"]: kind["colour"] for kind in package_info["heads"][0]["classes"]}
    drawn = [(title, caption, embed_whole(directory / f)) for f, title, caption in PICTURES]
    page = render_page(
        "evaluation.html.j2",
        task=metrics["task"],
        metrics=metrics,
        quality=quality_of(metrics, colours),
        pictures=[picture for picture in drawn if picture[2] is not None],
        provenance=package_lines(package_info),
    )
    path = directory / "report.html"
    write_bytes(path, page)
    return path
