"""InterCLR: a bank of all images, of which one attracts and some repel each view."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.config import build
from histoscope.core.errors import ConfigError, UsageError
from histoscope.core.objectives.choices import InterImage
from histoscope.core.objectives.contract import Clock
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.testing.objectives import SAMPLES, Rehearsal

NARROW = {"projector": {"hidden": 8, "out": 4}}
SETTINGS = {
    "simclr": NARROW,
    "moco_v2": {**NARROW, "momentum": {"rows": 48, "groups": 1}},
}
FEW = {"kind": "interclr", "clusters": 40, "pool": 60, "negatives": 9, "every": 2, "begins": 0}


def ready_of(base, steps=5, **more):
    """After an epoch and a step."""
    told = {"temperature": 0.2, **SETTINGS[base], "positives": {**FEW, **more}}
    ready = Rehearsal(base, told)
    for number in range(steps):
        ready.step(number)
    return ready


def asked(base, projected):
    names = ("view 0", "view 1") if base == "simclr" else ("queries 0", "queries 1")
    return [normalize(projected.asks[name].detach()[:, 0], dim=1) for name in names]


def by_loops(bank, views, rows, draws, told):
    """InfoNCE of each view that asks with its row of the bank, eased, and those that repel."""
    labels, total, count = bank.labels.tolist(), 0.0, 0
    for view in views:
        for place, own in enumerate(rows.index.tolist()):
            others = [n for n, label in enumerate(labels) if label == labels[own] and n != own]
            if not others:
                continue
            positive = others[int(draws["bank, positive"][place].item() * len(others))]
            cosines = (bank.features @ view[place]).tolist()
            foreign = [n for n, label in enumerate(labels) if label != labels[own]]
            near = sorted(foreign, key=lambda n: -cosines[n])[: told["pool"]]
            number, many = draws["bank, negatives"][place].item(), told["negatives"]
            chosen = [near[int((part + number) * len(near) / many)] for part in range(many)]
            top = math.exp((cosines[positive] + 0.5) / 0.2)
            below = top + sum(math.exp(cosines[n] / 0.2) for n in chosen)
            total, count = total - math.log(top / below), count + 1
    return total / count


@pytest.mark.parametrize("base", ["simclr", "moco_v2"])
def test_it_is_its_formula_beside_the_base(base):
    ready = ready_of(base)
    projected, rows, draws, clock = ready.begin(5)
    report = ready.objective.loss(projected, rows, draws, clock)
    bank = ready.objective.banked.bank
    expected = by_loops(bank, asked(base, projected), rows, draws, FEW)
    assert report.shown["inter_image"].item() == pytest.approx(expected, rel=1e-12)
    (share, plain), (weight, _) = report.terms
    assert (share, weight) == (0.75, 0.25)
    ready.objective.banked = None
    alone = ready.objective.loss(projected, rows, draws, clock).loss
    assert plain.item() == alone.item()


def test_the_bank_holds_what_was_said_last():
    for base in ("simclr", "moco_v2"):
        ready = ready_of(base)
        objective = ready.objective
        projected, rows, _, clock = ready.begin(5)
        objective.after_step(projected, rows, clock)
        said = (
            asked(base, projected)
            if base == "simclr"
            else [projected.answers[f"keys {n}"][:, 0] for n in (0, 1)]
        )
        mean = normalize(said[0] + said[1], dim=1)
        assert (objective.banked.bank.features[rows.index] - mean).abs().max() <= 1e-12


def test_the_first_bank_is_of_all_images_as_they_are_and_later_ones_of_what_was_said():
    ready = ready_of("moco_v2", steps=0)
    seen = []

    class Corpus:
        def encode(self, module):
            seen.append(module)
            return torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(0)).double()

    bank = ready.objective.banked.bank
    labels = []
    for epoch in range(2):
        ready.objective.begin_epoch(Corpus(), Clock(epoch, 4, epoch))
        labels.append(bank.labels.clone())
    assert seen == [ready.objective.slow]
    assert torch.allclose(bank.features.norm(dim=1), torch.ones(SAMPLES).double())
    assert not torch.equal(*labels)


def test_centres_move_every_so_many_steps():
    ready = ready_of("moco_v2", steps=0, every=3)
    moved = []
    for step in range(4):
        projected, rows, _, clock = ready.begin(step)
        before = ready.objective.banked.bank.centres.clone()
        ready.objective.after_step(projected, rows, clock)
        moved.append(not torch.equal(ready.objective.banked.bank.centres, before))
    assert moved == [False, False, True, False]


def test_where_all_images_are_of_one_group_nothing_repels_and_nothing_hangs():
    """The paper's code draws anew for ever."""
    ready = ready_of("moco_v2")
    ready.objective.banked.bank.labels.zero_()
    projected, rows, draws, clock = ready.begin(5)
    report = ready.objective.loss(projected, rows, draws, clock)
    assert report.shown["inter_image"].item() == 0


def test_an_image_that_is_alone_in_its_group_has_no_such_term():
    ready = ready_of("moco_v2")
    projected, rows, draws, clock = ready.begin(5)
    ready.objective.banked.bank.labels.copy_(torch.arange(SAMPLES))
    report = ready.objective.loss(projected, rows, draws, clock)
    assert report.shown["inter_image"].item() == 0
    ready.objective.banked.bank.labels[rows.index[0] + 1] = rows.index[0]
    assert ready.objective.loss(projected, rows, draws, clock).shown["inter_image"].item() > 0


def test_sizes_are_the_papers_shares_of_imagenet():
    assert InterImage().sizes(1_281_167) == (10_000, 128_000, 16_014)
    assert InterImage().sizes(3_500) == (27, 350, 43)
    assert InterImage().sizes(8) == (2, 1, 1)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"clusters": 5000}, f"positives.clusters: 5000 are more than the {SAMPLES} samples"),
        ({"pool": 5000}, f"--set objective.positives.pool={SAMPLES}$"),
        ({"pool": 10, "negatives": 11}, "negatives: 11 are more than the 10 of the pool"),
    ],
)
def test_what_does_not_fit_is_refused(told, said):
    with pytest.raises(UsageError, match=said):
        Rehearsal("simclr", {"positives": {"kind": "interclr", **told}})


def test_two_sources_of_positives_are_refused():
    body = {"positives": "interclr", "negatives": {"kind": "fnc", "way": "attract"}}
    with pytest.raises(ConfigError, match="two sources of positives; set one") as fault:
        build(MethodSpec, body, "objective")
    assert len(str(fault.value).splitlines()) == 1
