"""``python -m tests.benchmarks.read_video FILE``: read it at 1 fps; print count and peak memory."""

import sys
from pathlib import Path

from histoscope.domains.surgery import DOMAIN
from histoscope.domains.surgery.options import FrameSampling, PrepareOptions
from tests.benchmarks.memory import peak_mib

if __name__ == "__main__":
    roots, options = {"input": Path(sys.argv[1])}, PrepareOptions(video_reader="sequential")
    (source,) = DOMAIN.find(roots, options)
    with DOMAIN.open(source, roots, FrameSampling(size_px=224)) as reader:
        rows = reader.plan().rows
        count = sum(1 for _ in reader.read(rows))
        minutes = reader.duration_s / 60
    print(f"{minutes:.0f} min, {count} frames, peak {peak_mib():.0f} MiB")  # noqa: T201
