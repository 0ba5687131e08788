"""``python -m tests.benchmarks.features STORE``: a second ``finetune`` beside the first, and readers.

Seconds of the whole call and images encoded, of an encoder that the store has not seen; then of
``predict`` on one large section with one reading process and with two.
"""

from __future__ import annotations

import shutil
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
COUNTED = {"images": 0}


def timed(act: Callable[[], Any]) -> tuple[float, int]:
    """Seconds, and images encoded in this process."""
    COUNTED["images"], began = 0, time.perf_counter()
    act()
    return time.perf_counter() - began, COUNTED["images"]


def main(store: Path) -> None:
    """Measure and print."""
    encode = Runner._features

    def counting(self: Runner, images: list[Any]) -> Any:
        COUNTED["images"] += len(images)
        return encode(self, images)

    Runner._features = counting  # type: ignore[method-assign]
    opened, seed = Store(store), time.time_ns() % 2**31
    spec = build(FinetuneSpec, {"fraction": 1, "draws": 1, "seed": seed}, "benchmark")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in ("first", "second"):
            package, ours = out / name, {"progress": Silent()}
            took = timed(lambda: finetune(opened, "random:resnet18", spec, package, **ours))  # noqa: B023
            scored = timed(
                lambda: evaluate(open_package(package), opened, out / f"e-{name}", **ours)
            )  # noqa: B023
            for what, (seconds, images) in (("finetune", took), ("evaluate", scored)):
                sys.stdout.write(f"{name} {what}: {seconds:.1f} s, {images} images encoded\n")
        side = opened.sampling.size_px
        some = np.resize(tiles(64, side), (SIDE, SIDE, side, side, 3))
        (out / "new").mkdir()
        picture = out / "new" / "section.png"
        Image.fromarray(np.vstack([np.hstack(row) for row in some])).save(picture, compress_level=1)
        options = ReadOptions(default_mpp=opened.sampling.scale()["mpp"])
        for readers in (1, 2, 1, 2):
            engine, results = Local(readers), out / f"predicted-{readers}"
            compute = Compute(threads=1)
            took = timed(
                lambda: predict(
                    out / "first",
                    {"input": out / "new"},
                    options,
                    results,  # noqa: B023
                    engine=engine,  # noqa: B023
                    compute=compute,  # noqa: B023
                    progress=Silent(),
                )
            )
            sys.stdout.write(f"predict, {readers} reading: {took[0]:.1f} s, {SIDE**2} tiles\n")
            shutil.rmtree(results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
