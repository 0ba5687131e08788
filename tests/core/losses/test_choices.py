"""Choices about negatives against loops, and the settings in which they change nothing."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from histoscope.core.losses.choices import (
    alignment_temperature,
    attracted,
    beside,
    eliminated,
    elsewhere,
    false_negatives,
    inconsistency,
    mixtures,
    reweighted,
    spared,
    weighted,
)
from histoscope.core.losses.contrast import against_queue, decoupled, in_batch, infonce

BATCH, DIM, ROWS = 5, 7, 11


def rows(count, seed):
    rng = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, DIM, generator=rng, dtype=torch.float64), dim=1)


def batch_and_queue():
    """Both ways in which rows find columns."""
    z1, z2 = rows(BATCH, 0), rows(BATCH, 1)
    index = torch.tensor([0, 4, 4, 7, 8, 9, 11, 12, 13, -1, -1])
    queue = against_queue(z1, z2, torch.arange(BATCH), rows(ROWS, 2), index)
    return {"batch": in_batch(z1, z2), "queue": queue}


@pytest.fixture(params=["batch", "queue"])
def sim(request):
    return batch_and_queue()[request.param]


def width(sim):
    """How many columns belong to one row only."""
    return sim.own.logits.shape[1]


def positive_of(sim):
    """Which columns attract, those of one row only first."""
    return torch.cat([sim.own.positive & sim.own.known, torch.zeros_like(sim.ignored)], 1)


def ignored_of(sim):
    return torch.cat([~sim.own.known, sim.ignored], 1)


def table_of(sim):
    """Each row's cosines, those of its other view, and what each column is to it."""
    cosines = torch.cat([sim.own.logits, sim.logits], 1)
    partner = torch.cat([torch.ones_like(sim.own.logits), sim.of_partner()], 1)
    columns = (cosines, partner, positive_of(sim), ignored_of(sim))
    return [
        list(zip(*(one[r].tolist() for one in columns), strict=True)) for r in range(len(cosines))
    ]


def test_the_partner_is_the_other_view():
    found = batch_and_queue()
    z1, z2 = rows(BATCH, 0), rows(BATCH, 1)
    both, keys = normalize(torch.cat([z1, z2]), dim=1), normalize(rows(ROWS, 2), dim=1)
    swapped = normalize(torch.cat([z2, z1]), dim=1)
    assert torch.allclose(found["batch"].of_partner(), swapped @ both.T, rtol=1e-12)
    assert (width(found["batch"]), width(found["queue"])) == (1, 1)
    expected = normalize(z2, dim=1) @ keys.T
    assert torch.allclose(found["queue"].of_partner(), expected, rtol=1e-12)


# MACL


def test_the_temperature_is_its_formula(sim):
    positives = [s for row in table_of(sim) for s, _, positive, _ in row if positive]
    mean = sum(positives) / len(positives)
    found = alignment_temperature(sim.attraction().mean(), 0.1, 0.5, 0.2).item()
    assert found == pytest.approx(max(0.02, 0.1 * (1 + 0.5 * (mean - 0.2))), rel=1e-12)
    assert alignment_temperature(sim.attraction().mean(), 0.1, 0.0, 0.2).item() == pytest.approx(
        0.1, rel=1e-12
    )


def test_the_temperature_never_turns_negative():
    z = rows(BATCH, 0)
    opposite = in_batch(z, -z)
    assert alignment_temperature(opposite.attraction().mean(), 0.1, 1.0, 0.5).item() == 0.02
    assert torch.isfinite(
        infonce(opposite, alignment_temperature(opposite.attraction().mean(), 0.1, 1.0, 0.5))
    ).all()


def test_weights_are_their_formula(sim):
    found = reweighted(sim, 0.2).tolist()
    for row, weight in zip(table_of(sim), found, strict=True):
        parts = [(math.exp(s / 0.2), positive) for s, _, positive, ignored in row if not ignored]
        share = sum(p for p, positive in parts if positive) / sum(p for p, _ in parts)
        assert weight == pytest.approx(1 / (1 - share), rel=1e-12)


