"""Every domain keeps its contract on its own phantom, made small."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from histoscope.core.contracts.installed import load_domain
from histoscope.core.testing.domains import check_domain
from histoscope.domains.pathology.phantom import slides
from histoscope.domains.surgery import phantom as operations

SIZES = {
    "pathology": (slides, {"train": 2, "valid": 1, "test": 1, "new": 1, "side_px": 384}),
    "surgery": (operations, {"train": 1, "valid": 1, "test": 1, "new": 1, "seconds": 20}),
}


@pytest.mark.parametrize("name", SIZES)
def test_it_keeps_its_contract(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, size = SIZES[name]
    monkeypatch.setattr(module, "write_phantom", partial(module.write_phantom, **size))
    phantom = load_domain(name).phantom(tmp_path, 0)
    for roots, options in (
        ({"input": phantom.new}, phantom.predict_options),
        ({"input": phantom.labelled}, phantom.prepare_options),
    ):
        assert check_domain(name, roots, options, phantom.sampling) > 0
