"""Un-Mix: images, shares and losses of mixtures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from histoscope.core.losses.contrast import in_batch, infonce
from histoscope.core.objectives.contract import Projected, Rows
from histoscope.core.objectives.mixed import KIND, LEFT, SHARE, TOP
from histoscope.core.testing.objectives import BATCH, Rehearsal

HEAD = {"projector": {"hidden": 16, "out": 8}}
BASES = ["barlow_twins", "byol", "dino", "ibot", "moco_v2", "msf", "simclr", "swav"]
MORE = {
    "swav": {"codes": {"prototypes": 12}},
    "dino": {"prototypes": 24},
    "ibot": {"prototypes": 24, "masking": {"images": 1.0}},
}


def told(share, kind=1.0, left=0.5, top=0.5):
    """The numbers of a step: a blend, unless ``kind`` is below the probability of boxes."""
    named = ((SHARE, share), (KIND, kind), (LEFT, left), (TOP, top))
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in named}


def ready_of(base, **more):
    ready = Rehearsal(base, {**HEAD, **MORE.get(base, {}), "mixing": {"kind": "unmix", **more}})
    for number in range(2):
        ready.step(number)
    return ready


def projected_with(ready, numbers, step=3):
    views, rows, clock = ready.batch(step)
    draws = {**views.draws, **numbers}
    with torch.no_grad():
        ready.objective.before_step(clock)
    return ready.objective.project(replace(views, draws=draws)), rows, draws, clock


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_a_share_of_one_gives_the_base_once_more(base, weight):
    """Not so where the network draws by itself; these do not."""
    ready = ready_of(base, weight=weight)
    projected, rows, draws, clock = projected_with(ready, told(1.0))
    report = ready.objective.loss(projected, rows, draws, clock)
    plain = ready.objective.base.loss(ready.objective._plain(projected), rows, draws, clock)
    assert report.loss.item() == pytest.approx((1 + weight) * plain.loss.item(), rel=1e-12)


def neighbour(rows):
    return rows[torch.arange(BATCH) ^ 1]


@pytest.mark.parametrize("base", BASES)
def test_the_loss_is_its_formula(base):
    """l(q, k) + s l(q~, k) + (1 - s) l(q~, k of the other), the base's loss called by hand."""
    ready = ready_of(base)
    projected, rows, draws, clock = projected_with(ready, told(0.3))
    whole = ready.objective.loss(projected, rows, draws, clock).loss.item()
    inner, second = ready.objective.base, set(ready.objective.base.second)
    names = [name.removeprefix("plain ") for name in projected.asks if name.startswith("plain ")]
    plain = {name: projected.asks[f"plain {name}"] for name in names}
    mixed = {n: plain[n] if n in second else projected.asks[f"mixed {n}"] for n in names}
    other = {n: neighbour(v) if n in second else v for n, v in mixed.items()}
    answers = {name: neighbour(value) for name, value in projected.answers.items()}
    swapped = Rows(*(neighbour(one) for one in (rows.index, rows.partners, rows.donors)))
    parts = [
        inner.loss(Projected(plain, projected.answers), rows, draws, clock),
        inner.loss(Projected(mixed, projected.answers), rows, draws, clock),
        inner.loss(Projected(other, answers), swapped, draws, clock),
    ]
    first, own, others = (part.loss.item() for part in parts)
    assert whole == pytest.approx(first + 0.3 * own + 0.7 * others, rel=1e-12)
    assert own != pytest.approx(others, rel=1e-9)


def test_images_are_blended_with_their_neighbours():
    objective = ready_of("byol").objective
    images = torch.rand(BATCH, 3, 8, 8, dtype=torch.float64)
    found = objective._mixture(told(0.3)).of(images)
    for row in range(BATCH):
        expected = 0.3 * images[row] + 0.7 * images[row ^ 1]
        assert torch.allclose(found[row], expected, rtol=1e-12)


def test_a_box_of_the_neighbour_is_pasted_and_its_area_counts():
    objective = ready_of("byol", boxes=1.0).objective
    images = torch.rand(BATCH, 3, 8, 8, dtype=torch.float64)
    mixture = objective._mixture(told(0.75, kind=0.0))  # a quarter of the area, in the middle
    assert mixture.share.item() == pytest.approx(0.75)
    found = mixture.of(images)
    pasted = torch.zeros(8, 8, dtype=torch.bool)
    pasted[2:6, 2:6] = True
    assert torch.equal(found[0], torch.where(pasted, images[1], images[0]))
    corner = objective._mixture(told(0.75, kind=0.0, left=0.0, top=0.0))
    assert corner.share.item() == pytest.approx(1 - 0.25**2)  # what lies outside is cut off
    assert torch.equal(corner.of(images)[0][:, 2:, 2:], images[0][:, 2:, 2:])


@pytest.mark.parametrize("base", ["dino", "ibot"])
def test_a_share_of_none_is_the_base_of_the_neighbours(base):
    """Mixed images are their neighbours then; of patches, hidden at the same places."""
    ready = ready_of(base)
    views, rows, clock = ready.batch(3)
    objective = ready.objective
    with torch.no_grad():
        objective.before_step(clock)
    draws = {**views.draws, **told(0.0)}
    projected = objective.project(replace(views, draws=draws))
    report = objective.loss(projected, rows, draws, clock)
    alike = {name: draws[name][torch.arange(BATCH) // 2 * 2] for name in objective.base.paired}
    swapped = {name: [neighbour(v) for v in family] for name, family in views.families.items()}
    plain = objective.base.project(replace(views, families=swapped, draws={**draws, **alike}))
    expected = objective.base.loss(plain, rows, draws, clock).loss
    assert report.shown["mixed"].item() == pytest.approx(expected.item(), rel=1e-12)


def test_mixed_views_have_the_reduction_alone_at_the_temperature_of_the_others():
    choices = {"temperature": "macl", "consistency": {"kind": "co2", "ramp": 0}}
    ready = Rehearsal("simclr", {**HEAD, **choices, "mixing": "unmix"})
    projected, rows, draws, clock = projected_with(ready, told(0.3))
    report = ready.objective.loss(projected, rows, draws, clock)
    first, *_ = ready.objective.base.second
    mixed = projected.asks["mixed view 0"][:, 0]
    plain = projected.asks[f"plain {first}"][:, 0]
    parts = [
        infonce(in_batch(mixed, other, index), report.shown["temperature"]).mean()
        for other, index in ((plain, rows.index), (neighbour(plain), neighbour(rows.index)))
    ]
    expected = 0.3 * parts[0] + 0.7 * parts[1]
    assert report.shown["mixed"].item() == pytest.approx(expected.item(), rel=1e-12)


def test_slow_copies_see_no_mixed_images():
    ready = Rehearsal("byol", {**HEAD, "mixing": "unmix"})
    views, _, _ = ready.batch(0)
    ready.objective.project(views)
    (norm,) = [
        m for m in ready.objective.base.slow.modules() if isinstance(m, torch.nn.BatchNorm1d)
    ]
    assert norm.num_batches_tracked == 2  # of two views
    assert norm.track_running_stats