def test_weighted_rows_have_the_gradient_of_the_decoupled_loss():
    """Huang et al. 2022: what the weight is for."""
    gradients = []
    for weigh in (True, False):
        z1, z2 = rows(BATCH, 0).requires_grad_(), rows(BATCH, 1).requires_grad_()
        sim = in_batch(z1, z2)
        loss = infonce(sim, 0.2) * reweighted(sim, 0.2) if weigh else decoupled(sim, 0.2)
        loss.mean().backward()
        gradients.append(torch.cat([z1.grad, z2.grad]))
    assert torch.allclose(*gradients, rtol=1e-10, atol=1e-14)


def test_without_its_weights_macl_equals_lightly():
    from lightly.loss import MACLLoss

    z1, z2 = rows(8, 3), rows(8, 4)
    sim = in_batch(z1, z2)
    warmth = alignment_temperature(sim.attraction().mean(), 0.1, 0.5, 0.0)
    ours = (infonce(sim, warmth) * reweighted(sim, warmth)).mean().item()
    assert ours == pytest.approx(MACLLoss(0.1, 0.5, 0.0)(z1, z2).item(), rel=1e-6)


def test_in_one_sum_weighted_rows_are_the_product(sim):
    product = infonce(sim, 0.2) * reweighted(sim, 0.2)
    assert torch.allclose(weighted(sim, 0.2), product, rtol=1e-13)
    empty = against_queue(rows(3, 0), rows(3, 1), torch.arange(3), rows(4, 2), torch.full((4,), -1))
    assert reweighted(empty, 0.2).tolist() == [1, 1, 1]
    assert weighted(empty, 0.2).tolist() == [0, 0, 0]


# CO2


def test_the_inconsistency_is_its_formula(sim):
    found = inconsistency(sim, 0.3).tolist()
    for row, value in zip(table_of(sim), found, strict=True):
        mine = [(s, t) for s, t, positive, ignored in row if not (positive or ignored)]
        sums = [sum(math.exp(pair[side] / 0.3) for pair in mine) for side in (0, 1)]
        r, p = ([math.exp(pair[side] / 0.3) / sums[side] for pair in mine] for side in (0, 1))
        there = sum(a * math.log(a / b) for a, b in zip(p, r, strict=True))
        back = sum(b * math.log(b / a) for a, b in zip(p, r, strict=True))
        assert value == pytest.approx((there + back) / 2, rel=1e-12)


def test_equal_views_are_consistent():
    z, queue, index = rows(BATCH, 0), rows(ROWS, 2), torch.arange(100, 100 + ROWS)
    sim = against_queue(z, z, torch.arange(BATCH), queue, index)
    assert inconsistency(sim, 0.1).tolist() == pytest.approx([0.0] * BATCH, abs=1e-12)


def test_no_gradient_reaches_the_other_view():
    z1, z2 = rows(BATCH, 0).requires_grad_(), rows(BATCH, 1).requires_grad_()
    sim = against_queue(z1, z2, torch.arange(BATCH), rows(ROWS, 2), torch.arange(50, 50 + ROWS))
    inconsistency(sim, 0.1).sum().backward()
    assert z2.grad is None or not z2.grad.any()
    assert z1.grad.any()


# FNC


def mask_of(sim, places, known):
    """Of all shared columns, which are meant."""
    return torch.zeros_like(sim.ignored).scatter(1, places, known)


@pytest.mark.parametrize(("count", "threshold"), [(2, -1.0), (3, 0.1), (50, 0.2)])
def test_false_negatives_are_the_nearest_above_the_threshold(sim, count, threshold):
    found = mask_of(sim, *false_negatives(sim, count, threshold)).tolist()
    for row, those in zip(table_of(sim), found, strict=True):
        scores = {
            at: max(s, t)
            for at, (s, t, positive, ignored) in enumerate(row)
            if not (positive or ignored)
        }
        nearest = sorted(scores, key=lambda at: -scores[at])[:count]
        expected = {at for at in nearest if scores[at] > threshold}
        assert {at + width(sim) for at, one in enumerate(those) if one} == expected


def test_further_views_of_the_image_score_candidates_too(sim):
    rng = torch.Generator().manual_seed(8)
    support = normalize(torch.randn(len(sim.anchor), 2, DIM, generator=rng).double(), dim=2)
    found = mask_of(sim, *false_negatives(sim, 2, -1.0, support)).tolist()
    for r, row in enumerate(table_of(sim)):
        scores = {}
        for at, (s, t, positive, ignored) in enumerate(row):
            if positive or ignored:
                continue
            column = sim.columns[at - width(sim)]
            scores[at] = max(s, t, *(float(view @ column) for view in support[r]))
        nearest = sorted(scores, key=lambda at: -scores[at])[:2]
        assert {at + width(sim) for at, one in enumerate(found[r]) if one} == set(nearest)


