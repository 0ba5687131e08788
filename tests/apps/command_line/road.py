"""What the commands are run on, and what one command line gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

PLUGIN = Path(__file__).parents[2] / "toy_plugin"
TILE = ("--size-px", "32", "--tile-mpp", "0.5")
HERE = ("--workers", "0")
SET = ("--mpp", "0.5", *TILE, *HERE)
FEW = ("--fraction", "0.5", "--draws", "2")
COLOURS = {"stroma": (200, 120, 160), "tumour": (120, 70, 150)}
SMALL = """
encoder: test_resnet
training: {steps: 2, batch_size: 8, workers: 0, threads: 1, checkpoint_every: 1, device: cpu}
"""


@dataclass(frozen=True)
class Answer:
    """What one command line gave."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Road:
    """Everything that the commands read and write, made once; tests change copies only."""

    tiles: Path
    slides: Path
    settings: Path
    store: Path
    run: Path
    package: Path


def paint(kind: str, side: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 20, (side, side, 3))
    return np.clip(np.array(COLOURS[kind]) + noise, 0, 255).astype(np.uint8)


def write_slide(path: Path, pixels: np.ndarray) -> None:
    """A tiled TIFF at 0.5 um/px."""
    tifffile.imwrite(
        path,
        pixels,
        tile=(64, 64),
        compression="zlib",
        photometric="rgb",
        metadata=None,
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def commands_with_out(road: Road) -> dict[str, tuple[object, ...]]:
    return {
        "prepare": ("prepare", "--domain", "pathology", road.tiles, *SET),
        "pretrain": ("pretrain", road.store, "--config", road.settings),
        "finetune": ("finetune", road.store, "--encoder", "colour", *FEW),
        "evaluate": ("evaluate", road.package, road.store),
        "predict": ("predict", road.slides, "--package", road.package, *HERE),
        "embed": ("embed", road.slides, "--package", road.package, *HERE),
    }
