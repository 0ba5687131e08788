"""Backgrounds pixel by pixel: whose subject is kept, whose background shown, what fills holes."""

import numpy as np
import pytest
import torch

from histoscope.core.config import build
from histoscope.core.errors import ConfigError
from histoscope.core.views.background import MASK, Background, repeated
from histoscope.core.views.beside import Beside, Donor
from histoscope.core.views.plan import plain_plan
from histoscope.core.views.spec import BackgroundSpec, ViewsSpec

SIDE, ALWAYS = 16, [1.0, 1.0, 0.25, 0.0]  # on, opposed, grey level, the first tile


def coded(number, side=SIDE):
    """An image that tells of each pixel whose it is and where it lay."""
    rows, columns = np.mgrid[:side, :side] / (2 * side)
    return torch.tensor(np.stack([np.full((side, side), number / 10), rows, columns]))


def box(top, left, height, width, side=SIDE):
    mask = torch.zeros(side, side, dtype=torch.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


IMAGE, BEHIND, BEFORE = coded(1), coded(2), coded(3)
OURS, THEIRS, OTHERS = box(2, 2, 6, 6), box(8, 4, 4, 8), box(4, 6, 8, 4)
FILL = torch.tensor([0.9, 0.8, 0.7])


def beside(ours=OURS, theirs=THEIRS, others=OTHERS, fill=FILL):
    donors = [
        Donor(image[None], {MASK: mask[None]}, {MASK: fill[None] / 2})
        for image, mask in ((BEHIND, theirs), (BEFORE, others))
    ]
    return Beside({MASK: ours[None]}, {MASK: fill[None]}, donors)


def made(kind, drawn=ALWAYS, there=None, **more):
    operation = Background(build(BackgroundSpec, {"kind": kind, "p": 1, **more}, "a"))
    there = there or beside()
    row = torch.tensor([drawn])
    return operation.compose(IMAGE[None], row, there)[0], operation, there, row


def by_loops(image, mask):
    """An image with its subject covered: the first free square of half a side, repeated."""
    for size, step in ((8, 2), (5, 1), (4, 1), (2, 1), (2, 1)):
        for top in range(0, SIDE - size + 1, step):
            for left in range(0, SIDE - size + 1, step):
                if not mask[top : top + size, left : left + size].any():
                    out = image.clone()
                    for row, column in mask.nonzero().tolist():
                        source = top + (row - top) % size, left + (column - left) % size
                        out[:, row, column] = image[:, source[0], source[1]]
                    return out
    raise AssertionError


def test_random_shows_the_donors_background_behind_the_own_subject():
    found, *_ = made("random")
    whole = by_loops(BEHIND, THEIRS)
    for row in range(SIDE):
        for column in range(SIDE):
            expected = IMAGE if OURS[row, column] else whole
            assert torch.equal(found[:, row, column], expected[:, row, column]), (row, column)
    assert (found[0] == 0.2).sum() == SIDE * SIDE - 36  # nothing of the donor's subject...
    seen = {tuple(pixel.tolist()) for pixel in found.flatten(1).T}
    assert not seen & {tuple(BEHIND[:, r, c].tolist()) for r, c in THEIRS.nonzero().tolist()}


def test_remove_shows_the_sources_colour_or_a_drawn_grey():
    found, *_ = made("remove")
    assert torch.equal(found[:, OURS > 0], IMAGE[:, OURS > 0])
    assert torch.allclose(found[:, OURS == 0], FILL[:, None].double())
    grey, *_ = made("remove", fill="grey")
    assert torch.all(grey[:, OURS == 0] == 0.25)


@pytest.mark.parametrize("on", [True, False], ids=["another background", "its own"])
def test_swap_opposes_with_another_subject_before_the_background_that_is_shown(on):
    drawn = [float(on), *ALWAYS[1:]]
    view, operation, there, row = made("swap", drawn)
    found, known = operation.match(IMAGE[None], row, there)
    whole = by_loops(BEHIND, THEIRS) if on else by_loops(IMAGE, OURS)
    assert known.tolist() == [True]
    for place in np.ndindex(SIDE, SIDE):
        expected = BEFORE if OTHERS[place] else whole
        assert torch.equal(found[0][(slice(None), *place)], expected[(slice(None), *place)]), place
    outside = (OURS == 0) & (OTHERS == 0)
    assert torch.equal(found[0][:, outside], view[:, outside])  # as the view itself shows
    hole = (OURS > 0) & (OTHERS == 0)
    assert not torch.equal(found[0][:, hole], IMAGE[:, hole])
    assert torch.equal(view, IMAGE) != on


@pytest.mark.parametrize("kind", ["remove", "random", "swap"])
def test_what_is_off_or_does_not_fit_stays(kind):
    off, operation, there, _ = made(kind, [0.0, *ALWAYS[1:]])
    assert torch.equal(off, IMAGE)
    for mask in (torch.ones_like(OURS), torch.zeros_like(OURS), box(0, 0, 2, 2)):
        there = beside(ours=mask)
        same, operation, there, row = made(kind, there=there)
        assert torch.equal(same, IMAGE)
        assert operation.fits(IMAGE[None], there).tolist() == [False]
        if kind == "swap":
            assert operation.match(IMAGE[None], row, there)[1].tolist() == [False]
    whole, *_ = made(kind, there=beside(ours=torch.ones_like(OURS)), area=[0, 1])
    assert torch.equal(whole, IMAGE)


def test_a_donor_without_background_gives_none_and_one_without_subject_opposes_nobody():
    full = torch.ones_like(THEIRS)
    assert torch.equal(made("random", there=beside(theirs=full))[0], IMAGE)
    _, operation, there, row = made("swap", there=beside(others=torch.zeros_like(OTHERS)))
    assert operation.match(IMAGE[None], row, there)[1].tolist() == [False]
    _, operation, there, row = made("swap", [1.0, 0.0, 0.0, 0.0])
    assert operation.match(IMAGE[None], row, there)[1].tolist() == [False]


def test_where_no_tile_is_free_the_sources_colour_fills_the_hole():
    chequered = torch.tensor(np.indices((SIDE, SIDE)).sum(0) % 2, dtype=torch.uint8)
    found, *_ = made("random", there=beside(theirs=chequered))
    hole = (OURS == 0) & (chequered > 0)
    assert torch.allclose(found[:, hole], (FILL / 2)[:, None].double())
    shown = (OURS == 0) & (chequered == 0)
    assert torch.equal(found[:, shown], BEHIND[:, shown])


def test_tiles_are_free_of_the_subject_and_differ_with_what_is_drawn():
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(64, 3, SIDE, SIDE, generator=rng)
    subject = torch.rand(64, SIDE, SIDE, generator=rng) < 0.1
    images = torch.where(subject[:, None], 7.0, images)
    for number in (0.0, 0.5, 0.999999, 1.0):  # float32 may round what is drawn up
        tiles, found = repeated(images, subject, torch.full((64,), number))
        assert (tiles[found] < 7).all()
        assert found.float().mean() > 0.9
    first, last = (repeated(images, subject, torch.full((64,), n))[0] for n in (0.0, 0.99))
    assert (first != last).flatten(1).any(1).float().mean() > 0.8


def test_probabilities_are_met_for_each_view_by_itself():
    operation = Background(build(BackgroundSpec, {"kind": "swap", "p": 0.3}, "a"))
    rows = np.stack([operation.draw(np.random.default_rng(seed)) for seed in range(4000)])
    on, opposed = rows[:, 0], rows[:, 1]
    assert on.mean() == pytest.approx(0.3, abs=0.03)
    assert opposed.mean() == pytest.approx(0.3, abs=0.03)
    assert (on * opposed).mean() == pytest.approx(0.09, abs=0.02)


def test_donors_of_another_size_are_resized_by_area_and_masks_by_nearest():
    large = [
        Donor(
            image.repeat_interleave(2, 1).repeat_interleave(2, 2)[None],
            {MASK: mask.repeat_interleave(2, 0).repeat_interleave(2, 1)[None]},
            {MASK: FILL[None] / 2},
        )
        for image, mask in ((BEHIND, THEIRS), (BEFORE, OTHERS))
    ]
    there = beside()
    for kind in ("random", "swap"):
        small = made(kind)[0]
        found = made(kind, there=Beside(there.planes, there.fills, large))[0]
        assert torch.allclose(found, small)


def test_masks_and_images_stay_together_through_crop_mirror_turn_and_warp():
    """The image tells of each pixel whether it is subject: what is kept must all say so."""
    rows, columns = np.mgrid[:64, :64]
    plane = ((rows - 20) ** 2 + (columns - 30) ** 2 < 14**2).astype(np.uint8)
    image = np.full((64, 64, 3), 40, np.uint8)
    image[plane > 0] = 220
    body = {
        "geometry": {"scale": [0.3, 1]},
        "warp": {"distortion": {"p": 0.5, "steps": 4}, "shuffle": {"p": 0.5}},
        "background": {"kind": "remove", "p": 1, "area": [0.01, 0.99]},
        "jitter": {"p": 0},
        "grey": 0,
    }
    plan = plain_plan(build(ViewsSpec, body, "a"), 64)
    wrong, composed = [], 0
    for sample in range(24):
        drawn, numbers = plan.draw(0, 0, sample, 0)
        cut = torch.tensor(plan.apply_on_worker(image, drawn)).permute(2, 0, 1)[None] / 255
        mask = torch.tensor(plan.apply_to_plane(plane, drawn))[None]
        there = Beside({MASK: mask}, {MASK: torch.tensor([[0.0, 1.0, 0.0]])})
        (out,) = plan.apply_on_device(cut, torch.tensor(numbers)[None], there)
        if (mask > 0).any() and (mask == 0).any():
            composed += 1
            kept = out[0] != 0  # where no fill lies
            assert torch.equal(kept, mask[0] > 0)
            wrong.append((out[0][kept] < 0.5).float().mean().item())  # but for the blended edge
    assert composed > 15
    assert max(wrong) < 0.12
    assert np.mean(wrong) < 0.04


def test_at_p_zero_there_is_no_operation_at_all():
    none = plain_plan(ViewsSpec(), 16)
    zero = plain_plan(build(ViewsSpec, {"background": {"kind": "swap", "p": 0}}, "a"), 16)
    assert [one.name for one in zero.operations] == [one.name for one in none.operations]
    assert not zero.matches


def test_other_draws_do_not_change_when_it_is_added():
    plans = [
        plain_plan(build(ViewsSpec, body, "a"), 16)
        for body in ({}, {"background": {"kind": "random", "p": 0.2}})
    ]
    (cut, rest), (other_cut, other_rest) = (plan.draw(3, 1, 5, 0) for plan in plans)
    assert all(map(np.array_equal, cut, other_cut))
    assert np.array_equal(rest, other_rest[Background.width :])


@pytest.mark.parametrize("area", [[0.5, 0.5], [0.9, 0.1], [-0.1, 0.5], [0, 1.5]])
def test_an_area_is_a_range_of_shares(area):
    with pytest.raises(ConfigError, match="area"):
        build(BackgroundSpec, {"p": 0.2, "area": area}, "views.background")


def test_a_probability_must_be_given_where_anything_is():
    with pytest.raises(ConfigError, match="p is not given"):
        build(BackgroundSpec, {"kind": "swap"}, "views.background")
