"""What keeping freed memory is worth on a CPU: processes with and without, in turn."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import torch

from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.runtime.allocator import keep_freed_memory
from tests.benchmarks.stain import Act, training_step

ROUNDS, WARM = 15, 5
WORK = {
    "training, ResNet-18, 128 images of 64 px": lambda: training_step(128, 64),
    "features, ResNet-18, 64 images of 224 px": lambda: features("resnet18", 64),
    "features, ResNet-50, 32 images of 224 px": lambda: features("resnet50", 32),
    "features, ViT-S, 32 images of 224 px": lambda: features("vit_small_patch16_224", 32),
}


def features(name: str, batch: int) -> Act:
    """What prediction does with a batch."""
    encoder = random_encoder(TimmSpec(name=name), 224, 0).eval()
    images = torch.zeros((batch, 224, 224, 3), dtype=torch.uint8)

    def act() -> torch.Tensor:
        with torch.inference_mode():
            out: torch.Tensor = encoder(to_unit(images))
            return out

    return act


def main() -> None:
    """Time and peak memory of both sides."""
    for name in WORK:
        sides = {word: _best(name, word) for word in ("kept", "given back")}
        print(name)  # noqa: T201
        for word, (seconds, peak) in sides.items():
            print(f"  {word}: {seconds * 1e3:.0f} ms, peak {peak} MiB")  # noqa: T201
        print(f"  ratio {sides['kept'][0] / sides['given back'][0]:.2f}")  # noqa: T201


def _best(name: str, word: str) -> tuple[float, int]:
    words = (sys.executable, "-m", "tests.benchmarks.allocator", name, word)
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak)


def _measure(name: str, word: str) -> None:
    if word == "kept":
        keep_freed_memory()
    act, best = WORK[name](), float("inf")
    for turn in range(ROUNDS):
        began = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - began) if turn >= WARM else best
    print(best, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)  # noqa: T201


if __name__ == "__main__":
    _measure(*sys.argv[1:])
