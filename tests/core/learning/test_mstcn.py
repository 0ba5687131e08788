"""Learning heads over ordered samples: losses as loops, what teaches nothing, what is learnt."""

import numpy as np
import pytest
import torch

from histoscope.core.config import build
from histoscope.core.contracts import Task
from histoscope.core.data.truth import Truth
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.heads.contract import Bags
from histoscope.core.heads.dilated import logits_of
from histoscope.core.learning import FITTERS
from histoscope.core.learning.contract import Draw
from histoscope.core.learning.mstcn import (
    StagesFitter,
    at_a_pace,
    class_weights,
    loss_of,
    order_of,
    train,
    unsteadiness,
)
from histoscope.core.learning.probe import ProbeFitter
from histoscope.core.learning.spec import FinetuneSpec, ProbeSpec, StagesSpec
from tests.core.dilated_stages import BOTH, CLASSES, DIM, reach, rows_of, stages
from tests.made import examples

RNG = np.random.default_rng(0)


def drawn(features, labels, sizes, dim=DIM):
    truth = Truth(Task("made", ("a", "b", "c"), True), np.asarray(labels, np.int64))
    bags = Bags(features, np.cumsum([0, *sizes]))
    centre = features.mean(axis=0)
    return Draw(truth, ["case:a"] * len(labels), bags, dim, centre)


def fitted(draw, seed=0, **told):
    spec = StagesSpec(seed=seed, mstcn=told)
    return StagesFitter(spec).fit(draw).head


@pytest.mark.parametrize("limit", [0.3, 4.0])
def test_the_losses_are_their_formulas(limit):
    truth = np.array([0, 0, -1, 2, 1, 1, -1, -1, 0, 2])
    told = [torch.from_numpy(RNG.normal(size=(10, CLASSES)) * 3) for _ in range(2)]
    total = 0.0
    for logits in told:
        each = [[v - np.log(sum(np.exp(row))) for v in row] for row in logits.tolist()]
        known = [-each[at][kind] for at, kind in enumerate(truth) if kind >= 0]
        pairs = [at for at in range(1, 10) if truth[at] >= 0 and truth[at - 1] >= 0]
        changes = [
            min(abs(each[at][kind] - each[at - 1][kind]), limit) ** 2
            for at in pairs
            for kind in range(CLASSES)
        ]
        rough = unsteadiness(logits, torch.from_numpy(truth >= 0), limit)
        assert float(rough) == pytest.approx(sum(changes) / (len(pairs) * CLASSES), abs=1e-12)
        total += sum(known) / len(known) + 0.15 * float(rough)
    found = loss_of(told, torch.from_numpy(truth), 0.15, limit)
    assert float(found) == pytest.approx(total, abs=1e-12)


def test_rare_classes_weigh_more_by_median_frequency():
    labels = np.array([0] * 6 + [1] * 2 + [-1] * 3 + [3] * 4)
    weights = class_weights(labels, 4)
    assert weights.tolist() == pytest.approx([4 / 6, 4 / 2, 0, 4 / 4])
    logits = torch.from_numpy(RNG.normal(size=(len(labels), 4)))
    found = loss_of([logits], torch.from_numpy(labels), 0, 4.0, weights.double())
    told = [
        (float(weights[label]), np.log(np.exp(row).sum()) - row[label])
        for row, label in zip(logits.numpy(), labels, strict=True)
        if label >= 0
    ]
    wanted = sum(weight * lost for weight, lost in told) / sum(weight for weight, _ in told)
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_the_earlier_of_two_samples_has_no_gradient_and_lone_labels_no_unsteadiness():
    logits = torch.tensor([[1.0, 0, 0], [0, 1, 0]], requires_grad=True)
    unsteadiness(logits, torch.tensor([True, True]), 4.0).backward()
    assert logits.grad[0].abs().max() == 0
    assert logits.grad[1].abs().max() > 0
    assert unsteadiness(logits, torch.tensor([True, False]), 4.0).item() == 0
    assert unsteadiness(logits[:1], torch.tensor([True]), 4.0).item() == 0


