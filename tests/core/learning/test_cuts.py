"""Which layer a probe reads is chosen inside its draw, on cases that are held out there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from histoscope.core.encoders.contract import USUAL
from histoscope.core.heads.contract import Bags
from histoscope.core.heads.layer import LayerHead
from histoscope.core.heads.mean import MeanHead
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.probe import STRENGTHS, Probe, ProbeFitter, chosen_layer
from histoscope.core.learning.spec import ProbeSpec
from tests.made import examples, truth

CASES, EACH = 24, 6


def cases(count=CASES, each=EACH):
    """The case of each row, and its class: every other case."""
    place = np.repeat(np.arange(count), each)
    return [f"case:{one:03d}" for one in place], place % 2


def noise(rng, rows, width=8):
    return rng.normal(size=(rows, width)).astype(np.float32)


def tells(rng, labels, apart=1.5, width=8):
    """Features that tell the class."""
    rows = noise(rng, len(labels), width)
    rows[:, 0] += apart * labels
    return rows


def draw_of(parts, labels, units, level="sample", starts=None, classes=None):
    """Layers by name, side by side, as a draw of them; the centre is that of all rows."""
    rows = np.concatenate([*parts.values()], axis=1)
    ends = np.cumsum([0, *(part.shape[1] for part in parts.values())])
    layers = {name: slice(*ends[at : at + 2]) for at, name in enumerate(parts)}
    bags = Bags.of_samples(rows) if starts is None else Bags(rows, starts)
    told = truth(labels, classes, level)
    return Draw(told, units, bags, rows.shape[1], rows.mean(axis=0), "few", layers)


def fitted(draw, **more):
    return ProbeFitter(ProbeSpec(cut="choose", **more)).fit(draw)


@pytest.mark.parametrize("scaling", ["unit", "standard"])
@pytest.mark.parametrize("where", ["first", USUAL, "head.1"])
def test_the_layer_that_tells_the_class_is_chosen(where, scaling):
    rng, (units, labels) = np.random.default_rng(0), cases()
    parts = {name: noise(rng, len(labels)) for name in ("first", "second", USUAL, "head.1")}
    parts[where] = tells(rng, labels)
    draw = draw_of(parts, labels, units)
    draw = draw if scaling == "unit" else replace(draw, centre=None)
    found = fitted(draw, scaling=scaling)
    assert found.settings["cut"] == where
    assert found.settings["held_out"] == "cases"
    place = draw.layers[where]
    assert (found.head.start, found.head.stop) == (place.start, place.stop)


def test_the_head_is_todays_probe_of_that_layer_bit_for_bit():
    rng, (units, labels) = np.random.default_rng(1), cases()
    parts = {"first": tells(rng, labels), USUAL: noise(rng, len(labels), 5)}
    draw = replace(draw_of(parts, labels, units), uncalibrated=None)
    found = fitted(draw)
    centre = parts["first"].mean(axis=0)
    alone = Draw(draw.truth, units, Bags.of_samples(parts["first"]), 8, centre)
    usual = ProbeFitter(ProbeSpec()).fit(alone)
    assert found.settings == {"cut": "first", **usual.settings}
    assert "temperature" in found.settings
    assert found.uncalibrated is usual.uncalibrated is None
    ours, theirs = found.head.inner.tensors(), usual.head.tensors()
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_the_loss_that_decides_is_that_of_held_out_cases():
    """A layer that knows each case by heart, and nothing of others, is not taken."""
    rng, (units, labels) = np.random.default_rng(2), cases()
    by_heart = np.eye(CASES, dtype=np.float32)[np.repeat(np.arange(CASES), EACH)]
    parts = {"by heart": 3 * by_heart, USUAL: tells(rng, labels, apart=1.0)}
    draw = draw_of(parts, labels, units)
    assert fitted(draw).settings["cut"] == USUAL
    each = [f"sample:{place}" for place in range(len(labels))]
    leaks = replace(draw, units=each)
    assert fitted(leaks).settings["cut"] == "by heart"


def test_the_chosen_loss_is_the_smallest_of_all_layers_and_strengths():
    rng, (units, labels) = np.random.default_rng(3), cases()
    parts = {str(at): tells(rng, labels, apart=at / 4) for at in range(4)}
    draw = draw_of(parts, labels, units)
    losses = {}
    for name, rows in parts.items():
        for strength in STRENGTHS:
            probe = Probe(strength, rows.mean(axis=0))
            logits = probe.held_out(rows, labels, 2, units)
            right = (
                logits[np.arange(len(labels)), labels] - logits[np.arange(len(labels)), 1 - labels]
            )
            losses[name, strength] = np.logaddexp(0, -right).mean()
    best = min(losses, key=losses.get)
    found = fitted(draw).settings
    assert (found["cut"], found["strength"]) == best


def test_of_equal_layers_the_later_is_taken():
    rng, (units, labels) = np.random.default_rng(4), cases()
    rows = tells(rng, labels)
    draw = draw_of({"first": rows, USUAL: rows, "head.1": rows}, labels, units)
    assert fitted(draw).settings["cut"] == "head.1"


def test_where_nothing_can_be_held_out_it_is_the_usual_one():
    rng = np.random.default_rng(5)
    labels = np.array([0, 0, 0, 1])
    parts = {"first": tells(rng, labels, 9.0), USUAL: noise(rng, 4), "head.1": noise(rng, 4)}
    draw = draw_of(parts, labels, [f"case:{place}" for place in range(4)])
    assert fitted(draw).settings == {"cut": USUAL, "strength": 1.0}


def test_a_layer_that_stands_alone_is_not_chosen_but_taken():
    rng, (units, labels) = np.random.default_rng(6), cases()
    draw = draw_of({"head.2": noise(rng, len(labels))}, labels, units)
    found = ProbeFitter(ProbeSpec(cut="head.2")).fit(draw)
    assert found.settings["cut"] == "head.2"
    lonely = draw_of({"head.2": noise(rng, 3)}, [0, 0, 1], ["case:a", "case:b", "case:c"])
    assert chosen_layer(lonely, "cv") == "head.2"


def test_at_a_given_strength_the_layers_are_compared_at_it():
    rng, (units, labels) = np.random.default_rng(7), cases()
    parts = {"first": tells(rng, labels), USUAL: noise(rng, len(labels))}
    found = fitted(draw_of(parts, labels, units), strength=0.5)
    assert found.settings["cut"] == "first"
    assert found.settings["strength"] == 0.5


def test_classes_that_may_hold_together_choose_one_layer_for_all():
    rng, (units, first) = np.random.default_rng(8), cases()
    second = (np.repeat(np.arange(CASES), EACH) // 2) % 2
    labels = np.stack([first, second], axis=1)
    labels[:5, 0] = -1
    both = noise(rng, len(labels))
    both[:, :2] += 2 * np.stack([first, second], axis=1)
    parts = {"both": both, USUAL: tells(rng, first)}
    found = fitted(draw_of(parts, labels, units))
    assert found.settings["cut"] == "both"
    assert isinstance(found.head, LayerHead)
    assert found.head.cut.shape == (2,)


def test_sources_choose_by_the_means_of_their_samples():
    rng, (units, _) = np.random.default_rng(9), cases(CASES, 1)
    labels = np.arange(CASES) % 2
    samples = np.repeat(labels, 5)
    parts = {"first": tells(rng, samples, 2.0), USUAL: noise(rng, len(samples))}
    draw = draw_of(parts, labels, units, "source", np.arange(0, 5 * CASES + 1, 5))
    found = fitted(draw)
    assert found.settings["cut"] == "first"
    assert isinstance(found.head.inner, MeanHead)
    assert found.head.level == "source"
    scores = found.head.probabilities(draw.bags)
    assert (scores.argmax(axis=1) == labels).mean() > 0.8


def test_labels_that_mean_nothing_are_told_by_no_layer():
    """Of twelve layers, permuted over cases: new cases are told at chance, not better."""
    rng, right = np.random.default_rng(10), []
    units, _ = cases(20, 4)
    for _ in range(20):
        labels = np.repeat(rng.permutation(np.arange(40) % 2), 4)
        of_case = rng.normal(size=(40, 12, 4)).repeat(4, axis=0)
        rows = (of_case + 0.5 * rng.normal(size=of_case.shape)).astype(np.float32)
        parts = {f"layer {at}": rows[:80, at] for at in range(11)} | {USUAL: rows[:80, 11]}
        if len(np.unique(labels[:80])) < 2:
            continue
        found = fitted(draw_of(parts, labels[:80], units), strength=1.0)
        new = Bags.of_samples(rows[80:].reshape(80, -1))
        scores = found.head.probabilities(new).argmax(axis=1)
        right.append(np.mean([(scores[labels[80:] == k] == k).mean() for k in (0, 1)]))
    assert abs(np.mean(right) - 0.5) < 3 * np.std(right) / np.sqrt(len(right))
    assert np.std(right) < 0.15


def test_what_is_not_chosen_is_said():
    few = [examples([0, 0, 1], ["case:a", "case:b", "case:c"])]
    said = [
        ("strength is 1 and its cut is usual, not chosen", {"cut": "choose"}),
        ("strength is 1, not chosen", {}),
        ("cut is usual, not chosen", {"cut": "choose", "strength": 2.0}),
    ]
    for text, more in said:
        (line,) = ProbeFitter(ProbeSpec(**more)).warn(few)
        assert line.endswith(f"there the probe's {text}")
    assert ProbeFitter(ProbeSpec(strength=2.0)).warn(few) == []
