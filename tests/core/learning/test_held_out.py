"""Cases held out of a draw of ordered samples: what is not seen, and what follows from it."""

from dataclasses import replace

import numpy as np
import pytest

from histoscope.core.contracts import Task
from histoscope.core.data.truth import Truth
from histoscope.core.heads.contract import Bags
from histoscope.core.learning import held_out
from histoscope.core.learning.calibration import best_temperature
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.held_out import (
    CaseFolds,
    bag_of_rows,
    chosen_cut,
    held_out_logits,
    part_of,
    unfitted_cut,
)
from histoscope.core.learning.mstcn import StagesFitter
from histoscope.core.learning.spec import StagesSpec

DIM = 4
FEW = {"layers": 2, "maps": 6, "steps": 8}


def draw_of(cases, exclusive=True, rows=6, seed=0, classes=3):
    """A bag of some rows for each name in ``cases``; the last row of each bag has no label."""
    rng, count = np.random.default_rng(seed), len(cases) * rows
    shape = (count,) if exclusive else (count, classes)
    labels = rng.integers(0, classes if exclusive else 2, shape)
    if exclusive:
        labels = np.arange(count) % classes
    units = [f"case:{name}" for name in cases for _ in range(rows)]
    for last in range(rows - 1, count, rows):
        labels[last], units[last] = -1, ""
    features = rng.normal(size=(count, DIM)).astype(np.float32)
    bags = Bags(features, np.arange(0, count + 1, rows))
    truth = Truth(Task("made", tuple("abcdefghijkl"[:classes]), exclusive), labels)
    return Draw(truth, units, bags, DIM, np.zeros(DIM, np.float32))


def folds_of(draw, seed=0):
    return CaseFolds.of(draw.truth, draw.units, bag_of_rows(draw.bags.starts), seed)


def fitter(**told):
    return StagesFitter(StagesSpec(mstcn={**FEW, **told}))


@pytest.mark.parametrize("exclusive", [True, False])
def test_no_case_is_in_two_folds_and_there_are_five_at_most(exclusive):
    draw = draw_of([*"abcdefgabc"], exclusive)
    folds = folds_of(draw)
    assert folds.rows.tolist() == np.flatnonzero(draw.truth.known).tolist()
    assert folds.cases.tolist() == [draw.units[row] for row in folds.rows]
    held = {name: set(folds.fold[folds.cases == name].tolist()) for name in set(folds.cases)}
    assert all(len(its) == 1 for its in held.values())
    assert set.union(*held.values()) == set(range(5))
    assert folds.count == 5
    assert folds_of(draw_of([*"abc"], exclusive)).count == 3
    assert folds_of(draw_of([*"aaa"], exclusive)).count == 1
    assert np.array_equal(folds_of(draw).fold, folds.fold)


def test_cases_that_share_a_bag_count_as_one():
    draw = draw_of([*"abcdef"])
    units = list(draw.units)
    units[6 * 2], units[6 * 5 + 1] = "case:a", "case:c"  # a and c share one, c and f another
    folds = folds_of(replace(draw, units=units))
    told = dict(zip(folds.rows.tolist(), folds.cases.tolist(), strict=True))
    for row, name in told.items():
        wanted = "a" if row // 6 in (0, 2, 5) else "abcdef"[row // 6]
        assert name == f"case:{wanted}"
    assert folds.count == 4


def test_a_class_is_spread_over_folds_with_and_without():
    draw = draw_of([*"abcdefghij"], exclusive=False)
    labels = np.zeros_like(draw.truth.values)
    labels[: 2 * 6, 0] = 1  # in two cases only
    labels[5 * 6 :, 1] = -1
    labels[:, 2] = 1
    labels[7 * 6 : 8 * 6, 2] = 0  # absent in one case only
    labels[5::6] = -1
    folds = folds_of(replace(draw, truth=Truth(draw.truth.task, labels)))
    own = folds.truth.values
    assert len(set(folds.fold[own[:, 0] == 1].tolist())) == 2
    assert folds.choosable.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("present", "choosable"), [(9, False), (10, True), (90, True), (91, False)]
)
def test_a_threshold_needs_ten_rows_on_either_side(present, choosable):
    draw = draw_of([*"abcdefghij"], exclusive=False, rows=11, classes=1)
    labels = np.full_like(draw.truth.values, -1)
    known = np.flatnonzero(draw.truth.known)
    labels[known] = 0
    order = known.reshape(10, 10).T.ravel()  # a row of each case, then another
    labels[order[:present]] = 1
    folds = folds_of(replace(draw, truth=Truth(draw.truth.task, labels)))
    assert folds.choosable.tolist() == [choosable]


