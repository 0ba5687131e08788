"""Every domain keeps its contract on its own phantom."""

from __future__ import annotations

from pathlib import Path

import pytest

from histoscope.core.contracts.installed import load_domain
from histoscope.core.testing.domains import check_domain


@pytest.mark.parametrize("name", ["pathology", "surgery"])
def test_it_keeps_its_contract(name: str, tmp_path: Path) -> None:
    phantom = load_domain(name).phantom(tmp_path, 0)
    for roots, options in (
        ({"input": phantom.new}, phantom.predict_options),
        ({"input": phantom.labelled}, phantom.prepare_options),
    ):
        assert check_domain(name, roots, options, phantom.sampling) > 0
