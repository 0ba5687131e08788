"""Made operations, and a store of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from histoscope.core.data.store import Store
from histoscope.core.progress import Silent
from histoscope.core.stages.prepare import prepare
from histoscope.core.work.local import Local
from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from histoscope.domains.surgery.phantom import write_phantom

CUT = FrameSampling(size_px=32, fps=1.0)
SMALL = {"train": 2, "valid": 0, "test": 1, "new": 1, "seconds": 60, "spread_s": 0}


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("operations")
    write_phantom(out, 0, **SMALL)
    return out


@pytest.fixture
def copied(phantom: Path, tmp_path: Path) -> Path:
    """The training part, which a test may change."""
    return Path(shutil.copytree(phantom / "labelled" / "train", tmp_path / "copied"))


@pytest.fixture(scope="session")
def store(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("operations-store") / "store"
    roots = {"input": phantom / "labelled"}
    prepare(DOMAIN, roots, CUT, PrepareOptions(), out, engine=Local(0), progress=Silent())
    return Store(out)
