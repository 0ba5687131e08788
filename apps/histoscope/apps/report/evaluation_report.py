"""``report.html`` of a folder that ``evaluate`` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histoscope.apps.report.package import package_lines, quality_of
from histoscope.apps.report.page import write_page
from histoscope.apps.report.pictures import embed_whole
from histoscope.core.files import read_json
from histoscope.core.stages.evaluate import METRICS

TAKEN_FOR = "What was taken for what"
READING = (
    "Rows are the truth, columns what was said; numbers are counts, shades are parts of a row. Of "
    "the first draw of labels"
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
    tasks = read_json(directory / "metrics.json", *METRICS)["tasks"]
    parts = [
        {
            "metrics": tasks[head["task"]],
            "quality": quality_of(tasks[head["task"]], head),
            "draws": _draws(tasks[head["task"]]),
            "picture": embed_whole(directory / f"confusion-{head['task']}.png"),
            "caption": READING
            + ("." if "folds" in tasks[head["task"]] else ", which is the one that predicts."),
        }
        for head in package_info["heads"]
        if head["task"] in tasks
    ]
    return write_page(
        directory / "report.html",
        "evaluation.html.j2",
        task=" and ".join(tasks),
        parts_of=parts,
        title=TAKEN_FOR,
        provenance=package_lines(package_info),
    )


def _draws(metrics: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Column heading to one value a draw."""
    wanted = {"balanced_accuracy": "balanced accuracy", "auc": "AUC"}
    wanted |= {"mean_average_precision": "mean average precision"}
    return {title: metrics[name]["per_draw"] for name, title in wanted.items() if name in metrics}
