"""Errors of amounts against counting by hand."""

import numpy as np
import pytest

from histoscope.core.evaluation.amounts import amount_errors
from tests.made import examples


def test_errors_of_amounts_are_counted_source_by_source():
    rng = np.random.default_rng(0)
    sources = [name for name, count in zip("abcdefghijkl", range(3, 15), strict=True)
               for _ in range(count)]  # fmt: skip
    truth = rng.integers(0, 2, len(sources)).tolist()  # of the third class none is true
    scores = rng.random((len(sources), 3)).astype(np.float32)
    amounts = {name: 0.25 * (place + 1) for place, name in enumerate("abcdefghijkl")}
    test = examples(truth, sources, classes=3)

    told = amount_errors(test, scores, amounts)
    assert told["sources"] == 12
    for place, kind in enumerate("abc"):
        errors = []
        for name in "abcdefghijkl":
            rows = [row for row, source in enumerate(sources) if source == name]
            said = sum(scores[row].argmax() == place for row in rows)
            true = sum(truth[row] == place for row in rows)
            if said or true:
                errors.append(abs(said - true) * amounts[name])
        errors.sort()
        one = told["classes"][kind]
        assert one["sources"] == len(errors)
        assert one["median"] == pytest.approx(np.median(errors))
        assert one["ninth_decile"] in [pytest.approx(error) for error in errors]
        assert sum(error <= one["ninth_decile"] + 1e-9 for error in errors) >= 0.9 * len(errors)


def test_a_class_of_no_source_has_no_error():
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    test = examples([0, 0], ["a", "b"], classes=2)
    told = amount_errors(test, scores, {"a": 1.0, "b": 1.0})
    assert told["classes"]["b"] == {"sources": 0, "median": None, "ninth_decile": None}
    assert told["classes"]["a"] == {"sources": 2, "median": 0.0, "ninth_decile": 0.0}
    assert told["labelled"] == 1.0