@pytest.mark.parametrize(("count", "threshold"), [(0, -1.0), (5, 1.5)])
def test_without_any_the_loss_is_that_of_the_base(sim, count, threshold):
    those = false_negatives(sim, count, threshold)
    assert not those[1].any()
    for change in (eliminated, attracted):
        assert torch.equal(infonce(change(sim, *those), 0.2), infonce(sim, 0.2))


def of_all(sim, places, known):
    """What is said of shared columns, of all."""
    shared = mask_of(sim, places, known)
    return torch.cat([torch.zeros_like(sim.own.known), shared], 1).tolist()


def test_what_is_eliminated_is_in_no_denominator(sim):
    those = false_negatives(sim, 2, -1.0)
    found = infonce(eliminated(sim, *those), 0.2).tolist()
    for row, out, value in zip(table_of(sim), of_all(sim, *those), found, strict=True):
        kept = [c for c, gone in zip(row, out, strict=True) if not (gone or c[3])]
        below = sum(math.exp(s / 0.2) for s, _, _, _ in kept)
        (own,) = [s for s, _, positive, _ in kept if positive]
        assert value == pytest.approx(-math.log(math.exp(own / 0.2) / below), rel=1e-12)


def test_what_is_attracted_is_a_positive_and_stays_in_the_denominator(sim):
    those = false_negatives(sim, 2, -1.0)
    found = infonce(attracted(sim, *those), 0.2).tolist()
    for row, more, value in zip(table_of(sim), of_all(sim, *those), found, strict=True):
        below = sum(math.exp(s / 0.2) for s, _, _, ignored in row if not ignored)
        wanted = [c[0] for c, also in zip(row, more, strict=True) if also or c[2]]
        logs = [math.log(math.exp(s / 0.2) / below) for s in wanted]
        assert value == pytest.approx(-sum(logs) / len(logs), rel=1e-12)


# MoCHi


def numbers_of(sim, count):
    rng = torch.Generator().manual_seed(9)
    return torch.rand(len(sim.anchor), 3, count, generator=rng, dtype=torch.float64)


def test_mixtures_are_their_formula(sim):
    hardest, pairs, with_query = 4, 3, 2
    numbers = numbers_of(sim, pairs + with_query)
    found = mixtures(sim, hardest, pairs, with_query, numbers)
    own = width(sim)
    assert width(found) == own + pairs + with_query
    columns, anchor = sim.columns.tolist(), sim.anchor.tolist()
    for r, row in enumerate(table_of(sim)):
        negatives = [
            (row[own + at][0], at)
            for at in range(len(columns))
            if not (row[own + at][2] or row[own + at][3])
        ]
        hard = [at for _, at in sorted(negatives, reverse=True)[:hardest]]
        for m in range(pairs + with_query):
            one, other, share = numbers[r, :, m].tolist()
            i, j = int(one * hardest), int(other * (hardest - 1))
            j += j >= i
            a, b = columns[hard[i]], columns[hard[j]]
            if m >= pairs:
                a, share = anchor[r], share / 2
            mixed = [share * x + (1 - share) * y for x, y in zip(a, b, strict=True)]
            long = math.sqrt(sum(x * x for x in mixed))
            expected = sum(x * y / long for x, y in zip(mixed, anchor[r], strict=True))
            assert found.own.logits[r, own + m].item() == pytest.approx(expected, rel=1e-10)
    assert found.own.known.all()
    assert torch.equal(found.own.logits[:, :own], sim.own.logits)
    assert torch.equal(found.logits, sim.logits)
    assert torch.equal(found.ignored, sim.ignored)
    assert torch.equal(found.attraction(), sim.attraction())


def test_without_mixtures_the_loss_is_that_of_the_base(sim):
    found = mixtures(sim, 4, 0, 0, numbers_of(sim, 0))
    assert torch.equal(infonce(found, 0.2), infonce(sim, 0.2))


def test_mixtures_repel():
    sim = batch_and_queue()["queue"]
    found = mixtures(sim, 4, 8, 4, numbers_of(sim, 12))
    assert (infonce(found, 0.2) > infonce(sim, 0.2)).all()