@BOTH
def test_what_is_unknown_teaches_nothing(causal):
    """Samples without a label, beyond what an answer reads, may be anything at all."""
    rows, labels = rows_of(60), RNG.integers(0, CLASSES, 60)
    labels[20:45] = -1
    before, after = reach(1, 2, causal)
    other = rows.copy()
    other[20 + after : 45 - before] = 100
    told = {"stages": 1, "layers": 2, "maps": 8, "steps": 12, "causal": causal, "stretch": 1}
    draw = drawn(rows, labels, [60])
    same = Draw(draw.truth, draw.units, Bags.of_one(other), DIM, draw.centre)
    one, two = fitted(draw, **told), fitted(same, **told)
    for name, values in one.tensors().items():
        assert np.array_equal(values, two.tensors()[name])
    known = np.flatnonzero(labels >= 0)
    assert np.array_equal(one.logits(rows)[known], two.logits(other)[known])
    within = rows.copy()
    within[20 + after] = within[44 - before] = 100  # the last that is not read, the first that is
    within[19 + after if after else 45 - before] = 100
    seen = fitted(Draw(draw.truth, draw.units, Bags.of_one(within), DIM, draw.centre), **told)
    assert not np.array_equal(seen.stages["stages.0.in.weight"], one.stages["stages.0.in.weight"])


def test_a_stretch_without_any_label_teaches_nothing():
    rows, labels = rows_of(60), RNG.integers(0, CLASSES, 60)
    labels[25:] = -1
    told, draw = {"layers": 3, "maps": 8, "steps": 6}, drawn(rows, labels, [25, 35])
    alone = Draw(
        Truth(draw.truth.task, labels[:25]),
        ["case:a"] * 25,
        Bags.of_one(rows[:25]),
        DIM,
        draw.centre,
    )
    for name, values in fitted(draw, **told).tensors().items():
        assert np.array_equal(values, fitted(alone, **told).tensors()[name])


