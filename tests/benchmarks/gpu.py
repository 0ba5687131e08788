"""``python -m tests.benchmarks.gpu``: images a second at 224 px, and that every command runs there.

Of a training step in bf16 four columns for each network: the network alone; with histoscope's
augmentation on the device; ``pretrain`` from a store's shards; lightly's documented SimCLR loop,
whose transforms run on the CPU. Of ``finetune`` (frozen and all weights), ``evaluate``, ``embed``
and ``predict`` images a second of a call, and how far features are from the CPU's. Each in one
run on one device; the tables in docs/gpu.md grow by one row a network.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from histoscope.core.config import build
from histoscope.core.contracts.installed import load_domain
from histoscope.core.data.store import Store
from histoscope.core.encoders.making import random_encoder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.encoders.timm import TimmSpec
from histoscope.core.inference.runner import Runner
from histoscope.core.learning.spec import FinetuneSpec
from histoscope.core.objectives.contract import Clock, Projected, Rows, Setting, Views
from histoscope.core.objectives.simclr import SimCLR, SimCLRSpec
from histoscope.core.optim.groups import make_optimiser
from histoscope.core.packages.package import open_package
from histoscope.core.progress import Silent
from histoscope.core.runtime.device import Compute
from histoscope.core.runtime.threads import choose_workers
from histoscope.core.stages.embed import embed
from histoscope.core.stages.evaluate import evaluate
from histoscope.core.stages.finetune import finetune
from histoscope.core.stages.predict import predict
from histoscope.core.stages.prepare import prepare
from histoscope.core.stages.pretrain import pretrain
from histoscope.core.training.journal import read_metrics
from histoscope.core.training.spec import PretrainSpec
from histoscope.core.views.plan import ViewPlan
from histoscope.core.work.local import Local
from histoscope.domains.pathology.options import (
    EmbedOptions,
    PrepareOptions,
    ReadOptions,
    TileSampling,
)
from tests.benchmarks.stain import tiles

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
SECOND = "## The other commands\n"  # of the page


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    networks: tuple[str, ...]
    side_px: int
    batch: int
    images: int
    steps: int


FULL = Size(("resnet50", "vit_small_patch16_224"), 224, 256, 2048, 24)
TINY = Size(("resnet10t",), 32, 8, 16, 6)  # only to see that it runs


def main() -> int:
    """Measure, print and, on a GPU, append to the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a trial on the CPU, no figures")
    tiny = parser.parse_args().tiny
    if not tiny and not torch.cuda.is_available():
        sys.stderr.write("gpu-check: torch finds no usable GPU here; nothing was measured\n")
        return 2
    size, device = (TINY, torch.device("cpu")) if tiny else (FULL, torch.device("cuda"))
    training, commands = list[str](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), size)
        for name in size.networks:
            training.append(row_of(name, measure(name, store, Path(folder), size, device), tiny))
            found = of_commands(name, store, Path(folder) / f"{name}-commands", device)
            commands.append(row_of(name, found, tiny))
            sys.stdout.write(f"{training[-1]}\n{commands[-1]}\n")
    if not tiny:
        add_rows(training, commands)
    return 0


def add_rows(training: list[str], commands: list[str]) -> None:
    """Append to the page's two tables: the first ends before the second's heading."""
    first, second = PAGE.read_text().split(SECOND)
    rows = ("".join(row + "\n" for row in part) for part in (training, commands))
    PAGE.write_text(f"{first.rstrip()}\n{next(rows)}\n{SECOND}{second}{next(rows)}")


def of_commands(name: str, store: Store, out: Path, device: torch.device) -> dict[str, float]:
    """Images a second of whole calls, the largest difference of features from the CPU's, in parts
    of the largest feature, in bf16 and float32."""
    word, roots = f"random:{name}", {"input": store.path.parent / "slides"}
    write_slides(roots["input"], store.sampling.size_px)
    rows, on = np.arange(len(store.index)), Compute(device.type)
    spec = build(FinetuneSpec, {"fraction": 1, "draws": 1}, "gpu-check")
    full = build(FinetuneSpec, {"fraction": 1, "draws": 1, "method": "full"}, "gpu-check")
    everything: Any = {"compute": on, "progress": Silent()}

    def a_second(act: Callable[[], Any], images: int) -> float:
        began = time.perf_counter()
        act()
        return images / (time.perf_counter() - began)

    found = {}
    found["finetune"] = a_second(
        lambda: finetune(store, word, spec, out / "probe", **everything), len(rows)
    )
    shutil.rmtree(store.path / "features")
    package = open_package(out / "probe")
    found["evaluate"] = a_second(
        lambda: evaluate(package, store, out / "e", allow_seen=True, **everything), len(rows)
    )
    found["finetune, all weights"] = a_second(
        lambda: finetune(store, word, full, out / "full", **everything),
        full.full.steps * full.full.batch_size,
    )
    options, reads = ReadOptions(default_mpp=0.5), {**everything, "engine": Local(0)}
    told = EmbedOptions(default_mpp=0.5)
    made = embed(out / "probe", roots, told, out / "embed-first", **reads)
    tiles_there = sum(outcome.samples for outcome in made)
    found["embed"] = a_second(
        lambda: embed(out / "probe", roots, told, out / "embed", **reads), tiles_there
    )
    found["predict"] = a_second(
        lambda: predict(out / "probe", roots, options, out / "predict", **reads), tiles_there
    )
    some = store.reader.images(rows[:64])
    truth = Runner.of(package.encoder(), Compute("cpu")).features(some)
    for precision in ("float32", "bf16"):
        near = Runner.of(package.encoder(), Compute(device.type, precision)).features(some)
        found[precision] = float(np.abs(near - truth).max() / np.abs(truth).max())
    return found


