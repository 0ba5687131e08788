"""The model card: what a package is, in words, derived from ``package.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(info: Mapping[str, Any]) -> str:
    """Markdown for ``MODEL_CARD.md``."""
    encoder, head = info["encoder"], info["heads"][0]
    scale = ", ".join(f"{name} {value:g}" for name, value in encoder["scale"].items())
    origin = ", ".join(f"{key} {value}" for key, value in encoder["provenance"].items())
    labels = head["labels"]
    lines = [
        f"# Model package: {head['task']}",
        "",
        f"- Answers: {', '.join(kind['name'] for kind in head['classes'])}.",
        f"- Encoder: {encoder['architecture']} ({origin}).",
        f"- Images: {encoder['domain']}, {scale}, {encoder['sampling']['size_px']} px.",
        f"- Labels: {labels[0]} in the draw that predicts; {len(labels)} draws by "
        f"{head['draw_by']}, fraction {head['fraction']:g}, seed {head['seed']}.",
        f"- Method: {head['method']}.",
        f"- Calibration: {head['calibration']['kind']} ({head['calibration'].get('reason', '')}).",
        "",
        "## How good it is known to be",
        "",
        *evaluation_lines(head["evaluation"]),
        "",
        "For research. Not a medical device; no diagnosis may rest on it.",
        "",
    ]
    return "\n".join(lines)


def evaluation_lines(evaluation: Mapping[str, Any] | None) -> list[str]:
    """The recorded evaluation as list items."""
    if evaluation is None:
        return ["No evaluation is recorded: run `histoscope evaluate PACKAGE STORE --record`."]
    lines = []
    for name in ("balanced_accuracy", "auc"):
        metric = evaluation.get(name)
        if metric and metric["value"] is not None:
            low, high = metric["interval"]
            lines.append(
                f"- {name.replace('_', ' ')}: {metric['value']:.3f} (95 % interval {low:.3f} to "
                f"{high:.3f}, over {evaluation['interval_over']}; {evaluation['draws']} draws)"
            )
    lines += [f"- {caution}" for caution in evaluation["cautions"]]
    return lines
