"""Colour operations: identity parameters, formulas by hand, one row an image."""

import numpy as np
import pytest
import torch

from histoscope.core.views.colour import Blur, Grey, Jitter, turn_hue
from histoscope.core.views.geometry import Geometry
from histoscope.core.views.spec import BlurSpec, GeometrySpec, JitterSpec


@pytest.fixture
def images():
    return torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_jitter_of_nothing_is_the_identity(images):
    drawn = torch.tensor([[1.0, 1, 1, 1, 0]] * 3)
    assert torch.allclose(Jitter(JitterSpec()).apply(images, drawn), images, atol=1e-5)


def test_jitter_leaves_rows_that_are_off(images):
    drawn = torch.tensor([[0.0, 0.5, 2, 2, 0.3], [1.0, 0.5, 1, 1, 0], [0.0, 2, 1, 1, 0]])
    out = Jitter(JitterSpec()).apply(images, drawn)
    assert torch.equal(out[0], images[0])
    assert torch.allclose(out[1], images[1] * 0.5, atol=1e-5)


def test_hue_turned_all_around_comes_back(images):
    assert torch.allclose(turn_hue(images, torch.ones(3, 1, 1, 1)), images, atol=1e-4)


def test_grey_has_equal_channels_where_on(images):
    out = Grey(0.5).apply(images, torch.tensor([[1.0], [0.0], [1.0]]))
    assert torch.equal(out[0, 0], out[0, 1])
    assert torch.equal(out[1], images[1])


def test_blur_is_the_gaussian_convolution_written_as_loops(images):
    blur = Blur(BlurSpec(p=1, sigma_px=(0.5, 0.5)))
    out = blur.apply(images, torch.tensor([[1.0, 0.5]] * 3))
    place = np.arange(-blur.radius, blur.radius + 1)
    kernel = np.exp(-0.5 * (place / 0.5) ** 2)
    kernel /= kernel.sum()
    image = images[1, 2].double().numpy()
    padded = np.pad(image, blur.radius, mode="edge")
    y, x = 5, 1
    expected = sum(
        kernel[i] * kernel[j] * padded[y + i, x + j]
        for i in range(len(kernel))
        for j in range(len(kernel))
    )
    assert out[1, 2, y, x].item() == pytest.approx(expected, abs=1e-6)


def test_geometry_of_the_whole_image_is_the_identity():
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    whole = np.array([0, 0, 1, 1, 0, 0], dtype=np.float32)
    assert (Geometry(GeometrySpec(), 8).apply(image, whole) == image).all()


@pytest.mark.parametrize("turns", range(4))
def test_geometry_turns_and_mirrors(turns):
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    drawn = np.array([0, 0, 1, 1, 1, turns], dtype=np.float32)
    assert (
        Geometry(GeometrySpec(), 8).apply(image, drawn) == np.rot90(image[:, ::-1], turns)
    ).all()
