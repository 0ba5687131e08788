"""A run of any method that was cut off within an epoch ends as an unbroken one, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from histoscope.core.config import build
from histoscope.core.progress import Silent
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.spec import PretrainSpec
from tests.core.training.test_resume import AN_EPOCH, STEPS, cut_off, outcome
from tests.made import write_model

pytestmark = pytest.mark.usefixtures("no_pictures")

NARROW = {"projector": {"hidden": 16, "out": 8}}
MIXTURES = {"kind": "mochi", "hardest": 8, "pairs": 4, "with_query": 2, "begins": 0.2}
METHODS = {
    "moco_v2, mochi, unmix": {
        "base": "moco_v2",
        "momentum": {"rows": 20, "groups": 1},
        "synthetic": MIXTURES,
        "mixing": "unmix",
    },
    "swav with its queue": {
        "base": "swav",
        "local": 2,
        "codes": {"prototypes": 6, "queue": 16, "queue_from": 0.2},
    },
    "dino": {"base": "dino", "local": 2, "prototypes": 12},
    "ibot": {"base": "ibot", "local": 2, "prototypes": 12, "spread": 0.1},
    "moco_v2, ifnd": {
        "base": "moco_v2",
        "momentum": {"rows": 20, "groups": 1},
        "negatives": {"kind": "ifnd", "clusters": [2, 5]},
    },
    "moco_v2, interclr": {
        "base": "moco_v2",
        "momentum": {"rows": 20, "groups": 1},
        "positives": {
            **{"kind": "interclr", "clusters": 4, "pool": 10, "negatives": 4},
            **{"every": 2, "begins": 0.2},
        },
    },
    "moco_v2, revisiting": {
        "base": "moco_v2",
        "momentum": {"rows": 20, "groups": 1},
        "local": 2,
        "positives": {"kind": "revisiting", "count": 4, "begins": 0.2},
    },
    "relicv2": {"base": "relicv2", "large": 3, "local": 1},
    "cmsf, kmeans": {
        "base": "cmsf",
        "neighbours": {"rows": 20, "count": 4},
        "constraint": {"kind": "kmeans", "clusters": 4},
    },
    "cmsf, second bank": {
        "base": "cmsf",
        "neighbours": {"rows": 20, "count": 4},
        "constraint": {"kind": "second_bank", "nearest": 4},
    },
    "simreg": {"base": "simreg", "teacher": "random:test_resnet"},
    "distil": {"base": "distil", "teacher": "PACKAGE", "temperature": 2.0},
    "byol, cassle": {"base": "byol", "continual": {"kind": "cassle", "hidden": 16}},
    "moco_v2, order": {
        "base": "moco_v2",
        "momentum": {"rows": 20, "groups": 1},
        "order": {"kind": "plackett_luce", "samples": 3},
    },
    "simclr, near": {"base": "simclr", "positives": "near"},
}


def spec_of(method: str, package: Path) -> PretrainSpec:
    """More than an epoch, on a network with batch norm or, where patches are hidden, a ViT."""
    asked = METHODS[method] if method in ("simreg", "distil") else {**NARROW, **METHODS[method]}
    if method == "distil":
        asked = {**asked, "teacher": str(package)}
    patches = METHODS[method]["base"] == "ibot"
    views = {"geometry": {"size_px": 32 if patches else 48}}
    if "local" in METHODS[method]:
        views["families"] = {
            "local": {"geometry": {"size_px": 16, "scale": [0.2, 0.5], "overlap": 0.1}}
        }
    training = {
        "steps": STEPS,
        "batch_size": 8,
        "threads": 1,
        "workers": 0,
        "checkpoint_every": 2,
        "memory_format": "contiguous",
    }
    body = {
        "encoder": "test_vit" if patches else "test_resnet",
        "objective": asked,
        "views": views,
        "training": training,
        "init": "random:test_resnet" if "continual" in METHODS[method] else None,
    }
    return build(PretrainSpec, body, "test")


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_ends_as_an_unbroken_one(toy, toy_store, tmp_path, method):
    if method == "distil":
        write_model(toy_store, tmp_path / "package")
    spec = spec_of(method, tmp_path / "package")
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "whole", progress=Silent())
    found = cut_off(toy_store, toy, spec, tmp_path / "killed", AN_EPOCH + 2)
    assert found == outcome(tmp_path / "whole")
    kept = [tmp_path / name / "objective.safetensors" for name in ("whole", "killed")]
    assert kept[0].read_bytes() == kept[1].read_bytes()