def test_mixtures_of_what_is_no_negative_are_left_out():
    """A queue that holds a single stranger."""
    z, queue = rows(BATCH, 0), rows(3, 2)
    sim = against_queue(z, z, torch.arange(BATCH), queue, torch.tensor([99, -1, -1]))
    found = mixtures(sim, 3, 6, 4, numbers_of(sim, 10))
    assert not found.own.known[:, 1:7].any()  # there are no two of them
    assert torch.isfinite(infonce(found, 0.2)).all()


# Positives beside the own view


def test_near_views_attract_one_row_only(sim):
    rng = torch.Generator().manual_seed(5)
    views = torch.randn(len(sim.anchor), 3, DIM, generator=rng, dtype=torch.float64)
    known = torch.rand(len(views), 3, generator=rng) < 0.6
    found = beside(sim, views, known)
    assert width(found) == width(sim) + 3
    losses = infonce(found, 0.2).tolist()
    for r, row in enumerate(table_of(sim)):
        more = [
            cosine_of(views[r, slot], sim.anchor[r]) for slot in range(3) if bool(known[r, slot])
        ]
        below = sum(math.exp(s / 0.2) for s, _, _, ignored in row if not ignored)
        below += sum(math.exp(s / 0.2) for s in more)
        wanted = [s for s, _, positive, _ in row if positive] + more
        expected = -sum(math.log(math.exp(s / 0.2) / below) for s in wanted) / len(wanted)
        assert losses[r] == pytest.approx(expected, rel=1e-12)


def cosine_of(a, b):
    a, b = a.tolist(), b.tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


def test_without_a_near_view_the_loss_is_that_of_the_base(sim):
    views = torch.ones(len(sim.anchor), 2, DIM, dtype=torch.float64)
    found = beside(sim, views, torch.zeros(len(views), 2, dtype=torch.bool))
    assert torch.allclose(infonce(found, 0.2), infonce(sim, 0.2), rtol=1e-14)


def test_what_shows_the_same_repels_no_more():
    z1, z2, index = rows(BATCH, 0), rows(BATCH, 1), torch.tensor([10, 11, 12, 13, 14])
    others = torch.tensor([[11, -1], [10, 12], [11, -1], [-1, -1], [-1, -1]])
    for sim in (in_batch(z1, z2, index), against_queue(z1, z2, index, rows(5, 2), index)):
        times = len(sim.anchor) // BATCH
        found = spared(sim, others.repeat(times, 1))
        whose = [-9] * width(sim) + sim.index.tolist()
        for r in range(len(sim.anchor)):
            for column, image in enumerate(whose):
                gone = image in others[r % BATCH].tolist() and image >= 0
                positive = bool(positive_of(sim)[r, column])
                before = bool(ignored_of(sim)[r, column])
                now = bool(ignored_of(found)[r, column])
                assert now == (before or (gone and not positive))


def test_the_nearest_of_another_case_attracts():
    z1, z2, index = rows(BATCH, 0), rows(BATCH, 1), torch.arange(BATCH)
    groups = torch.tensor([0, 0, 1, 1, 2, 0, 1, 2, 2, 0, 1, 0, 0, 0, 1, 2])
    queue = torch.tensor([5, 6, 7, 8, 9, 10, 11, 12, -1, -1, 15])
    for sim in (in_batch(z1, z2, index), against_queue(z1, z2, index, rows(ROWS, 2), queue)):
        own = index.repeat(len(sim.anchor) // BATCH)
        found = elsewhere(sim, 2, groups, own)
        partner = sim.of_partner()
        whose = sim.index.tolist()
        for r in range(len(sim.anchor)):
            others = [
                (partner[r, c].item(), c)
                for c, image in enumerate(whose)
                if image >= 0 and groups[image] != groups[own[r]] and not sim.ignored[r, c]
            ]
            expected = {c for _, c in sorted(others, reverse=True)[:2]}
            got = found.ignored[r] & ~sim.ignored[r]  # a column of the row's own now
            assert set(torch.where(got)[0].tolist()) == expected
            cosines = sorted(sim.logits[r, c].item() for c in expected)
            pulls = found.own.logits[r, 1:][found.own.known[r, 1:]]
            assert sorted(pulls.tolist()) == cosines
            assert found.own.positive[r].all()
        assert torch.isfinite(infonce(found, 0.2)).all()
