"""The model card: what a package is, in words, derived from ``package.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def model_card(info: Mapping[str, Any]) -> str:
    """Markdown for ``MODEL_CARD.md``."""
    encoder = info["encoder"]
    cut = [f"{name} {value}" for name, value in encoder["sampling"].items() if value is not None]
    origin = ", ".join(f"{key} {value}" for key, value in encoder["provenance"].items())
    lines = [
        f"# Model package: {', '.join(head['task'] for head in info['heads'])}",
        "",
        f"- Encoder: {encoder['architecture']} ({origin}).",
        f"- Images: {encoder['domain']}, {', '.join(cut)}.",
        "",
    ]
    for head in info["heads"]:
        lines += [*_head_lines(head), ""]
    lines += ["For research. Not a medical device; no diagnosis may rest on it.", ""]
    return "\n".join(lines)


def _head_lines(head: Mapping[str, Any]) -> list[str]:
    labels = head["labels"]
    kind = "one of" if head["exclusive"] else "any of"
    return [
        f"## {head['task']}",
        "",
        f"- Answers: {kind} {', '.join(kind['name'] for kind in head['classes'])}, of a "
        f"{head['level']}.",
        f"- Labels: {labels[0]} in the draw that predicts; {len(labels)} draws {drawn(head)}.",
        f"- Method: {head['method']}.",
        f"- Calibration: {head['calibration']['kind']} ({head['calibration'].get('reason', '')}).",
        "",
        "### How good it is known to be",
        "",
        *evaluation_lines(head["evaluation"]),
    ]


def drawn(head: Mapping[str, Any]) -> str:
    """How a head's labels were drawn."""
    if count := head.get("cases_per_class"):
        return f"of {count} cases of every class, seed {head['seed']}"
    if count := head.get("whole_cases"):
        return f"of {count} whole cases, seed {head['seed']}"
    if named := head.get("subsets"):
        return f"of named cases ({'; '.join(', '.join(one) for one in named)})"
    return f"by {head['draw_by']}, fraction {head['fraction']:g}, seed {head['seed']}"


def between(interval: Sequence[float | None]) -> str:
    """``0.700 to 0.800``, or ``unknown``."""
    low, high = interval
    return "unknown" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def evaluation_lines(evaluation: Mapping[str, Any] | None) -> list[str]:
    """The recorded evaluation as list items."""
    if evaluation is None:
        return ["No evaluation is recorded: run `histoscope evaluate PACKAGE STORE --record`."]
    lines = []
    for name in ("balanced_accuracy", "mean_average_precision", "auc"):
        metric = evaluation.get(name)
        if metric and metric["value"] is not None:
            lines.append(
                f"- {name.replace('_', ' ')}: {metric['value']:.3f} (95 % interval "
                f"{between(metric['interval'])}, over {evaluation['interval_over']}; "
                f"{evaluation['draws']} draws)"
            )
    lines += [f"- {caution}" for caution in evaluation["cautions"]]
    return lines
