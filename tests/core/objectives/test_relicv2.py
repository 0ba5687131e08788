"""ReLICv2: all crops with the large ones, few negatives, and what both views agree on."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.config import build
from histoscope.core.errors import UsageError
from histoscope.core.losses.choices import divergence, drawn
from histoscope.core.losses.contrast import against_queue, in_batch
from histoscope.core.objectives.contract import Clock
from histoscope.core.objectives.relicv2 import TARGETS
from histoscope.core.testing.objectives import Rehearsal
from histoscope.core.views.spec import ViewsSpec

NARROW = {"projector": {"hidden": 8, "out": 4}}
FEW = {"negatives": {"kind": "sampled", "count": 4}, "consistency": {"kind": "relic", "weight": 2}}


def ready_of(steps=3, **more):
    ready = Rehearsal("relicv2", {**NARROW, **FEW, **more})
    for number in range(steps):
        ready.step(number)
    return ready


def shares(cosines, temperature):
    powers = [math.exp(cosine / temperature) for cosine in cosines]
    return [power / sum(powers) for power in powers]


def contrast(anchor, other, columns, temperature=0.3):
    """-log of the first share of ``anchor``, and KL of those of ``other`` to all of them."""
    pair = (anchor @ other).item()
    r = shares([pair, *((anchor @ column).item() for column in columns)], temperature)
    p = shares([pair, *((other @ column).item() for column in columns)], temperature)
    apart = sum(mine * math.log(mine / its) for mine, its in zip(p, r, strict=True))
    return -math.log(r[0]), apart


def chosen(held, number, count):
    """Evenly of those that repel."""
    return [held[int((part + number) * len(held) / count)] for part in range(count)]


def by_loops(projected, rows, draws, count):
    """Means over all crops, large crops and images."""
    asked = [normalize(ask.detach()[:, 0], dim=1) for ask in projected.asks.values()]
    owners, lost = rows.index.tolist(), []
    for target in projected.answers[TARGETS].unbind(1):
        for crop in asked:
            for place, own in enumerate(owners):
                held = [other for other, of in enumerate(owners) if of != own]
                few = chosen(held, draws["sampled"][place].item(), count) if count else held
                lost.append(contrast(crop[place], target[place], [target[n] for n in few]))
    return tuple(sum(part) / len(lost) for part in zip(*lost, strict=True))


@pytest.mark.parametrize(("large", "local"), [(2, 0), (3, 2)])
@pytest.mark.parametrize("twice", [False, True])
def test_it_is_its_formula(large, local, twice):
    ready = ready_of(large=large, local=local)
    projected, rows, draws, clock = ready.begin(3)
    if twice:  # an image that comes twice in a batch does not repel itself
        rows = replace(rows, index=torch.cat([rows.index[:1], rows.index[:-1]]))
    assert projected.answers[TARGETS].shape[1] == large
    assert len(projected.asks) == large + local
    report = ready.objective.loss(projected, rows, draws, clock)
    near, apart = by_loops(projected, rows, draws, 4)
    (one, plain), (weight, term) = report.terms
    assert (one, weight) == (1, 2)
    assert plain.item() == pytest.approx(near, rel=1e-12)
    assert term.item() == pytest.approx(apart, rel=1e-12)
    assert report.shown["divergence"] is term


def test_targets_are_what_the_slow_copy_says():
    ready = ready_of(local=1)
    projected, _, _, _ = ready.begin(3)
    views = ready.batch(3)[0].families["global"]
    with torch.no_grad():
        said = [normalize(ready.objective.slow(view), dim=1) for view in views]
    assert torch.allclose(projected.answers[TARGETS], torch.stack(said, 1), atol=1e-12)
    assert not projected.answers[TARGETS].requires_grad


@pytest.mark.parametrize(
    "nothing",
    [
        {"consistency": None, "negatives": None},
        {"consistency": {"kind": "relic", "weight": 0}, "negatives": None},
        {
            "consistency": {"kind": "relic", "weight": 0},
            "negatives": {"kind": "sampled", "count": 1000},
        },
    ],
)
def test_without_invariance_and_with_all_negatives_it_is_infonce_of_two_crops(nothing):
    """The same bits whatever does nothing; and by loops."""
    ready, plain = (
        ready_of(steps=0, **told) for told in (nothing, {"consistency": None, "negatives": None})
    )
    losses = [[one.step(number) for number in range(3)] for one in (ready, plain)]
    assert losses[0] == losses[1]
    its = dict(plain.objective.named_parameters())
    assert all(torch.equal(p, its[name]) for name, p in ready.objective.named_parameters())
    projected, rows, draws, clock = ready.begin(3)
    found = ready.objective.loss(projected, rows, draws, clock).loss.item()
    assert found == pytest.approx(by_loops(projected, rows, draws, 0)[0], rel=1e-12)


def test_the_choices_of_the_paper_are_its_defaults():
    spec = Rehearsal("relicv2").objective.spec
    assert (spec.temperature.value, spec.negatives.kind, spec.negatives.count) == (
        0.3,
        "sampled",
        10,
    )
    assert spec.consistency.kind == "relic"
    assert (spec.momentum.start, spec.momentum.end) == (None, 1)


def test_the_same_views_agree():
    """A slow copy that is the network, of crops that are one: nothing to agree on is left."""
    ready = ready_of(steps=0)
    views, rows, clock = ready.batch(0)
    ready.objective.before_step(clock)
    one = views.families["global"][0]
    projected = ready.objective.project(replace(views, families={"global": [one, one]}))
    report = ready.objective.loss(projected, rows, dict(views.draws), clock)
    assert report.shown["divergence"].item() == pytest.approx(0, abs=1e-12)
    assert report.loss.item() > 0.1


def sims_of(base):
    rng = torch.Generator().manual_seed(1)
    one, other = (torch.randn(6, 5, generator=rng).double() for _ in "ab")
    index = torch.tensor([3, 1, 4, 3, 5, 9])
    if base == "simclr":
        return in_batch(one.requires_grad_(), other, index), one
    keys = normalize(torch.randn(9, 5, generator=rng).double(), dim=1)
    of = torch.tensor([1, 2, 3, 4, 6, 7, 8, -1, -1])
    return against_queue(one.requires_grad_(), normalize(other, dim=1), index, keys, of), one


@pytest.mark.parametrize("base", ["simclr", "moco_v2"])
def test_the_divergence_is_its_formula_over_other_bases(base):
    """Mitrovic et al. 2021, eq. 3, of each row and its other view."""
    sim, _ = sims_of(base)
    found = divergence(sim, 0.2)
    anchor = sim.anchor.detach()
    for place in range(len(found)):
        columns = sim.columns[~sim.ignored[place]]
        expected = contrast(anchor[place], sim.partner[place], columns, 0.2)[1]
        assert found[place].item() == pytest.approx(expected, rel=1e-12)


def test_no_gradient_reaches_the_view_that_is_agreed_with():
    sim, asked = sims_of("moco_v2")
    divergence(sim, 0.2).sum().backward()
    found = asked.grad.clone()
    asked.grad = None
    q = normalize(asked, dim=1)
    both = torch.cat([(q * sim.partner).sum(1, keepdim=True), q @ sim.columns.T], 1)
    barred = torch.cat([torch.zeros(6, 1).bool(), sim.ignored], 1)
    r = (both / 0.2).masked_fill(barred, -torch.inf).log_softmax(1)
    its = torch.cat([both[:, :1].detach(), sim.partner @ sim.columns.T], 1) / 0.2
    p = its.masked_fill(barred, -torch.inf).softmax(1)
    terms = (p * (p.log() - r)).masked_fill(barred, 0)
    terms.sum().backward()
    assert torch.allclose(found, asked.grad, atol=1e-12)
    assert found.abs().max() > 1e-3


def test_draws_are_of_what_repels_each_as_often_and_none_twice():
    sim, _ = sims_of("simclr")  # of 12 columns each row ignores two or, an image twice, four
    times = Counter()
    turns = 600
    for turn in range(turns):
        left = drawn(sim, 4, torch.full((12,), (turn + 0.5) / turns))
        kept = ~left.ignored
        assert (kept.sum(1) == 4).all()
        assert not (kept & sim.ignored).any()
        times.update(kept[1].nonzero()[:, 0].tolist())
    held = (~sim.ignored[1]).nonzero()[:, 0].tolist()
    assert sorted(times) == held
    assert all(abs(count / turns - 4 / len(held)) < 0.01 for count in times.values())


def test_where_there_are_fewer_all_are_kept_and_where_there_are_none_none():
    sim, _ = sims_of("moco_v2")
    for count in (7, 8, 50):
        for number in (0.0, 0.37, 1 - 1e-12):
            left = drawn(sim, count, torch.full((6,), number, dtype=torch.float64))
            assert torch.equal(left.ignored, sim.ignored)
    nobody = replace(sim, ignored=torch.ones_like(sim.ignored))
    assert drawn(nobody, 4, torch.full((6,), 0.5)).ignored.all()


@pytest.mark.parametrize("base", ["simclr", "moco_v2"])
def test_few_negatives_leave_what_is_matched(base):
    momentum = {"momentum": {"rows": 48, "groups": 1}} if base == "moco_v2" else {}
    ready = Rehearsal(base, {**NARROW, **FEW, **momentum}, matched=True)
    ready.step(0)
    projected, rows, draws, clock = ready.begin(1)
    objective = ready.objective
    for sim in objective._opposed(objective.compare(projected, rows), projected, rows):
        (left,) = objective._negatives(sim, projected, rows, draws, clock, {})
        assert left.own is sim.own
        assert ((~left.ignored).sum(1) == 4).all()


def test_a_mixture_is_of_negatives_that_are_drawn():
    """And so of no more than those."""
    with pytest.raises(UsageError, match=r"--set objective.synthetic.hardest=4$"):
        ready_of(synthetic={"kind": "mochi", "hardest": 8})
    ready = ready_of(synthetic={"kind": "mochi", "hardest": 4, "begins": 0})
    projected, rows, draws, clock = ready.begin(3)
    assert ready.objective.loss(projected, rows, draws, clock).loss.isfinite()


def test_the_slow_copy_stands_still_at_the_end():
    objective = ready_of(momentum={"start": 0.5}).objective
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in objective.slow.parameters()]
    objective.before_step(Clock(10, 10, 1))
    assert all(map(torch.equal, before, objective.slow.parameters()))


def test_backgrounds_may_be_removed_of_large_crops_alone():
    told = {"background": {"kind": "remove", "p": 0.1}, "families": {"local": {}}}
    told["families"]["local"]["background"] = {"p": 0}
    families = build(ViewsSpec, told, "views").of_families("global")
    assert [families[name].background.p for name in ("global", "local")] == [0.1, 0]


def test_views_that_are_opposed_are_refused():
    with pytest.raises(UsageError, match=r"relicv2 draws what repels; use kind remove$"):
        Rehearsal("relicv2", matched=True)


def test_a_batch_of_one_is_refused(monkeypatch):
    monkeypatch.setattr("histoscope.core.testing.objectives.BATCH", 1)
    with pytest.raises(UsageError, match="at least 2 images a batch"):
        Rehearsal("relicv2")
