"""Copies of labelled training samples among those of an evaluation are found."""

from __future__ import annotations

import numpy as np
import pytest

from histoscope.core.data.store import Store
from histoscope.core.evaluation.cautions import CENTRES
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local


@pytest.fixture
def store_with(toy, tmp_path):
    """A store of a train and a test stack; the last images of the test are given."""

    def make(copied: int, plain: int = 0) -> Store:
        folder = tmp_path / "toy"
        folder.mkdir()
        toy.write_stack(folder / "a-train.npy", 40, 0)
        toy.write_stack(folder / "b-test.npy", 24, 1)
        ours, theirs = np.load(folder / "a-train.npy"), np.load(folder / "b-test.npy")
        if copied:
            theirs[-copied:] = ours[:copied]
        for place in range(plain):  # empty pictures on both sides
            ours[place] = theirs[place] = 240
            ours[place, 0, 0, 0] = theirs[place, 0, 0, 0] = place % 2
        np.save(folder / "a-train.npy", ours)
        np.save(folder / "b-test.npy", theirs)
        prepare(
            toy.DOMAIN,
            {"input": folder},
            toy.ToySampling(),
            toy.ToyOptions(),
            tmp_path / "store",
            engine=Local(0),
            progress=Silent(),
        )
        return Store(tmp_path / "store")

    return make


def cautions_of(store, tmp_path, encoder="colour"):
    package = finetune(
        store, encoder, ProbeSpec(fraction=1.0, draws=1), tmp_path / "p", progress=Silent()
    )
    body = evaluate(package, store, tmp_path / "e", progress=Silent())
    return body["tasks"]["hue"]["cautions"]


@pytest.mark.parametrize("encoder", ["colour", "random:test_resnet"])
def test_copies_are_counted(store_with, tmp_path, encoder):
    cautions = cautions_of(store_with(copied=5), tmp_path, encoder)
    assert cautions[-1].startswith("LEAKAGE SUSPECTED: 5 of 24 samples look like one of the 40")


@pytest.mark.parametrize("plain", [0, 6])
def test_other_pictures_and_empty_ones_are_not(store_with, tmp_path, plain):
    cautions = cautions_of(store_with(copied=0, plain=plain), tmp_path)
    assert not any("LEAKAGE" in caution for caution in cautions)
    assert CENTRES in cautions
