"""Where pickled files are opened in these tests."""

from __future__ import annotations

import pytest

from histoscope.core.encoders import checkpoint, unpickling


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """The script that unpickles runs in this process, but where a test is about the other one."""
    if "another_process" not in request.fixturenames:
        answer = lambda source, target: unpickling.main(str(source), str(target))  # noqa: E731
        monkeypatch.setattr(checkpoint, "in_another_process", answer)


@pytest.fixture
def another_process() -> None:
    """As it really is."""