def test_the_same_labels_give_the_same_bits_and_another_seed_others():
    draw = drawn(rows_of(60), RNG.integers(0, CLASSES, 60), [25, 35])
    told = {"layers": 3, "maps": 8, "steps": 20}
    before = torch.get_rng_state()
    one, same, other = (fitted(draw, seed, **told) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for name, values in one.tensors().items():
        assert np.array_equal(values, same.tensors()[name])
    assert not np.array_equal(one.stages["stages.1.out.bias"], other.stages["stages.1.out.bias"])


def test_sources_are_taken_in_turn():
    order = order_of(4, 10, 0)
    assert sorted(order[:4]) == sorted(order[4:8]) == [0, 1, 2, 3]
    assert len(order) == 10


@pytest.mark.parametrize("stretch", [1, 1.6, 3])
def test_a_source_is_seen_at_many_paces_in_order_and_as_a_whole(stretch):
    draw, labels = np.random.default_rng(0), np.zeros(60, np.int64)
    counts = []
    for _ in range(200):
        seen = at_a_pace(labels, stretch, draw)
        steps, pace = np.diff(seen), 60 / len(seen)
        assert steps.min() >= 0
        assert seen[0] <= pace
        assert 59 - seen[-1] <= pace
        assert np.all(np.abs(steps - pace) < 1.1)  # evenly, but for the rounding to rows
        counts.append(len(seen))
    assert min(counts) >= round(60 / stretch)
    assert max(counts) <= round(60 * stretch)
    if stretch == 1:
        assert seen.tolist() == [*range(60)]
    else:
        assert np.median(np.log(counts)) == pytest.approx(np.log(60), abs=0.2 * np.log(stretch))
        assert (min(counts), max(counts)) != (60, 60)


def test_no_pace_leaves_out_every_label():
    labels = np.full(60, -1)
    labels[31] = 2
    several = np.full((60, 2), -1)
    several[31, 1] = 0
    for told in (labels, several):
        for seed in range(30):
            assert 31 in at_a_pace(told, 3, np.random.default_rng(seed))


def test_paces_that_no_source_has_are_learnt_from_those_that_sources_have():
    features, labels, sizes = told_by_what_was_before(12, 1)
    test, truth, lengths = told_by_what_was_before(12, 2)
    starts = np.cumsum([0, *lengths])
    slow = np.repeat(np.arange(len(test)), 2)  # all last twice as long
    told = {"layers": 6, "maps": 32, "steps": 400, "causal": False}
    right = [
        recall(
            fitted(drawn(features, labels, sizes), stretch=stretch, **told).probabilities(
                Bags(test[slow], 2 * starts)
            ),
            truth[slow],
        ).mean()
        for stretch in (1, 2)
    ]
    assert right[1] > right[0]


def test_a_step_is_one_of_adam_on_a_whole_source():
    weights, told = stages(dropout=0, steps=1, stretch=1)
    start = {name: one.detach().clone() for name, one in weights.items()}
    rows, labels = rows_of(30), RNG.integers(0, CLASSES, 30)
    exact = {name: one.clone().requires_grad_() for name, one in start.items()}
    logits = logits_of(torch.from_numpy(rows), exact, causal=True)
    loss_of(logits, torch.from_numpy(labels), 0.15, 4.0).backward()
    train(weights, Bags.of_one(rows), labels, told, 0)
    for name, one in weights.items():
        gradient = exact[name].grad
        wanted = start[name] - told.learning_rate * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(one, wanted, atol=1e-6)


def told_by_what_was_before(count, seed):
    """Sources in which a and c look alike: a comes before an event b, whenever that is, c after."""
    rng = np.random.default_rng(seed)
    centres, rows, labels, sizes = np.eye(3, DIM)[[0, 1, 0]] * 5, [], [], []
    for _ in range(count):
        first = int(rng.choice([4, 40])) + int(rng.integers(8))
        lengths = first, int(rng.integers(4, 8)), 56 - first
        kinds = np.repeat([0, 1, 2], lengths)
        rows.append(centres[kinds] + rng.normal(size=(len(kinds), DIM)))
        labels.append(kinds)
        sizes.append(len(kinds))
    return np.concatenate(rows).astype(np.float32), np.concatenate(labels), sizes


def recall(scores, labels):
    right = scores.argmax(axis=1) == labels
    return np.array([right[labels == kind].mean() for kind in range(CLASSES)])


def by_place(labels, sizes, lengths):
    """The commonest class at each sample's place in its source, as a clock would guess."""
    votes = np.zeros((max(*sizes, *lengths), CLASSES))
    np.add.at(votes, (np.concatenate([*map(np.arange, sizes)]), labels), 1)
    return votes[np.concatenate([*map(np.arange, lengths)])]


@BOTH
def test_what_no_sample_tells_by_itself_is_told_by_those_before_it(causal):
    features, labels, sizes = told_by_what_was_before(12, 1)
    draw = drawn(features, labels, sizes)
    test, truth, lengths = told_by_what_was_before(12, 2)
    sources = Bags(test, np.cumsum([0, *lengths]))
    told = {"causal": causal, "layers": 6, "maps": 32, "steps": 400, "learning_rate": 1e-3}
    found = recall(fitted(draw, **told).probabilities(sources), truth)
    probe = ProbeFitter(ProbeSpec()).fit(drawn(features, labels, sizes)).head
    alone = recall(probe.probabilities(Bags.of_samples(test)), truth)
    assert found[[0, 2]].min() > 0.9
    assert found[1] > 0.75  # short, and its ends may be a sample early or late
    assert alone[[0, 2]].sum() < 1.2  # what it gains on one it loses on the other
    assert recall(by_place(labels, sizes, lengths), truth)[[0, 2]].mean() < 0.8  # nor is it a clock


def test_half_of_the_labels_are_enough_where_the_others_are_unknown():
    features, labels, sizes = told_by_what_was_before(12, 1)
    labels = np.where(np.random.default_rng(3).random(len(labels)) < 0.5, labels, -1)
    test, truth, lengths = told_by_what_was_before(12, 2)
    head = fitted(drawn(features, labels, sizes), layers=6, maps=32, steps=400, learning_rate=1e-3)
    found = recall(head.probabilities(Bags(test, np.cumsum([0, *lengths]))), truth)
    assert found[[0, 2]].min() > 0.9


def test_which_samples_an_answer_reads_is_said_and_kept():
    few = [examples([0, 1], ["case:a", "case:b"])]
    for causal, said in ((True, "are causal"), (False, "are not causal")):
        fitter = StagesFitter(StagesSpec(mstcn={"causal": causal, "steps": 1}))
        (line,) = fitter.warn(few)
        assert line.startswith(f"heads of made {said}, an answer reads")
        answer = fitter.fit(drawn(rows_of(9), [0, 1, 2] * 3, [9]))
        assert answer.settings == {"causal": causal}
        assert answer.uncalibrated == "9 labels are fewer than 100; scores only rank"


def test_what_it_cannot_do_is_refused():
    fitter = FITTERS.load("mstcn")(StagesSpec())
    with pytest.raises(UsageError, match="--method mstcn: answers no task of a source"):
        fitter.check(Task("grade", ("a", "b"), True, "source"))
    fitter.check(Task("tools", ("a", "b"), False))
    assert FinetuneSpec.chosen({"method": "mstcn"}) is StagesSpec
    for wrong in (
        {"layers": 0},
        {"dropout": 1},
        {"limit": 0},
        {"stretch": 0.9},
        {"stretch": 5},
        {"causual": True},
    ):
        with pytest.raises(ConfigError, match=rf"mstcn\.{next(iter(wrong))}"):
            build(FinetuneSpec, {"method": "mstcn", "mstcn": wrong}, "a")
