"""Where a package comes from, as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histoscope.apps.report.quality import labels_in_words


def package_lines(package: Mapping[str, Any]) -> dict[str, str]:
    """What must be known to judge or repeat: from the body of ``package.json``."""
    encoder, heads = package["encoder"], package["heads"]
    lines = {
        "Encoder": encoder["architecture"],
        "Where its weights come from": in_words(encoder["provenance"]),
        "How samples are cut": in_words(encoder["sampling"]),
    }
    for head in heads:
        of = "" if len(heads) == 1 else f" of {head['task']}"
        lines |= {f"{name}{of}": text for name, text in _head_lines(head).items()}
    return lines | {"Package made by": f"histoscope {package['program']}"}


def _head_lines(head: Mapping[str, Any]) -> dict[str, str]:
    labels, calibration = head["labels"], head["calibration"]
    names = ", ".join(kind["name"] for kind in head["classes"])
    lines = {
        "Task": f"{head['task']}: {'one of' if head['exclusive'] else 'any of'} {names}",
        "Method": head["method"],
        "Labels": f"{labels_in_words(labels)} in each of {len(labels)} draws by "
        f"{head['draw_by']} (fraction {head['fraction']:g}, seed {head['seed']}); the first draw "
        "predicts",
        "Chosen inside that draw": in_words(head["settings"][0]) if head["settings"] else "none",
        "Calibration": ": ".join(
            str(v) for v in (calibration["kind"], calibration.get("reason")) if v
        ),
    }
    if head["thresholds"]:
        lines["Counts as present from"] = ", ".join(
            f"{kind['name']} {cut:.2g}"
            for kind, cut in zip(head["classes"], head["thresholds"][0], strict=True)
        )
    return lines


def in_words(values: Mapping[str, Any]) -> str:
    """``name value, name value``; what is not set is left out."""
    set_values = {name: value for name, value in values.items() if value is not None}
    return ", ".join(f"{name} {_word(value)}" for name, value in set_values.items()) or "none"


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
