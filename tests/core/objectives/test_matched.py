"""What opposes a view: another subject before its background, a negative of this row only."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.errors import UsageError
from histoscope.core.objectives.contract import Projected
from histoscope.core.objectives.contrastive import KNOWN, MATCHED
from histoscope.core.testing.objectives import BATCH, Rehearsal, check_objective

NARROW = {"projector": {"hidden": 8, "out": 4}}
MOCO = {**NARROW, "momentum": {"rows": 16, "groups": 1}}
SETTINGS = {"simclr": NARROW, "moco_v2": MOCO}
BEFORE = 1  # slot of the donor whose subject it is, of each two


def begun(base, step=2, **choices):
    """Projections of a step, after others that filled a queue."""
    told = {**SETTINGS[base], "temperature": 0.2, **choices}
    ready = Rehearsal(base, told, matched=True)
    for before in range(step):
        ready.step(before)
    return ready.objective, *ready.begin(step)


def loss_of(objective, projected, rows, draws, clock):
    return objective.loss(projected, rows, draws, clock).loss.item()


def with_known(projected, known):
    return replace(projected, answers={**projected.answers, KNOWN: known})


def simclr_by_loops(projected, rows, warmth=0.2):
    """Chen et al. 2020, eq. 1, with one more term below the line where there is an opponent."""
    views = [projected.asks[f"view {n}"].squeeze(1) for n in (0, 1)]
    z = normalize(torch.cat(views).detach(), dim=1)
    against = normalize(projected.asks[MATCHED].detach(), dim=2)
    total = 0.0
    for view in (0, 1):
        for place in range(BATCH):
            row = z[view * BATCH + place]
            other = (row @ z[(1 - view) * BATCH + place]).item()
            below = [
                (row @ z[v * BATCH + p]).item() for v in (0, 1) for p in range(BATCH) if p != place
            ]
            if projected.answers[KNOWN][place, view, 0] > 0:
                below.append((row @ against[place, view]).item())
            sums = torch.tensor([other, *below], dtype=torch.float64) / warmth
            total += torch.logsumexp(sums, 0).item() - other / warmth
    return total / (2 * BATCH)


def moco_by_loops(objective, projected, rows, warmth=0.2):
    """He et al. 2020, algorithm 1, in both directions, with opponents."""
    queue, owners = objective.queue.features, objective.queue.index.tolist()
    total = 0.0
    for way in (0, 1):
        q = normalize(projected.asks[f"queries {way}"].squeeze(1).detach(), dim=1)
        k = projected.answers[f"keys {way}"].squeeze(1)
        for place, index in enumerate(rows.index.tolist()):
            other = (q[place] @ k[place]).item()
            below = [
                (q[place] @ queue[n]).item()
                for n, owner in enumerate(owners)
                if owner >= 0 and owner != index
            ]
            if projected.answers[KNOWN][place, way, 0] > 0:
                below.append((q[place] @ projected.answers[MATCHED][place, way]).item())
            sums = torch.tensor([other, *below], dtype=torch.float64) / warmth
            total += torch.logsumexp(sums, 0).item() - other / warmth
    return total / (2 * BATCH)


def test_simclr_is_its_formula():
    objective, projected, rows, draws, clock = begun("simclr")
    assert 0 < projected.answers[KNOWN].mean() < 1
    found = loss_of(objective, projected, rows, draws, clock)
    assert found == pytest.approx(simclr_by_loops(projected, rows), rel=1e-12)


def test_moco_is_its_formula():
    objective, projected, rows, draws, clock = begun("moco_v2")
    objective.queue.features.copy_(objective.queue.features.double())
    found = loss_of(objective, projected, rows, draws, clock)
    assert found == pytest.approx(moco_by_loops(objective, projected, rows), rel=1e-12)


CHOICES = [
    {},
    {"reduction": "decoupled"},
    {"temperature": "macl"},
    {"negatives": {"kind": "fnc", "begins": 0}},
    {"consistency": {"kind": "co2", "ramp": 0}},
    {"synthetic": {"kind": "mochi", "hardest": 8, "pairs": 4, "with_query": 2, "begins": 0}},
    {"positives": "near"},
    {"positives": {"kind": "other_case", "begins": 0}},
]


@pytest.mark.parametrize("base", SETTINGS)
@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_where_none_is_known_it_is_the_base_bit_for_bit(base, choices):
    objective, projected, rows, draws, clock = begun(base, **choices)
    none = with_known(projected, torch.zeros_like(projected.answers[KNOWN]))
    every = with_known(projected, torch.ones_like(projected.answers[KNOWN]))
    plain = Rehearsal(base, {**SETTINGS[base], "temperature": 0.2, **choices}).objective
    plain.load_state_dict(objective.state_dict())
    without = Projected(
        {name: ask for name, ask in projected.asks.items() if name != MATCHED},
        {n: answer for n, answer in projected.answers.items() if n not in (MATCHED, KNOWN)},
    )
    expected = loss_of(plain, without, rows, draws, clock)
    assert loss_of(objective, none, rows, draws, clock) == expected
    assert loss_of(objective, every, rows, draws, clock) > expected


@pytest.mark.parametrize("base", SETTINGS)
@pytest.mark.parametrize("choice", ["co2", "mochi"])
def test_consistency_and_mixtures_know_nothing_of_it(base, choice):
    """The term of consistency, and the mixtures, are those without it."""
    key = {"co2": "consistency", "mochi": "synthetic"}[choice]
    (asked,) = (one for one in CHOICES if key in one)
    objective, projected, rows, draws, clock = begun(base, **asked)
    some = objective.loss(projected, rows, draws, clock)
    none = with_known(projected, torch.zeros_like(projected.answers[KNOWN]))
    other = objective.loss(none, rows, draws, clock)
    if choice == "co2":
        assert torch.equal(some.terms[1][1], other.terms[1][1])
        return
    compared = [
        objective._synthetic(sim, draws, clock).own.logits[:, 1:7]
        for p in (projected, none)
        for sim in objective._opposed(objective.compare(p, rows), p, rows)
    ]
    half = len(compared) // 2
    assert all(map(torch.equal, compared[:half], compared[half:]))


@pytest.mark.parametrize("warmth", [0.2, "macl"])
@pytest.mark.parametrize("base", SETTINGS)
def test_a_subject_that_lies_near_is_no_opponent(base, warmth):
    """Whether it stands among the columns or not, and in the weights of rows."""
    objective, projected, rows, draws, clock = begun(base, positives="near", temperature=warmth)
    every = with_known(projected, torch.ones_like(projected.answers[KNOWN]))
    none = with_known(projected, torch.zeros_like(projected.answers[KNOWN]))
    near = rows.donors.clone()
    near[:, BEFORE::2] = rows.index[:, None] + 1  # partners lie within 2, the same within 4
    beside = replace(rows, donors=near)
    assert loss_of(objective, every, beside, draws, clock) == loss_of(
        objective, none, rows, draws, clock
    )


def test_what_is_found_to_be_a_false_negative_is_no_opponent():
    objective, projected, rows, draws, clock = begun(
        "simclr", negatives={"kind": "fnc", "begins": 0, "threshold": -1, "count": 2 * BATCH}
    )
    others = rows.donors.clone()
    others[:, BEFORE::2] = rows.index.roll(1)[:, None]  # all others of the batch are false
    every = with_known(projected, torch.ones_like(projected.answers[KNOWN]))
    found = loss_of(objective, every, replace(rows, donors=others), draws, clock)
    assert found == pytest.approx(0, abs=1e-12)  # nothing repels
    assert loss_of(objective, every, rows, draws, clock) > 0.01  # subjects from elsewhere do


def test_opponents_of_simclr_carry_a_gradient_and_keys_carry_none():
    objective, projected, rows, draws, clock = begun("simclr")
    projected.asks[MATCHED].retain_grad()
    objective.loss(projected, rows, draws, clock).loss.backward()
    gradient = projected.asks[MATCHED].grad
    known = projected.answers[KNOWN].squeeze(2) > 0
    assert (gradient[known].abs().sum(1) > 0).all()
    assert (gradient[~known] == 0).all()
    _, projected, *_ = begun("moco_v2")
    assert not projected.answers[MATCHED].requires_grad


def test_how_many_rows_have_one_is_shown():
    objective, projected, rows, draws, clock = begun("simclr")
    shown = objective.loss(projected, rows, draws, clock).shown["matched"]
    assert shown.item() == projected.answers[KNOWN].mean().item()


OTHERS = {"swav": {"codes": {"prototypes": 6, "queue": 16}}, "msf": {"neighbours": {"rows": 16}}}


@pytest.mark.parametrize("base", ["byol", "barlow_twins", "swav", "dino", "ibot", "msf"])
def test_methods_without_negatives_refuse(base):
    with pytest.raises(UsageError, match=f"kind swap wants negatives; {base} has none; use kind"):
        Rehearsal(base, {**NARROW, **OTHERS.get(base, {})}, matched=True)


def test_mixed_views_have_no_background_of_their_own():
    with pytest.raises(UsageError, match=r"objective\.mixing: .* kind random"):
        Rehearsal("simclr", {**NARROW, "mixing": "unmix"}, matched=True)


def test_methods_that_are_opposed_owe_what_all_owe():
    for base in SETTINGS:
        check_objective(base, SETTINGS[base], matched=True)
