"""Heads over ordered samples where several classes may hold: formulas, what is unknown, answers."""

import numpy as np
import pytest
import torch

from histoscope.core.contracts import Task
from histoscope.core.data.truth import Truth
from histoscope.core.heads.contract import NEVER, Bags
from histoscope.core.heads.dilated import logits_of
from histoscope.core.heads.mstcn import StagesHead
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.mstcn import StagesFitter, class_weights, loss_of, unsteadiness
from histoscope.core.learning.probe import ProbeFitter
from histoscope.core.learning.spec import ProbeSpec, StagesSpec
from tests.core.dilated_stages import BOTH, DIM, reach, rows_of, stage_by_hand, stages
from tests.made import examples

CLASSES = 3
RNG = np.random.default_rng(1)
TASK = Task("made", ("a", "b", "c"), False)
FEW = {"layers": 3, "maps": 8, "steps": 12}


def labels_of(count, seed=0):
    """1, 0 and -1 (unknown)."""
    return np.random.default_rng(seed).integers(-1, 2, (count, CLASSES))


def drawn(features, labels, sizes, cases=None):
    task = Task("made", tuple("abcdef"[: labels.shape[1]]), False)
    bags = Bags(features, np.cumsum([0, *sizes]))
    units = np.repeat([f"case:{one}" for one in cases or ["a"] * len(sizes)], sizes)
    centre = np.zeros(features.shape[1], np.float32)
    return Draw(Truth(task, labels), units.tolist(), bags, features.shape[1], centre)


def fitted(draw, seed=0, **told):
    return StagesFitter(StagesSpec(seed=seed, mstcn={**FEW, **told})).fit(draw)


def head_of(causal, thresholds=None, **told):
    kept = {name: one.detach().numpy() for name, one in stages(**told)[0].items()}
    return StagesHead(np.zeros(DIM, np.float32), kept, causal, False, thresholds)


@BOTH
def test_each_stage_reads_the_sigmoids_of_the_one_before(causal):
    weights, _ = stages(stages=3, layers=2)
    exact = {name: one.detach().double() for name, one in weights.items()}
    rows = rows_of(14).astype(np.float64)
    found = logits_of(torch.from_numpy(rows), exact, causal, exclusive=False)
    seen = rows.tolist()
    for stage, told in enumerate(found):
        own = {n.split(".", 2)[2]: one for n, one in exact.items() if n.split(".")[1] == str(stage)}
        wanted = np.array(stage_by_hand(seen, own, causal))
        assert np.allclose(told.numpy(), wanted, atol=1e-12)
        seen = (1 / (1 + np.exp(-wanted))).tolist()


@BOTH
def test_probabilities_are_sigmoids(causal):
    head, rows = head_of(causal), 3 * rows_of(20)
    wanted = 1 / (1 + np.exp(-head.logits(rows).astype(np.float64)))
    found = head.probabilities(Bags(rows, np.array([0, 20])))
    assert np.allclose(found, wanted, atol=1e-6)
    assert not np.allclose(found.sum(axis=1), 1, atol=0.01)


def sides(logit):
    """Log probabilities of absent and of present."""
    return [-np.log1p(np.exp(logit)), -np.log1p(np.exp(-logit))]


def rough_by_hand(logits, truth, limit):
    changes = []
    for before, after, one, two in zip(logits[:-1], logits[1:], truth[:-1], truth[1:], strict=True):
        for kind in range(CLASSES):
            if one[kind] >= 0 and two[kind] >= 0:
                pairs = zip(sides(after[kind]), sides(before[kind]), strict=True)
                changes += [min(abs(now - then), limit) ** 2 for now, then in pairs]
    return sum(changes) / len(changes)


@pytest.mark.parametrize("limit", [0.3, 4.0])
@pytest.mark.parametrize("balanced", [True, False])
def test_the_losses_are_their_formulas(limit, balanced):
    truth = labels_of(12)
    weights = class_weights(truth, CLASSES).double() if balanced else None
    told = [torch.from_numpy(RNG.normal(size=(12, CLASSES)) * 3) for _ in range(2)]
    total = 0.0
    for logits in told:
        rows = logits.tolist()
        lost, weighed = 0.0, 0.0
        for row, known in zip(rows, truth.tolist(), strict=True):
            for kind, label in enumerate(known):
                if label >= 0:
                    weight = float(weights[kind, label]) if balanced else 1.0
                    lost -= weight * sides(row[kind])[label]
                    weighed += weight
        rough = unsteadiness(logits, torch.from_numpy(truth >= 0), limit)
        assert float(rough) == pytest.approx(rough_by_hand(rows, truth, limit), abs=1e-12)
        total += lost / weighed + 0.15 * float(rough)
    found = loss_of(told, torch.from_numpy(truth), 0.15, limit, weights)
    assert float(found) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("balanced", [True, False])
