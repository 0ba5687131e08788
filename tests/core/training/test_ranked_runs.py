"""Runs that learn the order of samples: what shows is learnt, what has none is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from histoscope.core.config import build
from histoscope.core.data.store import Store
from histoscope.core.errors import UsageError
from histoscope.core.progress import Silent
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.journal import read_metrics
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.work.local import Local

pytestmark = pytest.mark.usefixtures("no_pictures")

HEAD = {"projector": {"hidden": 16, "out": 8}}


def spec_of(**order):
    """A run that sees brightness."""
    body = {
        "encoder": "test_resnet",
        "objective": {**HEAD, "base": "simclr", "order": {"kind": "plackett_luce", **order}},
        "views": {"jitter": {"p": 0}, "grey": 0, "geometry": {"scale": [0.5, 1]}},
        "training": {
            **{"steps": 40, "batch_size": 16, "threads": 1, "workers": 0},
            "optimiser": {"kind": "adamw", "learning_rate": 0.01, "warmup": 0},
            "monitor": {"every": 0},
        },
    }
    return build(PretrainSpec, body, "test")


def store_of(toy, folder, values):
    """Two sources whose brightness tells how late an image is."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a-train", "b-train"):
        images = np.asarray(values)[:, None, None, None] + rng.integers(0, 40, (24, 16, 16, 3))
        images[:, 0, 0, 0] = 0
        np.save(folder / f"{name}.npy", images.astype(np.uint8))
    out = folder.parent / f"{folder.name}-store"
    prepare(
        *(toy.DOMAIN, {"input": folder}, toy.ToySampling(), toy.ToyOptions(), out),
        engine=Local(0),
        progress=Silent(),
    )
    return Store(out)


@pytest.mark.parametrize("way", [1, -1])
def test_an_order_that_shows_is_learnt_and_its_reverse_too(toy, tmp_path, way):
    store = store_of(toy, tmp_path / "given", np.linspace(100, 210, 24)[::way])
    pretrain(store, toy.DOMAIN, spec_of(), tmp_path / "run", progress=Silent())
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    begin, end = ([float(row["order"]) for row in part] for part in (rows[:2], rows[-8:]))
    assert np.mean(begin) == pytest.approx(math.log(24), abs=0.5)  # chance of four
    assert np.mean(end) < 0.6 * math.log(24)
    assert np.mean([float(row["order_pairs"]) for row in rows[-8:]]) > 0.85


def test_an_order_that_does_not_show_is_not_learnt(toy, tmp_path):
    store = store_of(toy, tmp_path / "given", np.full(24, 150.0))
    pretrain(store, toy.DOMAIN, spec_of(weight=0.1), tmp_path / "run", progress=Silent())
    rows = read_metrics(tmp_path / "run" / "metrics.csv")[-8:]
    assert np.mean([float(row["order"]) for row in rows]) > 0.85 * math.log(24)


class Unordered:
    """The toy, of whose order nothing is known."""

    def __init__(self, domain):
        self._domain = domain

    def __getattr__(self, name):
        if name == "order":
            raise AttributeError(name)
        return getattr(self._domain, name)


def test_samples_without_an_order_are_refused(toy, toy_store, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with pytest.raises(
        UsageError, match=r"objective.order: samples of toy .*; leave it out"
    ) as one:
        pretrain(toy_store, Unordered(toy.DOMAIN), spec_of(), out, progress=Silent())
    monkeypatch.setattr(toy.ToyDomain, "order", lambda self, index: np.zeros(len(index)))
    with pytest.raises(UsageError, match="images none lies before or behind another") as two:
        pretrain(toy_store, toy.DOMAIN, spec_of(), out, progress=Silent())
    assert all(len(str(fault.value).splitlines()) == 1 for fault in (one, two))
    assert not out.exists()


def test_how_many_have_companions_is_said(toy, toy_store, tmp_path):
    spec = spec_of(samples=2)
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"steps": 1})})
    pretrain(toy_store, toy.DOMAIN, spec, tmp_path / "run", progress=Silent())
    said = "40 of 40 lie in an order within their source"
    assert said in (tmp_path / "run" / "log.txt").read_text()
