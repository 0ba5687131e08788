"""``python -m tests.smoke FOLDER``: a small phantom, its store and a package, for the image."""

import sys
from pathlib import Path

from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.store import Store
from histoscope.core.learning.spec import ProbeSpec
from histoscope.core.progress import Silent
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.prepare import prepare
from histoscope.domains.pathology.phantom.slides import write_phantom


def make(folder: Path) -> None:
    """Write ``phantom/``, ``store/`` and ``package/`` (an untrained network and a probe)."""
    small = {"train": 2, "valid": 1, "test": 1, "new": 1, "side_px": 512}
    write_phantom(folder / "phantom", 0, **small)
    domain = load_domain("pathology")
    options = domain.options["prepare"](layout="folders", mpp=1.0, case_regex=r"(case-\d+)_")
    prepare(
        domain,
        {"input": folder / "phantom" / "labelled"},
        domain.sampling(size_px=64, tile_mpp=1.0),
        options,
        folder / "store",
        progress=Silent(),
    )
    spec = ProbeSpec(fraction=0.5, draws=2)
    finetune(
        Store(folder / "store"), "random:resnet18", spec, folder / "package", progress=Silent()
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