def of_few_cases(seed):
    """Twelve cases, of which two or three, by chance, show each of twelve classes."""
    rng = np.random.default_rng(seed)
    draw = draw_of([*"abcdefghijkl"], exclusive=False, classes=12)
    labels = np.where(draw.truth.values >= 0, 0, -1).reshape(12, 6, 12)
    for place in range(12):
        shown = rng.permutation(12)[: 2 + place % 2]
        labels[shown, :, place] = np.minimum(1, 1 + 2 * labels[shown, :, place])
    return replace(draw, truth=Truth(draw.truth.task, labels.reshape(72, 12)))


def test_cases_are_dealt_in_another_order_where_one_would_leave_a_class_out(monkeypatch):
    draws = [of_few_cases(seed) for seed in range(40)]
    assert all(folds_of(draw).choosable.all() for draw in draws)
    monkeypatch.setattr(held_out, "SHUFFLES", 1)
    assert not all(folds_of(draw).choosable.all() for draw in draws)


def heads_of(draw, folds, learn):
    """The logits of held-out cases, and what each fold's head was learnt from."""
    parts, heads = [], []

    def watched(part):
        parts.append(part)
        heads.append(learn(part))
        return heads[-1]

    return held_out_logits(watched, draw, folds), parts, heads


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_case_that_is_held_out_is_not_seen(exclusive):
    """Other features and labels of a case change no bit of the head that is asked about it."""
    draw, learn = draw_of([*"abcdefga"], exclusive), fitter().learn
    folds = folds_of(draw)
    logits, parts, heads = heads_of(draw, folds, learn)
    assert len(parts) == folds.count == 5
    own = np.repeat([name == "a" for name in "abcdefga"], 6)
    (fold,) = set(folds.fold[own[folds.rows]].tolist())
    assert "case:a" not in parts[fold].units
    assert all("case:a" in part.units for at, part in enumerate(parts) if at != fold)
    labels, features = draw.truth.values.copy(), draw.bags.features.copy()
    for bag in (0, 7):
        labels[6 * bag : 6 * bag + 5] = labels[6 * bag : 6 * bag + 5][::-1]
    features[own] = 40
    truth = Truth(draw.truth.task, labels)
    other = replace(draw, truth=truth, bags=Bags(features, draw.bags.starts))
    assert np.array_equal(folds_of(other).fold, folds.fold)
    changed, _, seen = heads_of(other, folds, learn)
    same = [
        all(np.array_equal(one, two.tensors()[name]) for name, one in head.tensors().items())
        for head, two in zip(heads, seen, strict=True)
    ]
    assert same == [at == fold for at in range(5)]
    beside = folds.fold == fold
    beside &= ~own[folds.rows]
    assert np.array_equal(logits[beside], changed[beside])


