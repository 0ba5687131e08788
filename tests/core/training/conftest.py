"""What tests of training share."""

import pytest


@pytest.fixture
def no_pictures(monkeypatch):
    """Leave out a run's curves, which take longer to draw than its few steps."""
    monkeypatch.setattr("histoscope.core.stages.pretrain.draw_journal", lambda folder: None)
