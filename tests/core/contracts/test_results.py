"""What a head says of a sample: one class, several, none that is certain, or nothing."""

import numpy as np

from histoscope.core.contracts import Answer, Task

SCORES = np.array([[0.9, 0.1], [0.3, 0.7], [0.45, 0.55], [np.nan, np.nan]], np.float32)
CUTS = np.array([0.5, 0.7], np.float32)


def answer(*, exclusive: bool = True, least: float = 0.0) -> Answer:
    task = Task("tissue", ("fat", "gland"), exclusive)
    return Answer(task, SCORES, ["#ff0000", "#00ff00"], CUTS, least)


def test_of_exclusive_classes_the_best_holds_and_none_of_a_corrupt_sample():
    told = answer()
    assert told.kinds == ("fat", "gland")
    assert told.best().tolist() == [0, 1, 1, -1]
    assert told.chosen().tolist() == [[1, 0], [0, 1], [0, 1], [0, 0]]


def test_what_scores_low_is_uncertain_and_nothing_else():
    told = answer(least=0.65)
    assert told.kinds == ("fat", "gland", "uncertain")
    assert len(told.kind_colours) == 3
    assert told.chosen().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert told.best().tolist() == [0, 1, 1, -1]


def test_classes_that_may_hold_together_have_thresholds_of_their_own():
    told = answer(exclusive=False, least=0.65)
    assert told.kinds == ("fat", "gland")
    assert told.chosen().tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]
