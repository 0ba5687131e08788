"""Warps of albumentations, by drawn seeds."""

import ast
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from histoscope.core.errors import ConfigError
from histoscope.core.randomness import generator
from histoscope.core.views.plan import plain_plan
from histoscope.core.views.spec import ViewsSpec, WarpSpec
from histoscope.core.views.warp import SEEDS, library, warps

HOUSE = Path(__file__).resolve().parents[3]
BOTH = {"distortion": {"p": 1, "steps": 5}, "shuffle": {"p": 1, "grid": 4}}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("seed", [0, 7, SEEDS - 1])
def test_a_warp_is_the_transform_called_by_hand_with_the_seed(image, seed):
    by_hand = [
        library().GridDistortion(
            num_steps=5,
            distort_limit=0.2,
            normalized=False,
            border_mode=cv2.BORDER_REFLECT,
            p=1,
        ),
        library().RandomGridShuffle(grid=(4, 4), p=1),
    ]
    for warp, transform in zip(warps(WarpSpec(**BOTH), 40), by_hand, strict=True):
        transform.set_random_seed(seed)
        expected = transform(image=image)["image"]
        found = warp.apply(image, np.array([1, seed], dtype=np.float32))
        assert (found == expected).all()
        assert (found != image).any()
        again = warp.apply(image, np.array([1, seed], dtype=np.float32))
        assert (again == found).all()


def test_a_shuffle_moves_whole_cells(image):
    (shuffle,) = warps(WarpSpec(shuffle={"p": 1, "grid": 4}), 40)

    def cells(of):
        return sorted(
            of[y : y + 10, x : x + 10].tobytes() for y in range(0, 40, 10) for x in range(0, 40, 10)
        )

    assert cells(shuffle.apply(image, np.array([1, 3], dtype=np.float32))) == cells(image)


def test_a_warp_that_is_off_leaves_the_image(image):
    for warp in warps(WarpSpec(**BOTH), 40):
        assert warp.apply(image, np.array([0, 3], dtype=np.float32)) is image


def test_seeds_survive_float32():
    (shuffle,) = warps(WarpSpec(shuffle={"p": 0.5}), 40)
    drawn = np.stack([shuffle.draw(generator(0, "test", place)) for place in range(2000)])
    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=0.05)
    assert drawn[:, 1].max() < SEEDS
    assert len(set(drawn[:, 1].tolist())) > 1990
    assert int(np.float32(SEEDS - 1)) == SEEDS - 1


@pytest.mark.parametrize(
    ("size_px", "steps"), [(16, 8), (32, 8), (40, 9), (71, 8), (72, 9), (96, 9), (224, 9)]
)
def test_a_distortion_never_shows_the_left_edge_at_the_right(size_px, steps):
    """A ramp of columns stays one; where 9 cells leave a rest, so many are named as fit."""
    if steps < 9:
        with pytest.raises(ConfigError, match=f"steps={steps}$"):
            warps(WarpSpec(distortion={"p": 1}), size_px)
    (distortion,) = warps(WarpSpec(distortion={"p": 1, "steps": steps}), size_px)
    ramp = np.linspace(0, 255, size_px).astype(np.uint8)[None, :, None].repeat(size_px, 0)
    for seed in range(20):
        warped = distortion.apply(ramp.repeat(3, 2), np.array([1, seed], dtype=np.float32))
        assert warped[:, -1].min() > 255 / 2


def test_the_size_of_a_view_decides_whether_a_distortion_fits():
    views = {"warp": {"distortion": {"p": 1}}, "geometry": {"size_px": 96}}
    assert plain_plan(ViewsSpec(**views), 32).warps
    with pytest.raises(ConfigError, match=r"9 cells do not fill a view of 32 px; --set .*steps=8"):
        plain_plan(ViewsSpec(warp=views["warp"]), 32)


def test_nothing_is_imported_before_a_warp_is_applied_and_nothing_asked_of_the_net():
    code = """
import sys, urllib.request
from histoscope.core.views.plan import plain_plan
from histoscope.core.views.spec import ViewsSpec
(warp,) = plain_plan(ViewsSpec(warp={"shuffle": {"p": 1}}), 32).warps
assert "albumentations" not in sys.modules
def refuse(*words, **more):
    sys.exit("asked the net")
urllib.request.OpenerDirector.open = refuse
import numpy as np
warp.apply(np.zeros((32, 32, 3), np.uint8), np.array([1, 0], np.float32))
assert "albumentations" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_one_module_alone_imports_albumentations():
    found = {
        file.name
        for part in ("core", "domains", "apps")
        for file in (HOUSE / part).glob("**/*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and "albumentations" in (getattr(node, "module", None) or node.names[0].name)
    }
    assert found == {"warp.py"}
