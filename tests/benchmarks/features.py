"""``python -m tests.benchmarks.features STORE``: what keeping features saves, and two readers.

Seconds of a whole call and images encoded by it: ``finetune`` and ``evaluate`` of an encoder that
the store has not seen, and the same again; then ``predict`` on one large section with one reading
process and with two, the network on one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from histoscope.core.config import build
from histoscope.core.data.store import Store
from histoscope.core.inference.runner import Runner
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.runtime.device import Compute
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.work.local import Local
from histoscope.domains.pathology.options import ReadOptions
from tests.benchmarks.stain import tiles

SIDE = 60  # tiles a side of the section
COUNTED = [0]


def tell(name: str, act: Callable[..., Any], *words: Any, **more: Any) -> None:
    """Call, and print seconds and the images that were encoded in this process."""
    COUNTED[0], began = 0, time.perf_counter()
    act(*words, **more, progress=Silent())
    seconds = time.perf_counter() - began
    sys.stdout.write(f"{name}: {seconds:.1f} s, {COUNTED[0]} images encoded here\n")


def main(store: Path) -> None:
    """Measure and print."""
    encode = Runner._features

    def counting(self: Runner, images: list[Any]) -> Any:
        COUNTED[0] += len(images)
        return encode(self, images)

    Runner._features = counting  # type: ignore[method-assign]
    opened, seed = Store(store), time.time_ns() % 2**31
    spec = build(FinetuneSpec, {"fraction": 1, "draws": 1, "seed": seed}, "benchmark")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in ("first", "second"):
            tell(f"{name} finetune", finetune, opened, "random:resnet18", spec, out / name)
            package = open_package(out / name)
            tell(f"{name} evaluate", evaluate, package, opened, out / f"e-{name}")
        side = opened.sampling.size_px
        some = np.resize(tiles(64, side), (SIDE, SIDE, side, side, 3))
        (out / "new").mkdir()
        picture = out / "new" / "section.png"
        Image.fromarray(np.vstack([np.hstack(row) for row in some])).save(picture, compress_level=1)
        options = ReadOptions(default_mpp=opened.sampling.scale()["mpp"])
        for call, readers in enumerate((1, 2, 1, 2)):
            more = {"engine": Local(readers), "compute": Compute(threads=1)}
            words = out / "first", {"input": out / "new"}, options, out / f"predicted-{call}"
            tell(f"predict {SIDE**2} tiles, {readers} reading", predict, *words, **more)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
