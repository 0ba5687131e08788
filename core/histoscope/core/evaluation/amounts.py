"""How far off a source's amount of each class is, as the minutes of an operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histoscope.core.data.examples import Examples
from histoscope.core.evaluation.units import Units


def amount_errors(
    test: Examples, probabilities: NDArray[np.float32], amounts: Mapping[str, float]
) -> dict[str, Any]:
    """Median and ninth decile over sources of the difference of said and true amounts.

    Only labelled samples are counted, on both sides, so that a source of which a part is labelled
    can be off by no more than that part. A source in which a class neither is nor was said counts
    for nothing there. The ninth decile is one that was seen: of fewer than eleven sources it is the
    largest.

    Args:
        test: what is true, of samples and exclusive classes.
        probabilities: (samples, classes) of the draw that predicts.
        amounts: how much a sample stands for, by source.

    Returns:
        ``sources``; ``labelled``, the median of what is labelled of one; and by name of each of
        ``classes`` its ``sources``, ``median`` and ``ninth_decile``, None where there is none.
    """
    sources = Units.of(test.sources)
    each = np.array([amounts[name] for name in sources.names])
    said = probabilities.argmax(axis=1)[:, None] == np.arange(len(test.task.classes))
    counted, true = (sources.sums(held) for held in (said, test.truth.holds))
    there = (counted + true) > 0  # (sources, classes)
    errors = np.abs(counted - true) * each[:, None]
    classes = {
        name: _spread(errors[there[:, place], place])
        for place, name in enumerate(test.task.classes)
    }
    labelled = float(np.median(true.sum(axis=1) * each))
    return {"sources": len(sources), "labelled": labelled, "classes": classes}


def _spread(errors: NDArray[np.float64]) -> dict[str, Any]:
    if not len(errors):
        return {"sources": 0, "median": None, "ninth_decile": None}
    return {
        "sources": len(errors),
        "median": float(np.median(errors)),
        "ninth_decile": float(np.quantile(errors, 0.9, method="higher")),
    }