def test_one_class_alone_is_two_that_exclude_each_other(balanced):
    truth = labels_of(15)[:, :1]
    logits = torch.from_numpy(RNG.normal(size=(15, 1)) * 2)
    two = torch.cat([torch.zeros(15, 1).double(), logits], dim=1)
    told = [(logits, truth, 1), (two, truth[:, 0], 2)]
    one, other = (
        loss_of(
            [scores],
            torch.from_numpy(labels),
            0.15,
            1.0,
            class_weights(labels, count).double() if balanced else None,
        )
        for scores, labels, count in told
    )
    assert float(one) == pytest.approx(float(other), abs=1e-12)


def test_absent_and_present_weigh_the_same_in_all():
    labels = np.full((20, 3), -1)
    labels[:8, 0], labels[8:10, 0] = 0, 1
    labels[:, 1] = 1
    weights = class_weights(labels, 3).tolist()
    assert weights[0] == pytest.approx([5 / 8, 5 / 2])
    assert weights[1:] == [[0, 1], [0, 0]]


def test_what_is_said_of_an_unknown_entry_changes_no_loss_and_has_no_gradient():
    truth = labels_of(12, 2)
    for weights in (None, class_weights(truth, CLASSES)):
        losses = []
        for seed in range(2):
            logits = torch.from_numpy(RNG.normal(size=(12, CLASSES)).astype(np.float32))
            if seed:
                logits[truth >= 0] = losses[0][1].detach()[truth >= 0]
            logits.requires_grad_()
            loss = loss_of([logits], torch.from_numpy(truth), 0.15, 4.0, weights)
            loss.backward()
            losses.append((loss, logits))
            assert not logits.grad[truth < 0].any()
            assert logits.grad[truth >= 0].all()
        assert torch.equal(losses[0][0], losses[1][0])


@BOTH
def test_samples_without_labels_teach_nothing_beyond_what_an_answer_reads(causal):
    rows, labels = rows_of(60), RNG.integers(0, 2, (60, CLASSES))
    labels[20:45] = -1
    before, after = reach(1, 2, causal)
    other = rows.copy()
    other[20 + after : 45 - before] = 100
    told = {"stages": 1, "layers": 2, "causal": causal, "stretch": 1}
    one, two = (fitted(drawn(its, labels, [60]), **told).head for its in (rows, other))
    for name, values in one.tensors().items():
        assert np.array_equal(values, two.tensors()[name])
    other[19 + after if after else 45 - before] = 100  # the first that is read
    seen = fitted(drawn(other, labels, [60]), **told).head
    assert not np.array_equal(seen.stages["stages.0.in.weight"], one.stages["stages.0.in.weight"])


def test_a_source_without_any_label_teaches_nothing():
    rows, labels = rows_of(60), labels_of(60)
    labels[25:] = -1
    both = fitted(drawn(rows, labels, [25, 35])).head
    alone = fitted(drawn(rows[:25], labels[:25], [25])).head
    for name, values in both.tensors().items():
        assert np.array_equal(values, alone.tensors()[name])


