"""Ranges of views that no draw can be made from."""

from __future__ import annotations

import math

import pytest

from histoscope.core.config import build
from histoscope.core.errors import ConfigError
from histoscope.core.views.spec import ViewsSpec


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"geometry": {"ratio": [0, 1]}}, "geometry.ratio"),
        ({"geometry": {"ratio": [1.5, 1.2]}}, "geometry.ratio"),
        ({"geometry": {"scale": [-1, 0.5]}}, "geometry.scale"),
        ({"geometry": {"scale": [2, 3]}}, "geometry.scale"),
        ({"blur": {"p": 1, "sigma_px": [1, math.inf]}}, "blur.sigma_px"),
        ({"blur": {"p": 1, "sigma_px": [0, 0]}}, "blur.sigma_px"),
        ({"blur": {"p": 1, "sigma_px": [math.nan, 1]}}, "blur.sigma_px"),
    ],
)
def test_they_are_refused_by_name(body, says):
    with pytest.raises(ConfigError, match=rf"{says}.*0 < low <= high"):
        build(ViewsSpec, body, "views")


def test_a_single_value_is_a_range():
    assert build(ViewsSpec, {"geometry": {"scale": [1, 1]}}, "views").geometry.scale == (1, 1)
