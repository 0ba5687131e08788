"""``python -m tests.benchmarks.read_slide FILE``: read all tiles, print count and peak memory."""

import sys
from pathlib import Path

from histoscope.domains.pathology import DOMAIN
from histoscope.domains.pathology.options import ReadOptions, TileSampling
from tests.benchmarks.memory import peak_mib


def read(slide: Path) -> int:
    """Read every tile of 256 px at 0.5 um/px; returns how many."""
    roots = {"input": slide}
    (source,) = DOMAIN.find(roots, ReadOptions())
    cut = TileSampling(size_px=256, tile_mpp=0.5, min_tissue=0)
    with DOMAIN.open(source, roots, cut) as reader:
        return sum(1 for _ in reader.read(reader.plan().rows))


if __name__ == "__main__":
    count = read(Path(sys.argv[1]))
    print(f"{count} tiles, peak {peak_mib():.0f} MiB")  # noqa: T201