def test_the_same_labels_give_the_same_bits_and_another_seed_others():
    draw = drawn(rows_of(75), labels_of(75), [25] * 3, "abc")
    before = torch.get_rng_state()
    one, same, other = (fitted(draw, seed, balanced=True) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert "held_out" in one.settings
    assert np.array_equal(one.head.cut, same.head.cut)
    for name, values in one.head.tensors().items():
        assert np.array_equal(values, same.head.tensors()[name])
    last = "stages.1.out.bias"
    assert not np.array_equal(one.head.stages[last], other.head.stages[last])


@pytest.mark.parametrize("at", [0, 7, 39])
def test_no_answer_of_a_causal_head_knows_what_comes_after_it(at):
    rows = rows_of(40)
    later = rows.copy()
    later[at + 1 :] = 50 * rows_of(39 - at, 1)
    for causal in (True, False):
        head = fitted(drawn(rows, labels_of(40), [40]), causal=causal).head
        found, other = (head.probabilities(Bags.of_one(one)) for one in (rows, later))
        same = np.array_equal(found[: at + 1], other[: at + 1])
        assert same == (causal or at == 39)
        assert at == 39 or not np.array_equal(found[at + 1 :], other[at + 1 :])


def test_a_class_without_labels_is_never_said_to_be_present():
    labels = labels_of(75)
    labels[:, 1] = -1
    answer = fitted(drawn(rows_of(75), labels, [25] * 3, "abc"), steps=60)
    assert answer.head.cut[1] == NEVER
    assert (answer.head.cut[[0, 2]] < NEVER).all()
    rows = 1000 * rows_of(300, 3)
    found = answer.head.probabilities(Bags.of_one(rows))
    assert (found[:, 1] == 0.5).all()
    assert len(np.unique(found[:, 0])) > 2
    held = found >= answer.head.cut
    assert held.any(axis=0).tolist()[1] is False


def test_thresholds_are_of_cases_held_out_and_half_where_there_are_none():
    rows, labels = rows_of(75), labels_of(75)
    labels[25:, 2] = -1  # known of one case only
    answer = fitted(drawn(rows, labels, [25] * 3, "abc"))
    assert answer.settings == {"causal": True, "held_out": "cases"}
    assert answer.uncalibrated == "classes may be present together; scores only rank"
    cut = answer.head.cut.tolist()
    assert cut[0] != 0.5 != cut[1]
    assert cut[2] == 0.5
    alone = fitted(drawn(rows, labels, [25] * 3))
    assert alone.settings == {"causal": True}
    assert alone.head.cut.tolist() == [0.5] * 3
    for name, values in alone.head.tensors().items():  # thresholds alone are chosen
        assert np.array_equal(values, answer.head.tensors()[name])


def test_what_is_chosen_and_what_is_not_is_said_beforehand():
    labels = labels_of(75)
    units = np.repeat(["case:a", "case:b", "case:c"], 25).tolist()
    made = StagesFitter(StagesSpec(mstcn=FEW))
    _, *said = made.warn([examples(labels, units)])
    assert said == [
        "made: thresholds are chosen on cases that are held out, for which the stages of a draw "
        "are trained 3 more times"
    ]
    labels = np.maximum(labels, 0)
    labels[:, 1] = 0
    _, *said = made.warn([examples(labels, units), examples(labels[:25], units[:25])])
    assert [line.partition(" some class")[0] for line in said] == [
        "made: thresholds are chosen on cases that are held out, for which the stages of a draw "
        "are trained 3 more times",
        "made: 2 of 2 draws have",
    ]
    labels = [*range(3)] * 40
    _, *said = made.warn([examples(labels, [f"case:{place // 6}" for place in range(120)])])
    assert said == [
        "made: temperatures are chosen on cases that are held out, for which the stages of a draw "
        "are trained 5 more times"
    ]


def told_by_what_was_before(count, seed):
    """Sources in which a holds from an event b on, which the past alone tells; c comes and goes."""
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(count):
        first = int(rng.integers(5, 55))
        kinds = np.zeros((64, 3), np.int64)
        kinds[first:, 0], kinds[first : first + 5, 1] = 1, 1
        kinds[:, 2] = np.repeat(rng.integers(0, 2, 8), 8)
        rows.append(5 * kinds * [0, 1, 1] + rng.normal(size=(64, 3)))
        labels.append(kinds)
    return np.concatenate(rows).astype(np.float32), np.concatenate(labels), [64] * count


def test_what_no_sample_tells_by_itself_is_told_by_those_before_it():
    features, labels, sizes = told_by_what_was_before(24, 1)
    draw = drawn(features, labels, sizes, [*"abc"] * 8)
    told = {"layers": 6, "maps": 24, "steps": 300, "learning_rate": 5e-3, "dropout": 0.1}
    head = fitted(draw, **told).head
    test, truth, lengths = told_by_what_was_before(10, 2)
    right = (head.probabilities(Bags(test, np.cumsum([0, *lengths]))) >= head.cut) == truth
    probe = ProbeFitter(ProbeSpec()).fit(draw).head
    alone = (probe.probabilities(Bags.of_samples(test)) >= probe.cut) == truth
    assert right.mean(axis=0).min() > 0.9
    assert alone.mean(axis=0)[0] < 0.75
    assert alone.mean(axis=0)[1:].min() > 0.9


def test_a_package_keeps_it_and_thresholds_are_of_such_classes_only():
    cut = np.array([0.2, 0.5, 1.0], np.float32)
    head, rows = head_of(True, cut), rows_of(30)
    again = StagesHead.of(head.tensors(), TASK, DIM, cut)
    assert not again.exclusive
    assert np.array_equal(again.cut, cut)
    bags = Bags.of_one(rows)
    assert np.array_equal(again.probabilities(bags), head.probabilities(bags))
    one = Task("made", ("a", "b", "c"))
    old = StagesHead.of(head.tensors(), one, DIM, None)
    assert np.allclose(old.probabilities(bags).sum(axis=1), 1, atol=1e-6)
    with pytest.raises(ValueError, match="exclusive classes have no thresholds"):
        StagesHead.of(head.tensors(), one, DIM, cut)
