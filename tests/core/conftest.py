"""The toy domain from outside the package, and a small store of it."""

import importlib
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "toy_plugin"


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Put the toy distribution on the path, as an installed plug-in would be."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    importlib.invalidate_caches()
    import toy_domain

    yield toy_domain
    sys.modules.pop("toy_domain", None)


@pytest.fixture
def toy_folder(toy, tmp_path):
    """Three files: train, valid and test."""
    folder = tmp_path / "toy"
    folder.mkdir()
    for seed, (part, count) in enumerate([("train", 40), ("valid", 12), ("test", 24)]):
        toy.write_stack(folder / f"a{seed}-{part}.npy", count, seed)
    return folder


@pytest.fixture
def toy_store(toy, toy_folder, tmp_path):
    """A finished store of the toy folder."""
    from histoscope.core.data.store import Store
    from histoscope.core.progress import Silent
    from histoscope.core.stages.prepare import prepare
    from histoscope.core.work.local import Local

    prepare(
        toy.DOMAIN,
        {"input": toy_folder},
        toy.ToySampling(),
        toy.ToyOptions(),
        tmp_path / "store",
        encoding="lossless",
        engine=Local(0),
        progress=Silent(),
    )
    return Store(tmp_path / "store")


import pytest


@pytest.fixture
def signs_store(toy, toy_folder, tmp_path):
    """A store whose samples have one hue and any number of signs."""
    from histoscope.core.data.store import Store
    from histoscope.core.progress import Silent
    from histoscope.core.stages.prepare import prepare
    from histoscope.core.work.local import Local

    prepare(
        toy.DOMAIN,
        {"input": toy_folder},
        toy.ToySampling(),
        toy.ToyOptions(with_signs=True),
        tmp_path / "signs",
        engine=Local(0),
        progress=Silent(),
    )
    return Store(tmp_path / "signs")
