"""RandAugment against torchvision's; solarising, erasing and overlap by painted truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandAugment as Theirs
from torchvision.transforms.autoaugment import _apply_op

from histoscope.core.views.erasing import Erasing, Solarise
from histoscope.core.views.geometry import Geometry, overlap
from histoscope.core.views.plan import plain_plan
from histoscope.core.views.randaugment import CHANGES, GREY, RandAugment
from histoscope.core.views.spec import (
    ErasingSpec,
    GeometrySpec,
    RandAugmentSpec,
    SolariseSpec,
    ViewsSpec,
)

NAMES = {
    "identity": "Identity",
    "shear x": "ShearX",
    "shear y": "ShearY",
    "translate x": "TranslateX",
    "translate y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterise": "Posterize",
    "solarise": "Solarize",
    "autocontrast": "AutoContrast",
    "equalise": "Equalize",
}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_each_change_is_torchvisions(image, name, sign):
    assert list(NAMES) == list(CHANGES)
    spec = RandAugmentSpec(p=1, count=1, magnitude=15)
    drawn = np.array([1, list(CHANGES).index(name), sign], np.float32)
    ours = RandAugment(spec).apply(image, drawn)
    bins, signed = Theirs(num_magnitude_bins=31)._augmentation_space(31, (32, 32))[NAMES[name]]
    magnitude = float(bins[15]) if bins.ndim else 0.0
    theirs = _apply_op(
        torch.from_numpy(image).permute(2, 0, 1),
        NAMES[name],
        magnitude * (sign if signed else 1),
        InterpolationMode.NEAREST,
        GREY,
    )
    assert np.array_equal(ours, theirs.permute(1, 2, 0).numpy())


def test_it_is_off_in_the_share_that_is_drawn_and_follows_its_numbers(image):
    operation = RandAugment(RandAugmentSpec(p=0.25, count=3, magnitude=9))
    rng = np.random.default_rng(0)
    drawn = [operation.draw(rng) for _ in range(2000)]
    assert np.mean([one[0] for one in drawn]) == pytest.approx(0.25, abs=0.03)
    assert set(np.concatenate([one[1:4] for one in drawn])) == set(range(len(CHANGES)))
    on = next(one for one in drawn if one[0])
    assert np.array_equal(operation.apply(image, on), operation.apply(image, on))
    off = next(one for one in drawn if not one[0])
    assert np.array_equal(operation.apply(image, off), image)


def test_solarising_inverts_what_is_bright():
    images = torch.tensor([0.2, 0.5, 0.9])[None, :, None, None].repeat(2, 1, 1, 1)
    out = Solarise(SolariseSpec(p=1)).apply(images, torch.tensor([[1.0], [0.0]]))
    assert torch.allclose(out[:, :, 0, 0], torch.tensor([[0.2, 0.5, 0.1], [0.2, 0.5, 0.9]]))


def test_erasing_paints_the_rectangle_that_is_drawn():
    images = torch.full((2, 3, 10, 20), 0.5)
    drawn = torch.tensor([[1, 0.25, 0.5, 0.5, 0.2, 0.1, 0.2, 0.3], [0, *[0.5] * 4, 1, 1, 1]])
    out = Erasing(ErasingSpec(p=1)).apply(images, drawn)
    expected = images.clone()
    expected[0, :, 5:7, 5:15] = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    assert torch.equal(out, expected)


def test_erased_rectangles_lie_inside_and_have_the_area_asked_for():
    operation = Erasing(ErasingSpec(p=1, area=(0.1, 0.2), ratio=(0.5, 2)))
    rng = np.random.default_rng(0)
    drawn = np.stack([operation.draw(rng) for _ in range(500)])
    assert drawn.shape[1] == operation.width
    assert (drawn[:, 1] + drawn[:, 3]).max() <= 1 + 1e-6
    assert (drawn[:, 2] + drawn[:, 4]).max() <= 1 + 1e-6
    area = drawn[:, 3] * drawn[:, 4]
    assert 0.1 - 1e-6 <= area.min() < area.max() <= 0.2 + 1e-6


def crops(least):
    first = np.array([0.1, 0.1, 0.3, 0.3, 0, 0], np.float32)
    geometry = Geometry(GeometrySpec(scale=(0.05, 0.15), overlap=least), 32)
    rng = np.random.default_rng(1)
    return np.array([overlap(geometry.draw(rng, first), first) for _ in range(400)])


def test_overlap_by_hand():
    one = np.array([0, 0, 0.5, 0.5, 0, 0], np.float32)
    other = np.array([0.25, 0.25, 0.5, 1.0, 0, 0], np.float32)
    assert overlap(one, other) == pytest.approx(0.25)
    assert overlap(other, one) == pytest.approx(0.125)
    assert overlap(one, np.array([0.5, 0.5, 0.5, 0.5, 0, 0], np.float32)) == 0


def test_small_crops_look_for_the_first_view_ten_times():
    free, near = crops(0.0), crops(0.1)
    assert (free >= 0.1).mean() < 0.6
    assert (near >= 0.1).mean() > 0.95


def test_what_is_not_asked_for_changes_no_draw_and_makes_no_operation():
    plain = plain_plan(ViewsSpec(), 32)
    assert [operation.name for operation in plain.operations] == ["jitter", "grey"]
    assert not plain.warps
    more = ViewsSpec(randaugment={"p": 1}, solarise={"p": 1}, erasing={"p": 1})
    full = plain_plan(more, 32)
    assert [one.name for one in full.operations] == ["jitter", "grey", "solarise", "erasing"]
    (one, two), (rows, numbers) = plain.draw(1, 2, 3, 0), full.draw(1, 2, 3, 0)
    assert np.array_equal(one[0], rows[0])
    assert np.array_equal(two, numbers[: len(two)])
