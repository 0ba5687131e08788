"""Fixtures for every part of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# how long an example takes, and how quickly they are made, depends on what else the machine does
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real test data beside the checkout: ``../shared/data``."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder}")
    return folder
