"""A method without its guard against collapse is found out, on images that are nothing special."""

from __future__ import annotations

import pytest
from torch import nn

from histoscope.core.config import build
from histoscope.core.errors import HistoscopeError
from histoscope.core.objectives import OBJECTIVES
from histoscope.core.objectives.byol import BYOL
from histoscope.core.objectives.dino import DINO
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.spec import PretrainSpec
from tests.core.training.test_resume import Hearing

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_pictures")]
STEPS = 120


class Unpredicted(BYOL):
    """BYOL whose views are to be the same, without a predictor."""

    def __init__(self, encoder, spec, setting):
        super().__init__(encoder, spec, setting)
        self.predictor = nn.Identity()


class Uncentred(DINO):
    """DINO whose targets are nowhere centred."""

    def after_step(self, projected, rows, clock):
        pass


AT_ONCE = {"momentum": {"start": 0.0, "end": 0.0}}
WAYS = {
    "byol without predictor": (Unpredicted, {"base": "byol", **AT_ONCE}, 1e-2),
    "dino without centre": (
        Uncentred,
        {"base": "dino", "prototypes": 64, "frozen": 0.0, "teacher": AT_ONCE},
        1e-2,
    ),
    "simclr at 100 times the rate": (None, {"base": "simclr"}, 0.3),
}


def heard(toy, store, out, monkeypatch, planted, settings, rate):
    """What a run says, and how it ended."""
    if planted is not None:
        monkeypatch.setattr(OBJECTIVES, "load", lambda name: planted)
    training = {
        "steps": STEPS,
        "batch_size": 16,
        "threads": 1,
        "workers": 0,
        "optimiser": {"learning_rate": rate, "warmup": 0.0},
        "monitor": {"every": 20},
    }
    views = {"geometry": {"size_px": 32}}
    body = {"encoder": "test_resnet", "objective": settings, "views": views, "training": training}
    hearing = Hearing()
    try:
        pretrain(store, toy.DOMAIN, build(PretrainSpec, body, "test"), out, progress=hearing)
    except HistoscopeError as fault:
        hearing.lines.append(str(fault))
    return hearing.lines


def told(lines):
    return [line for line in lines if "collapsed" in line or "not finite" in line]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_said(toy, toy_store, tmp_path, monkeypatch, way):
    lines = heard(toy, toy_store, tmp_path / "run", monkeypatch, *WAYS[way])
    assert told(lines), lines


FEW = {"kind": "interclr", "clusters": 4, "pool": 10, "negatives": 4}
GUARDED = {
    **{base: {"base": base} for base in ("byol", "dino", "simclr")},
    "cmsf": {"base": "cmsf", "neighbours": {"rows": 20}},
    "cmsf, second bank": {
        "base": "cmsf",
        "neighbours": {"rows": 20},
        "constraint": "second_bank",
    },
    "simclr, ifnd": {"base": "simclr", "negatives": {"kind": "ifnd", "clusters": [4, 8]}},
    "simclr, interclr": {"base": "simclr", "positives": FEW},
    "relicv2": {"base": "relicv2", "local": 2},
    "moco_v2, revisiting": {
        "base": "moco_v2",
        "momentum": {"rows": 20, "groups": 1},
        "local": 2,
        "positives": {"kind": "revisiting", "count": 4},
    },
}


@pytest.mark.parametrize("way", GUARDED)
def test_with_its_guard_nothing_is_said(toy, toy_store, tmp_path, monkeypatch, way):
    lines = heard(toy, toy_store, tmp_path / "run", monkeypatch, None, GUARDED[way], 1e-3)
    assert not told(lines), lines