def write_slides(folder: Path, side_px: int) -> None:
    """Two section pictures of 8 x 8 tiles."""
    folder.mkdir(exist_ok=True)
    for place in range(2):
        some = tiles(64, side_px).reshape(8, 8, side_px, side_px, 3)
        Image.fromarray(np.vstack([np.hstack(row) for row in some])).save(folder / f"{place}.png")


def make_store(folder: Path, size: Size) -> Store:
    """Made tiles of two classes as PNG, and their store."""
    for place, tile in enumerate(tiles(size.images, size.side_px)):
        part = folder / "tiles" / ("one", "other")[place % 2]
        part.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile).save(part / f"{place}.png", compress_level=1)
    cut = TileSampling(size_px=size.side_px, tile_mpp=0.5)
    options = PrepareOptions(layout="folders", mpp=0.5)
    domain, roots = load_domain("pathology"), {"input": folder / "tiles"}
    prepare(domain, roots, cut, options, folder / "store", engine=Local(0), progress=Silent())
    return Store(folder / "store")


def measure(
    name: str, store: Store, folder: Path, size: Size, device: torch.device
) -> dict[str, float]:
    """Images (not views) a second, by what is timed."""
    spec = PretrainSpec()
    plan = load_domain("pathology").views(spec.views, size.side_px)
    step = training_step(name, spec, device)
    ready = [torch.rand(size.batch, 3, size.side_px, size.side_px, device=device)] * 2
    drawn = [
        torch.from_numpy(np.stack([plan.draw(0, 0, i, v)[1] for i in range(size.batch)]))
        for v in range(2)
    ]
    raw = torch.from_numpy(tiles(size.batch, size.side_px))

    def augmented() -> None:
        step([augment(plan, raw.to(device), numbers.to(device)) for numbers in drawn])

    return {
        "network alone": rate(lambda: step(ready), size, device),
        "with augmentation": rate(augmented, size, device),
        "pretrain": of_pretrain(name, store, folder / name, size, device),
        "lightly": of_lightly(name, folder / "tiles", size, device),
    }


def augment(plan: ViewPlan, raw: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """One view of a batch, on its device."""
    return plan.apply_on_device(to_unit(raw), drawn)


def training_step(
    name: str, spec: PretrainSpec, device: torch.device
) -> Callable[[list[torch.Tensor]], None]:
    """Forward in bf16, backward and update of SimCLR."""
    encoder = random_encoder(TimmSpec(name=name), 224, 0)
    objective: Any = SimCLR(encoder, cast(SimCLRSpec, spec.objective), cast(Setting, None))
    objective = objective.to(device, memory_format=torch.channels_last).train()
    optimiser = make_optimiser(objective.groups(), spec.training.optimiser)

    def step(views: list[torch.Tensor]) -> None:
        optimiser.zero_grad(set_to_none=True)
        views = [view.contiguous(memory_format=torch.channels_last) for view in views]
        with torch.autocast(device.type, torch.bfloat16):
            asks = objective.project(Views({"global": views})).asks
        asks = {name: ask.float() for name, ask in asks.items()}
        rows = Rows.alone(torch.arange(len(views[0])))
        objective.loss(Projected(asks), rows, {}, Clock(0, 1, 0)).loss.backward()
        optimiser.step()

    return step


def rate(act: Callable[[], None], size: Size, device: torch.device) -> float:
    """Images a second, the median of the steps after the first third."""
    seconds = []
    for _ in range(size.steps):
        began = time.perf_counter()
        act()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return size.batch / statistics.median(seconds[size.steps // 3 :])


def of_pretrain(name: str, store: Store, out: Path, size: Size, device: torch.device) -> float:
    """The command's own loop, from shards."""
    training = {
        "steps": size.steps,
        "batch_size": size.batch,
        "precision": "bf16",
        "device": device.type,
        "monitor": {"every": 0},
    }
    spec = build(PretrainSpec, {"encoder": name, "training": training}, "gpu-check")
    pretrain(store, load_domain("pathology"), spec, out, progress=Silent())
    seconds = [float(row["seconds"]) for row in read_metrics(out / "metrics.csv")]
    return size.batch / statistics.median(seconds[size.steps // 3 :])


def of_lightly(name: str, folder: Path, size: Size, device: torch.device) -> float:
    """lightly's SimCLR example: its transform on the workers, its head and its loss."""
    import timm
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from torchvision.datasets import ImageFolder

    data = ImageFolder(str(folder), transform=SimCLRTransform(input_size=size.side_px))
    workers = choose_workers(None)
    loader: Any = torch.utils.data.DataLoader(
        data, size.batch, shuffle=True, drop_last=True, num_workers=workers
    )
    encoder: Any = timm.create_model(name, num_classes=0).to(device).train()
    head = SimCLRProjectionHead(encoder.num_features, 512, 128).to(device)
    optimiser = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.06)
    criterion, batches = NTXentLoss(), forever(loader)

    def step() -> None:
        (one, other), _ = next(batches)
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            z = [head(encoder(view.to(device))).float() for view in (one, other)]
        criterion(*z).backward()
        optimiser.step()

    return rate(step, size, device)


def forever(loader: Any) -> Iterator[Any]:
    """Batches, epoch after epoch."""
    while True:
        yield from loader


def row_of(name: str, found: dict[str, float], tiny: bool) -> str:
    """A row of the page's table."""
    device = "CPU, a trial" if tiny else torch.cuda.get_device_name()
    if "lightly" in found:
        found = {**found, "ratio": found["pretrain"] / found["lightly"]}
    figures = " | ".join(f"{value:.3g}" for value in found.values())
    return f"| {device} | {name} | {figures} |"


if __name__ == "__main__":
    sys.exit(main())