def test_logits_are_those_of_a_head_of_the_other_cases():
    draw, learn = draw_of([*"abcab"], exclusive=False), fitter().learn
    folds = folds_of(draw)
    found = held_out_logits(learn, draw, folds)
    for name in "abc":
        bags = [at for at, its in enumerate("abcab") if its == name]
        others = np.array([at for at in range(5) if at not in bags])
        head = learn(part_of(draw, others))
        for bag in bags:
            rows = np.flatnonzero(folds.rows // 6 == bag)
            wanted = head.logits(draw.bags.features[6 * bag : 6 * bag + 6])
            assert np.array_equal(found[rows], wanted[folds.rows[rows] - 6 * bag])


def test_a_bag_without_labels_is_never_learnt_from():
    draw = draw_of([*"abcd"])
    labels = draw.truth.values.copy()
    labels[6:12] = -1
    units = ["" if 6 <= row < 12 else name for row, name in enumerate(draw.units)]
    draw = replace(draw, truth=Truth(draw.truth.task, labels), units=units)
    _, parts, _ = heads_of(draw, folds_of(draw), fitter().learn)
    assert [len(part.bags) for part in parts] == [2, 2, 2]


def test_the_threshold_has_the_best_f1_on_held_out_rows():
    draw = draw_of([*"abcdefgh"], exclusive=False, rows=9)
    labels = draw.truth.values.copy()
    labels[::4, 0], labels[:, 1] = -1, -1
    labels[:, 2] = np.where(labels[:, 2] >= 0, 0, -1)
    draw = replace(draw, truth=Truth(draw.truth.task, labels))
    folds = folds_of(draw)
    assert folds.choosable.tolist() == [True, False, False]
    truth = folds.truth.values
    logits = 3 * truth + np.random.default_rng(3).normal(size=truth.shape) * 2
    cut, untold = chosen_cut(folds, logits)
    assert untold == []
    assert cut.tolist()[1:] == unfitted_cut(draw.truth).tolist()[1:] == [1.0, 0.5]
    known = [(1 / (1 + np.exp(-x)), y) for x, y in zip(logits[:, 0], truth[:, 0], strict=True)]
    known = [(score, label) for score, label in known if label >= 0]

    def f1(at):
        hits = sum(label for score, label in known if score >= at)
        said = sum(score >= at for score, _ in known)
        return 2 * hits / (said + sum(label for _, label in known))

    told, untold = chosen_cut(folds, -logits)
    assert untold == [folds.truth.task.classes[0]]
    held = folds.truth.values[:, 0]
    scores = 1 / (1 + np.exp(logits[held >= 0, 0]))
    assert (scores >= told[0]).sum() == (held == 1).sum()
    best = max(f1(score) for score, _ in known)
    assert f1(float(cut[0])) == pytest.approx(best, abs=1e-12)
    assert best > f1(0.5) or cut[0] != 0.5


def rule_of_twenty(cases=20, rows=7):
    return draw_of([f"{number:02d}" for number in range(cases)], rows=rows)


def test_twenty_cases_are_calibrated_on_what_was_held_out():
    draw, made = rule_of_twenty(), fitter()
    plain, folds = made.learn(draw), folds_of(draw)
    fitted = made.fit(draw)
    assert fitted.uncalibrated is None
    wanted = best_temperature(held_out_logits(made.learn, draw, folds), folds.truth.values)
    assert fitted.settings == {"causal": True, "held_out": "cases", "temperature": wanted}
    assert wanted > 1.5  # features say nothing of labels here
    rows = draw.bags.features
    assert np.allclose(fitted.head.logits(rows), plain.logits(rows) / wanted, atol=1e-5)
    last = {"stages.1.out.weight", "stages.1.out.bias"}
    for name, values in fitted.head.tensors().items():
        same = np.array_equal(values, plain.tensors()[name])
        assert same == (name not in last)
        assert values.dtype == plain.tensors()[name].dtype


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (rule_of_twenty(19), "19 cases are fewer than 20"),
        (rule_of_twenty(rows=5), "80 labels are fewer than 100"),
        (replace(rule_of_twenty(), uncalibrated="another draw has few"), "another draw has few"),
    ],
)
def test_what_is_not_calibrated_is_trained_once_and_says_why(draw, reason, monkeypatch):
    made, parts = fitter(), []
    learn = made.learn
    monkeypatch.setattr(made, "learn", lambda part: parts.append(part) or learn(part))
    fitted = made.fit(draw)
    assert len(parts) == 1
    assert fitted.uncalibrated.startswith(reason)
    assert fitted.settings == {"causal": True}
    plain = learn(draw).tensors()
    for name, values in fitted.head.tensors().items():
        assert np.array_equal(values, plain[name])


def test_joined_cases_count_once_for_the_rule():
    draw = rule_of_twenty()
    units = list(draw.units)
    units[0] = "case:01"
    folds = folds_of(replace(draw, units=units))
    assert folds.uncalibrated == "19 cases are fewer than 20; scores only rank"


def test_a_class_that_a_fold_would_lack_is_not_calibrated():
    folds = folds_of(rule_of_twenty())
    assert folds.uncalibrated is None
    alone = replace(folds, fold=np.where(folds.truth.values == 2, 0, folds.fold))
    assert alone.uncalibrated == ("a class is in too few cases to hold them out; scores only rank")
