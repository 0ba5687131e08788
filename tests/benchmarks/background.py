"""Whether other backgrounds keep a network from learning what lies behind subjects.

    python -m tests.benchmarks.background OUT [--kind random] [--p 0.5] [--steps 300] [--seed 0]
        [--base simclr] [--rows "NAME;NAME"] [--part test]

On the phantom of ``tests/phantoms/shortcut.py``, with and without its shortcut: the base as it is,
with other backgrounds by the painted masks, and with them by masks of the same area elsewhere
(which is cut-out, not background). Each network is scored on the test part, whose backgrounds tell
nothing, by probes on 10 % of the training labels (ten draws, the same for all). A run that was cut
off goes on; what is finished is not made again. Differences are of the same draws, with 95 %
intervals over test images and draws.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import click
import numpy as np
import torch
import yaml

from histoscope.core.config import build
from histoscope.core.data.planes import planes_of
from histoscope.core.data.store import Store
from histoscope.core.stages.compare import compare
from histoscope.core.views.background import MASK, Background
from histoscope.core.views.beside import Beside, Donor
from histoscope.core.views.spec import BackgroundSpec
from tests.benchmarks.learn import call
from tests.phantoms.shortcut import write_phantom, write_truth

GROUNDS = {"shortcut": True, "free": False}
WAYS = ("plain", "background", "elsewhere")
PLANES = {"background": "painted@1", "elsewhere": "elsewhere@1"}


def store_of(ground: str, out: Path) -> Path:
    """The store of a phantom with both planes."""
    folder, store = out / f"{ground}-images", out / f"{ground}-store"
    if not (store / "store.json").is_file():
        write_phantom(folder, shortcut=GROUNDS[ground])
        told = ("--domain", "pathology", "--layout", "zip", "--mpp", 1, "--tile-mpp", 1)
        call("prepare", folder, *told, "--size-px", 64, "--encoding", "lossless", "--out", store)
    opened = Store(store)
    for way, provider in PLANES.items():
        if f"mask:{provider}" not in planes_of(opened):
            elsewhere = way == "elsewhere"
            write_truth(opened, provider, shortcut=GROUNDS[ground], elsewhere=elsewhere)
    return store


def scored(store: Path, settings: dict[str, Any], part: str, out: Path) -> Path:
    """Train, fit probes, score; the folder of the evaluation."""
    evaluation = out / part
    if (evaluation / "report.html").is_file():
        return evaluation
    out.mkdir(parents=True, exist_ok=True)
    file = out / "settings.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    call("pretrain", store, "--config", file, "--out", out / "run")
    if not (out / "package" / "SHA256SUMS").is_file():
        few = ("--set", "method=probe", "--set", "fraction=0.1", "--set", "draws=10")
        call("finetune", store, "--encoder", out / "run", *few, "--out", out / "package")
    call("evaluate", out / "package", store, "--split", part, "--out", evaluation)
    return evaluation


def settings_of(way: str, base: str, kind: str, p: float, steps: int, seed: int) -> dict[str, Any]:
    """What a way trains with."""
    training = {"steps": steps, "batch_size": 128, "seed": seed, "checkpoint_every": 50}
    views: dict[str, Any] = {"geometry": {"scale": [0.4, 1.0]}, "domain": {"stain": {"p": 0}}}
    if way != "plain":
        views["background"] = {"kind": kind, "p": p, "provider": PLANES[way]}
    return {
        "encoder": "resnet18",
        "objective": {"base": base},
        "views": views,
        "training": training,
    }


def composed(kind: str, batch: int, side_px: int) -> Callable[[], object]:
    """Draw for two views of a batch, and put them together as the device does."""
    operation = Background(build(BackgroundSpec, {"kind": kind, "p": 1}, kind))
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, side_px, side_px, generator=rng)
    rows, columns = torch.meshgrid(torch.arange(side_px), torch.arange(side_px), indexing="ij")
    disc = ((rows - side_px / 2) ** 2 + (columns - side_px / 2) ** 2 < (side_px / 4) ** 2).byte()
    masks, fill = {MASK: disc.expand(batch, -1, -1)}, {MASK: torch.full((batch, 3), 0.9)}
    donor = Donor(images.flip(0), masks, fill)
    beside = Beside(masks, fill, [donor] * operation.donors)

    def act() -> None:
        numbers = np.random.default_rng(0)
        for _ in range(2):
            drawn = torch.from_numpy(np.stack([operation.draw(numbers) for _ in range(batch)]))
            operation.compose(images, drawn, beside)
            operation.fits(images, beside)
            if operation.matches:
                operation.match(images, drawn, beside)

    return act


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["remove", "random", "swap"]), default="random")
@click.option("--p", default=0.5)
@click.option("--steps", default=300)
@click.option("--seed", default=0)
@click.option("--base", default="simclr")
@click.option("--rows", help="GROUND WAY, between semicolons; default: all")
@click.option("--part", default="test", help="that is scored; kind and p are chosen on valid")
def main(
    out: Path, kind: str, p: float, steps: int, seed: int, base: str, rows: str | None, part: str
) -> None:
    """Train, score, print."""
    asked = rows.split(";") if rows else [f"{g} {w}" for g in GROUNDS for w in WAYS]
    found = dict[str, Path]()
    for row in asked:
        ground, way = row.split()
        store = store_of(ground, out)
        named = f"{base}-{steps}-{seed}" + (f"-{kind}-{p:g}" if way != "plain" else "")
        settings = settings_of(way, base, kind, p, steps, seed)
        found[row] = scored(store, settings, part, out / f"{ground}-{way}-{named}")
        click.echo(f"{row}: {found[row]}")
    if set(asked) != {f"{g} {w}" for g in GROUNDS for w in WAYS}:
        return
    click.echo("| ground | way | balanced accuracy | less plain | of the gap to no shortcut |")
    click.echo("| --- | --- | --- | --- | --- |")
    less = {row: compare([(found[row], found[f"{row.split()[0]} plain"])])[0] for row in asked}
    gap = less["free plain"].values[0] - less["shortcut plain"].values[0]
    for row, one in less.items():
        ground, way = row.split()
        plain = way == "plain"
        gain = "" if plain else f"{one.gap.mean:+.3f} ({one.gap.ends})"
        share = "" if plain or ground == "free" else f"{one.gap.mean / gap:.0%}"
        click.echo(f"| {ground} | {way} | {one.values[0]:.3f} | {gain} | {share} |")
    click.echo(f"gap between the phantoms, plain: {gap:.3f}")


if __name__ == "__main__":
    main()
