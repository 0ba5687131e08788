"""Monitors against their formulas, and that they speak when features collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from histoscope.core.config import build
from histoscope.core.errors import DataError
from histoscope.core.progress import Silent
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.journal import read_metrics
from histoscope.core.training.monitors import (
    Monitor,
    alarms,
    effective_rank,
    embedding_std,
    feature_energy,
    neighbour_accuracy,
)
from histoscope.core.training.spec import PretrainSpec
from tests.made import truth


class Hearing(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_the_effective_rank_counts_directions():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(64, 8)))
    mixture, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    assert effective_rank(basis @ mixture) == pytest.approx(8, abs=0.01)
    assert effective_rank(np.ones((64, 8))) == pytest.approx(1, abs=0.01)


def test_the_deviation_is_one_on_the_sphere_and_none_at_a_point():
    rng = np.random.default_rng(0)
    assert embedding_std(rng.normal(size=(5000, 32))) == pytest.approx(1, abs=0.02)
    assert embedding_std(np.ones((10, 32))) == pytest.approx(0, abs=1e-9)


def test_the_energy_is_its_formula():
    features = np.random.default_rng(0).normal(size=(7, 3))
    total, pairs = 0.0, 0
    for i in range(7):
        for j in range(i):
            one, other = (row / math.sqrt(sum(v * v for v in row)) for row in features[[i, j]])
            total += 1 / math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)))
            pairs += 1
    assert feature_energy(features) == pytest.approx(total / pairs, rel=1e-12)


def test_neighbours_are_others():
    """Labels at random: a row that saw itself would be right more often than chance."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    assert neighbour_accuracy(rng.normal(size=(400, 8)), truth(labels)) == pytest.approx(
        0.5, abs=0.08
    )
    apart = rng.normal(size=(400, 8)) + 20 * labels[:, None]
    assert neighbour_accuracy(apart, truth(labels)) == 1


def test_alarms():
    fine = {"effective_rank": 60.0, "embedding_std": 0.6}
    low = {"effective_rank": 20.0, "embedding_std": 0.6}
    assert alarms(fine, None, 512) == alarms(low, None, 512) == alarms(fine, low, 512) == []
    assert "span 20.0 of 512" in alarms(low, low, 512)[0]
    assert "fell from 60.0 to 10.0" in alarms({**fine, "effective_rank": 10.0}, fine, 128)[0]
    assert "hardly differ" in alarms({**fine, "embedding_std": 0.05}, None, 512)[0]
    flat = {**fine, "projection_std": 0.02}
    assert alarms(flat, None, 512) == alarms(flat, fine, 512) == []
    assert alarms({**fine, "projection_std": 0.4}, flat, 512) == []
    assert alarms(flat, flat, 512) == ["projections hardly differ (projection_std 0.020)"]


def test_measuring_changes_nothing_of_the_network():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()
    ).train()
    network.dim = 144
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), dtype=np.uint8)
    state = torch.get_rng_state()
    now, _ = Monitor(images, None).measure(network, torch.device("cpu"))
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())
    assert set(now) == {"effective_rank", "embedding_std", "feature_energy"}


def spec_of(**more):
    monitor = {"every": 2, "images": 16, **more.pop("monitor", {})}
    training = {"steps": 6, "batch_size": 8, "threads": 1, "workers": 0, "monitor": monitor}
    body = {"encoder": "test_resnet", "training": {**training, **more}}
    return build(PretrainSpec, body, "test")


def test_a_run_writes_them_and_its_labels_only_watch(toy, toy_store, tmp_path):
    for name, monitor in (("plain", {}), ("watched", {"task": "hue"})):
        said = Hearing()
        spec = spec_of(monitor=monitor)
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / name, progress=said)
        assert not any("collapsed" in line for line in said.lines)
        assert (tmp_path / name / "monitors.png").is_file()
    rows = read_metrics(tmp_path / "watched" / "monitors.csv")
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert 0 <= float(rows[-1]["neighbour_accuracy"]) <= 1
    one, other = (
        (tmp_path / name / "encoder.safetensors").read_bytes() for name in ("plain", "watched")
    )
    assert one == other
    spec = spec_of(monitor={"task": "shade"})
    with pytest.raises(DataError, match="shade"):
        pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "other", progress=Silent())
    assert not (tmp_path / "other").exists()


def test_a_forced_collapse_is_said(toy, toy_store, tmp_path):
    """Weight decay a thousand times the usual takes every feature to one point."""
    said = Hearing()
    optimiser = {"kind": "sgd", "learning_rate": 1.0, "weight_decay": 1.0, "warmup": 0.0}
    spec = spec_of(optimiser=optimiser, steps=20)
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=said)
    assert any("training may have collapsed" in line for line in said.lines)
