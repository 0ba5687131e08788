"""The loss of each base on what a network gave, as loops; the case in which it is a simpler one."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.errors import UsageError
from histoscope.core.losses.clusters import sinkhorn
from histoscope.core.objectives.contract import Clock
from histoscope.core.objectives.dino import TeacherSpec
from histoscope.core.objectives.spec import SlowSpec
from histoscope.core.testing.objectives import BATCH, SAMPLES, STEPS, Rehearsal

HEAD = {"projector": {"hidden": 16, "out": 8}}


def cosine(a, b):
    a, b = a.tolist(), b.tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


def softmax(row):
    top = max(row)
    parts = [math.exp(x - top) for x in row]
    return [x / sum(parts) for x in parts]


def ready_of(base, steps=3, **more):
    """After a few steps, so that memories hold something."""
    ready = Rehearsal(base, {**HEAD, **more})
    for number in range(steps):
        ready.step(number)
    return ready


def loss_of(ready, step, clock=None):
    projected, rows, draws, usual = ready.begin(step)
    report = ready.objective.loss(projected, rows, draws, clock or usual)
    return report.loss.item(), projected, rows


# BYOL


def test_byol_is_its_formula():
    """Grill et al. 2020, eq. 2, both directions."""
    loss, projected, _ = loss_of(ready_of("byol"), 4)
    total = 0.0
    for one, other in (("view 0", "view 1"), ("view 1", "view 0")):
        asked, target = projected.asks[one][:, 0], projected.answers[other][:, 0]
        total += sum(2 - 2 * cosine(a, t) for a, t in zip(asked, target, strict=True)) / BATCH
    assert loss == pytest.approx(total, rel=1e-12)


def test_byol_that_keeps_nothing_follows_a_copy_of_itself():
    ready = ready_of("byol", momentum={"start": 0.0, "end": 0.0})
    projected, _, _, _ = ready.begin(4)
    objective, (views, _, _) = ready.objective, ready.batch(4)
    now = [objective.projector(objective.encoder(view)) for view in views.families["global"]]
    for place, rows in enumerate(now):
        assert torch.equal(projected.answers[f"view {place}"][:, 0], rows)


@pytest.mark.parametrize("steps", [8, 150, 100_000])
def test_a_slow_copy_forgets_within_a_tenth_of_any_run(steps):
    spec = SlowSpec()
    start = spec.kept_at(0, steps)
    assert 1 / (1 - start) <= max(1, steps / 10) + 1e-9 or start == 0.996
    assert start <= 0.996
    halfway = spec.kept_at(steps // 2, steps)
    expected = 1 - (1 - start) * (math.cos(math.pi * (steps // 2) / steps) + 1) / 2
    assert halfway == pytest.approx(expected, rel=1e-12)
    assert SlowSpec(start=0.9, end=None).kept_at(steps // 2, steps) == 0.9


# Barlow Twins


def test_barlow_twins_sees_the_whole_batch():
    """Its formula stands in test_decorrelation; scaled as asked."""
    from histoscope.core.losses.decorrelation import cross_correlation, decorrelated

    loss, projected, _ = loss_of(ready_of("barlow_twins", scale=0.1, redundancy=0.02), 4)
    views = [projected.asks[f"view {place}"][:, 0] for place in (0, 1)]
    expected = 0.1 * decorrelated(cross_correlation(*views), 0.02).item()
    assert loss == pytest.approx(expected, rel=1e-12)


# SwAV


def by_loops_swav(scores, codes, temperature):
    """Caron et al. 2020, eq. 1: each coded crop is predicted from every other crop."""
    parts = []
    for crop in range(2):
        for other in range(scores.shape[1]):
            if other == crop:
                continue
            rows = []
            for image in range(len(scores)):
                shares = softmax([x / temperature for x in scores[image, other].tolist()])
                code = codes[crop][image].tolist()
                rows.append(-sum(q * math.log(p) for q, p in zip(code, shares, strict=True)))
            parts.append(sum(rows) / len(rows))
    return sum(parts) / len(parts)


def test_swav_is_its_formula():
    loss, projected, _ = loss_of(ready_of("swav", local=2, codes={"prototypes": 12}), 4)
    scores = projected.asks["scores"].detach()
    codes = [sinkhorn(scores[:, crop], 0.05, 3) for crop in range(2)]
    assert loss == pytest.approx(by_loops_swav(scores, codes, 0.1), rel=1e-12)


def test_swav_equals_lightly():
    from lightly.loss import SwaVLoss

    loss, projected, _ = loss_of(ready_of("swav", local=2, codes={"prototypes": 12}), 4)
    crops = [*projected.asks["scores"].detach().unbind(1)]
    theirs = SwaVLoss(sinkhorn_epsilon=0.05, temperature=0.1)(crops[:2], crops[2:])
    assert loss == pytest.approx(theirs.item(), rel=1e-6)


def test_codes_are_even_over_the_queue_once_it_is_full_and_it_is_time():
    codes = {"prototypes": 12, "queue": 32, "queue_from": 0.25}
    ready = ready_of("swav", codes=codes)
    objective = ready.objective
    assert (objective.queues[0].index >= 0).all()
    loss, projected, _ = loss_of(ready, 4)
    scores = projected.asks["scores"].detach()
    earlier = [queue.features @ objective.prototypes.weight.T for queue in objective.queues]
    both = [
        sinkhorn(torch.cat([scores[:, crop], earlier[crop]]), 0.05, 3)[:BATCH].detach()
        for crop in range(2)
    ]
    assert loss == pytest.approx(by_loops_swav(scores, both, 0.1), rel=1e-12)
    alone = [sinkhorn(scores[:, crop], 0.05, 3) for crop in range(2)]
    before, _, _ = loss_of(ready, 4, Clock(1, STEPS, 0))  # neither full nor time
    assert before == pytest.approx(by_loops_swav(scores, alone, 0.1), rel=1e-12)
    assert before != pytest.approx(loss, rel=1e-6)


def test_swav_without_a_queue_is_swav_before_its_queue():
    plain, queued = (
        ready_of("swav", steps=0, codes={"prototypes": 12, "queue": rows, "queue_from": 1.0})
        for rows in (0, 32)
    )
    for step in range(4):
        assert plain.step(step) == queued.step(step)


def test_prototypes_are_of_unit_length_and_wait():
    ready = ready_of("swav", codes={"prototypes": 12, "frozen": 0.5})
    ready.begin(3)
    length = ready.objective.prototypes.weight.detach().norm(dim=1)
    assert length == pytest.approx(torch.ones(12).double(), rel=1e-9)
    (last,) = [group for group in ready.objective.groups() if group.frozen_until]
    assert last.frozen_until == 0.5
    assert not last.decay


def test_more_prototypes_than_images_that_are_assigned_are_refused():
    with pytest.raises(UsageError, match=r"codes.prototypes: 20 are more than the 16 images"):
        Rehearsal("swav", {**HEAD, "codes": {"prototypes": 20}})
    Rehearsal("swav", {**HEAD, "codes": {"prototypes": 20, "queue": 8}})
    many = {"prototypes": 12, "queue": SAMPLES}
    with pytest.raises(UsageError, match=f"codes.queue={SAMPLES // 2}"):
        Rehearsal("swav", {**HEAD, "codes": many})


# DINO


def by_loops_dino(asks, answers, centre, sharp, temperature):
    """Caron et al. 2021, eq. 3: all pairs of a large crop of the copy and another crop."""
    parts = []
    for large in range(2):
        for crop in range(asks.shape[1]):
            if crop == large:
                continue
            total = 0.0
            for image in range(len(asks)):
                told = zip(answers[image, large].tolist(), centre.tolist(), strict=True)
                target = softmax([(x - c) / sharp for x, c in told])
                shares = softmax([x / temperature for x in asks[image, crop].tolist()])
                total -= sum(t * math.log(p) for t, p in zip(target, shares, strict=True))
            parts.append(total / len(asks))
    return sum(parts) / len(parts)


def test_dino_is_its_formula():
    ready = ready_of("dino", local=2, prototypes=24)
    loss, projected, _ = loss_of(ready, 4)
    asks, answers = projected.asks["asks"].detach(), projected.answers["answers"]
    sharp = TeacherSpec().temperature_at(4 / STEPS)
    assert ready.objective.centre.abs().max() > 0
    expected = by_loops_dino(asks, answers, ready.objective.centre, sharp, 0.1)
    assert loss == pytest.approx(expected, rel=1e-12)


def test_dino_equals_lightly():
    from lightly.loss import DINOLoss

    same = {"temperature": 0.05, "last_temperature": 0.05}
    ready = ready_of("dino", local=2, prototypes=24, teacher=same)
    loss, projected, _ = loss_of(ready, 4)
    theirs = DINOLoss(24, 0.05, 0.05, 0, student_temp=0.1).double()
    theirs.center.copy_(ready.objective.centre[None, None])
    asks = [*projected.asks["asks"].detach().unbind(1)]
    answers = [*projected.answers["answers"].unbind(1)]
    assert loss == pytest.approx(theirs(answers, asks).item(), rel=1e-6)


def test_dino_without_centre_and_sharpening_is_a_plain_cross_entropy():
    same = {"temperature": 0.1, "last_temperature": 0.1, "centre": 0.0}
    ready = ready_of("dino", steps=0, prototypes=24, teacher=same)
    loss, projected, _ = loss_of(ready, 0)  # the centre is still 0
    asks, answers = projected.asks["asks"].detach(), projected.answers["answers"]
    shares, targets = (asks / 0.1).log_softmax(-1), (answers / 0.1).softmax(-1)
    pairs = [-(targets[:, a] * shares[:, b]).sum(-1).mean() for a, b in ((0, 1), (1, 0))]
    assert loss == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-12)


def test_the_centre_moves_after_the_step_by_eq_4():
    ready = ready_of("dino", prototypes=24)
    before = ready.objective.centre.clone()
    projected, rows, _, clock = ready.begin(3)
    assert torch.equal(ready.objective.centre, before)
    ready.objective.after_step(projected, rows, clock)
    mean = projected.answers["answers"].reshape(-1, 24).mean(0)
    expected = (0.9 * before + 0.1 * mean).tolist()
    assert ready.objective.centre.tolist() == pytest.approx(expected, rel=1e-12)


def test_targets_become_softer_over_a_share_of_the_run():
    spec = TeacherSpec()
    found = [spec.temperature_at(share) for share in (0, 0.15, 0.3, 1)]
    assert found == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert spec.model_copy(update={"warmup": 0.0}).temperature_at(0) == 0.07


def test_what_is_saved_is_the_slow_copy():
    for base in ("dino", "msf", "cmsf"):
        objective = Rehearsal(base, HEAD).objective
        assert objective.published is objective.slow[0]


# MSF


def by_loops_msf(asked, target, index, memory, of_memory, count):
    """Koohpayegani et al. 2021, eq. 1: the own target, and the nearest that are of other images."""
    columns = [*target, *memory]
    whose = [*index.tolist(), *of_memory.tolist()]
    total = 0.0
    for row in range(len(asked)):
        others = [
            (cosine(target[row], columns[at]), at)
            for at in range(len(columns))
            if at != row and whose[at] not in (-1, int(index[row]))
        ]
        nearest = [row, *(at for _, at in sorted(others, reverse=True)[: count - 1])]
        total += sum(2 - 2 * cosine(asked[row], columns[at]) for at in nearest) / len(nearest)
    return total / len(asked)


@pytest.mark.parametrize("count", [1, 3])
def test_msf_is_its_formula(count):
    ready = ready_of("msf", neighbours={"rows": 40, "count": count, "alone": 0.0})
    memory = copy.deepcopy(ready.objective.memory)
    assert (memory.index >= 0).any()
    loss, projected, rows = loss_of(ready, 4)
    asked, target = projected.asks["asked"][:, 0].detach(), projected.answers["target"][:, 0]
    told = (asked, target, rows.index, memory.features, memory.index, count)
    assert loss == pytest.approx(by_loops_msf(*told), rel=1e-12)


def test_msf_with_one_neighbour_is_byol_in_one_direction():
    loss, projected, _ = loss_of(ready_of("msf", neighbours={"rows": 40, "count": 1}), 4)
    asked, target = projected.asks["asked"][:, 0], projected.answers["target"][:, 0]
    one_way = 2 - 2 * (normalize(asked, dim=1) * normalize(target, dim=1)).sum(1)
    assert loss == pytest.approx(one_way.mean().item(), rel=1e-12)


def test_memories_of_the_own_image_are_no_neighbours():
    ready = ready_of("msf", neighbours={"rows": 40, "count": 56, "alone": 0.0})
    projected, rows, draws, clock = ready.begin(4)
    report = ready.objective.loss(projected, rows, draws, clock)
    free = report.shown["neighbours"].item()
    same = replace(rows, index=ready.objective.memory.index[:BATCH].clone())
    fewer = ready.objective.loss(projected, same, draws, clock).shown["neighbours"].item()
    assert fewer < free
