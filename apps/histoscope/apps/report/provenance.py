"""Where a package comes from, as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histoscope.apps.report.quality import labels_in_words


def package_lines(package: Mapping[str, Any]) -> dict[str, str]:
    """What must be known to judge or repeat: from the body of ``package.json``."""
    encoder, head = package["encoder"], package["heads"][0]
    labels = head["labels"]
    calibration = head["calibration"]
    return {
        "Task": f"{head['task']}: {', '.join(kind['name'] for kind in head['classes'])}",
        "Encoder": encoder["architecture"],
        "Where its weights come from": in_words(encoder["provenance"]),
        "Physical scale": in_words(encoder["scale"]),
        "How samples are cut": in_words(encoder["sampling"]),
        "Method": head["method"],
        "Labels": f"{labels_in_words(labels)} in each of {len(labels)} draws by "
        f"{head['draw_by']} (fraction {head['fraction']:g}, seed {head['seed']}); the first draw "
        "predicts",
        "Calibration": ": ".join(
            str(v) for v in (calibration["kind"], calibration.get("reason")) if v
        ),
        "Package made by": f"histoscope {package['program']}",
    }


def in_words(values: Mapping[str, Any]) -> str:
    """``name value, name value``; what is not set is left out."""
    set_values = {name: value for name, value in values.items() if value is not None}
    return ", ".join(f"{name} {_word(value)}" for name, value in set_values.items()) or "none"


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
