"""A toy store with a second task whose classes may be present together."""

import pytest


@pytest.fixture
def signs_store(toy, toy_folder, tmp_path):
    """A store whose samples have one hue and any number of signs."""
    from histoscope.core.data.prepare import prepare
    from histoscope.core.data.store import Store
    from histoscope.core.progress import Silent

    prepare(
        toy.DOMAIN,
        {"input": toy_folder},
        toy.ToySampling(),
        toy.ToyOptions(with_signs=True),
        tmp_path / "signs",
        workers=0,
        progress=Silent(),
    )
    return Store(tmp_path / "signs")
