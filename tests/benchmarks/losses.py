"""Each loss alone beside the same formula written plainly in torch, and lightly's where it has one.

    python -m tests.benchmarks.losses [--rounds 5]

Random embeddings of 256 images in 128 dimensions, a queue of 65,536, one thread; forward and
backward, the CPU time of the process, the best of the rounds in which sides take turns, which are
many where a loss is quick. Both sides get the same projections and must give the same loss. lightly
knows no images, so that its losses leave nobody out.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import click
import lightly.loss as theirs
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import normalize

from histoscope.core.data.relations import near_pairs
from histoscope.core.encoders.contract import Encoder
from histoscope.core.memory.bank import LabelledBank, LastFeatures
from histoscope.core.memory.labels import PseudoLabels
from histoscope.core.objectives.cmsf import CMSF, SameCluster
from histoscope.core.objectives.contract import Objective, Projected, Rows, Setting
from histoscope.core.objectives.mixed import Mixed, make_objective
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.runtime.allocator import keep_freed_memory
from histoscope.core.testing.objectives import SmallEncoder, SmallModel
from tests.benchmarks.plain_losses import (
    CLOCK,
    DIM,
    IMAGES,
    QUEUE,
    SAMPLES,
    SLOTS,
    Embeddings,
    barlow,
    byol,
    cmsf,
    cmsf_before,
    co2,
    dino,
    fnc,
    fnc_attract,
    ibot,
    ifnd,
    interclr,
    macl,
    mochi,
    moco,
    moco_decoupled,
    msf,
    near,
    other_case,
    relic,
    relicv2,
    revisiting,
    sampled,
    simclr,
    swav,
    unmix,
)

Plain = Callable[[Objective, Embeddings, Rows, Mapping[str, Tensor]], Tensor]


def unit(*shape: int, seed: int) -> Tensor:
    """Rows at unit length."""
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def lightly_moco(memory: Tensor) -> Callable[[Embeddings], Tensor]:
    loss = theirs.NTXentLoss(temperature=0.2, memory_bank_size=(QUEUE, DIM))
    loss.memory_bank.bank = memory
    return lambda given: loss(given["queries 0"][:, 0], given["keys 0"][:, 0])


def of_views(loss: Any) -> Callable[[Embeddings], Tensor]:
    return lambda given: loss(given["view 0"][:, 0], given["view 1"][:, 0])


def lightly_dino(given: Embeddings) -> Tensor:
    return LIGHTLY_DINO(list(given["answers"].unbind(1)), list(given["asks"].unbind(1)))


LIGHTLY_DINO = theirs.DINOLoss(4096, 0.07, 0.07, 0)
PROTOTYPES = 512
LEAST_S = 3.0  # of a row: what takes milliseconds has many rounds
IN_A_ROW_S = 0.05
QUERIES = {"base": "moco_v2", "momentum": {"rows": QUEUE, "groups": 1, "symmetric": False}}
ROWS: dict[str, tuple[dict[str, Any], Plain, Callable[[Embeddings], Tensor] | None]] = {
    "simclr": ({"base": "simclr"}, simclr, of_views(theirs.NTXentLoss(0.2))),
    "moco_v2": (QUERIES, moco, lightly_moco(unit(QUEUE, DIM, seed=1))),
    "decoupled": ({**QUERIES, "reduction": "decoupled"}, moco_decoupled, None),
    "macl": ({**QUERIES, "temperature": "macl"}, macl, None),
    "co2": ({**QUERIES, "consistency": "co2"}, co2, None),
    "fnc": ({**QUERIES, "negatives": {"kind": "fnc", "threshold": 0.3}}, fnc, None),
    "fnc, attract": (
        {**QUERIES, "negatives": {"kind": "fnc", "threshold": 0.3, "way": "attract"}},
        fnc_attract,
        None,
    ),
    "ifnd": ({**QUERIES, "negatives": "ifnd"}, ifnd, None),
    "sampled": ({**QUERIES, "negatives": "sampled"}, sampled, None),
    "relic": ({**QUERIES, "consistency": "relic"}, relic, None),
    "mochi": ({**QUERIES, "synthetic": "mochi"}, mochi, None),
    "near": ({**QUERIES, "positives": "near"}, near, None),
    "other_case": ({**QUERIES, "positives": "other_case"}, other_case, None),
    "interclr": ({**QUERIES, "positives": "interclr"}, interclr, None),
    "revisiting": ({**QUERIES, "positives": "revisiting"}, revisiting, None),
    "relicv2": ({"base": "relicv2", "local": 2}, relicv2, None),
    "byol": ({"base": "byol"}, byol, None),
    "barlow_twins": (
        {"base": "barlow_twins", "projector": {"out": DIM}},
        barlow,
        of_views(theirs.BarlowTwinsLoss(0.005)),
    ),
    "unmix": ({**QUERIES, "mixing": {"kind": "unmix", "boxes": 0}}, unmix, None),
    "dino": ({"base": "dino", "local": 4, "prototypes": 4096}, dino, lightly_dino),
    "ibot": ({"base": "ibot", "local": 4, "prototypes": 1024}, ibot, None),
    "swav": (
        {"base": "swav", "local": 4, "codes": {"prototypes": PROTOTYPES, "queue": QUEUE}},
        swav,
        None,
    ),
    "msf": ({"base": "msf", "neighbours": {"rows": QUEUE}}, msf, None),
    "cmsf": ({"base": "cmsf", "neighbours": {"rows": QUEUE}}, cmsf, None),
    "cmsf, second_bank": (
        {"base": "cmsf", "neighbours": {"rows": QUEUE}, "constraint": "second_bank"},
        cmsf_before,
        None,
    ),
}


def made(settings: Mapping[str, Any]) -> Objective:
    """The objective, its memories full."""
    names = [str(place // 64) for place in range(SAMPLES)]
    places = torch.arange(float(SAMPLES))[:, None].numpy()
    setting = Setting(
        samples=SAMPLES,
        steps=CLOCK.steps,
        steps_an_epoch=CLOCK.steps // 2,
        batch_size=IMAGES,
        size_px=16,
        table=pa.table({"source": names, "case": names}),
        relations=lambda: near_pairs(names, places, {"partner": 2, "same": 4}),
        open=lambda word: SmallEncoder(),
        open_model=lambda word, task: SmallModel(),
    )
    spec = MethodSpec.model_validate(dict(settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective = make_objective(cast(Encoder, SmallEncoder()), spec, setting).train()
    for module in objective.modules():
        if hasattr(module, "pointer"):
            module.features.copy_(unit(*module.features.shape, seed=1))
            if module.beneath is not None:
                module.beneath.copy_(unit(*module.beneath.shape, seed=10))
            module.index.copy_(torch.arange(len(module.index)) + SAMPLES // 4)
        if isinstance(module, PseudoLabels):
            groups = torch.arange(SAMPLES) * 7919 % torch.tensor([[8], [32], [128]])
            module.labels.copy_(groups)
            module.places.copy_(torch.arange(SAMPLES) * 3 % SAMPLES)
        if isinstance(module, LastFeatures):
            module.features.copy_(unit(*module.features.shape, seed=9))
            module.visits.fill_(1)
        if isinstance(module, CMSF) and isinstance(module.constraint, SameCluster):
            module.labels.copy_(torch.arange(SAMPLES) * 7919 % 5600)
        if isinstance(module, LabelledBank):
            module.fill(unit(*module.features.shape, seed=8))
            module.labels.copy_(torch.arange(SAMPLES) * 7919 % len(module.centres))
    return objective


def projections(objective: Objective, base: str) -> tuple[Projected, Rows]:
    """Random embeddings in the shapes that the base has."""
    asks, answers = dict[str, Tensor](), dict[str, Tensor]()
    if base in ("simclr", "byol", "barlow_twins"):
        asks = {f"view {n}": unit(IMAGES, 1, DIM, seed=n) for n in (2, 3)}
        asks = {f"view {n}": rows for n, rows in enumerate(asks.values())}
        if base == "byol":
            answers = {f"view {n}": unit(IMAGES, 1, DIM, seed=4 + n) for n in (0, 1)}
    elif base == "moco_v2":
        asks = {"queries 0": unit(IMAGES, 1, DIM, seed=2)}
        answers = {"keys 0": unit(IMAGES, 1, DIM, seed=3)}
        if objective.needs.partners:
            answers["partner"] = unit(IMAGES, objective.needs.partners, DIM, seed=4)
        if count := objective.needs.families.get("support"):
            answers["support"] = unit(IMAGES, count, DIM, seed=5)
        queue = cast(Any, objective).queue
        if queue.beneath is not None:
            answers["beneath queries"] = unit(IMAGES, 1, queue.beneath.shape[1], seed=11)
    elif base == "relicv2":
        asks = {f"crop {n}": unit(IMAGES, 1, DIM, seed=2 + n) for n in range(4)}
        answers = {"targets": unit(IMAGES, 2, DIM, seed=6)}
    elif base in ("dino", "ibot"):
        width = len(cast(Any, objective).centre)
        asks = {"asks": unit(IMAGES, 6, width, seed=2)}
        answers = {"answers": unit(IMAGES, 2, width, seed=3)}
        if base == "ibot":
            asks["patches"] = unit(IMAGES, 2 * SLOTS, width, seed=4)
            answers["targets"] = unit(IMAGES, 2 * SLOTS, width, seed=5)
            count = torch.randint(0, SLOTS, (IMAGES, 2), generator=torch.Generator().manual_seed(6))
            held = torch.arange(SLOTS) < count[..., None]
            answers["hidden"] = held.reshape(IMAGES, -1, 1).float()
    elif base == "swav":
        asks = {"scores": 2 * torch.rand(IMAGES, 6, PROTOTYPES) - 1}
        answers = {"coded": unit(IMAGES, 2, DIM, seed=3)}
    elif base in ("msf", "cmsf"):
        asks = {"asked": unit(IMAGES, 1, DIM, seed=2)}
        answers = {"target": unit(IMAGES, 1, DIM, seed=3)}
    if isinstance(objective, Mixed):
        mixed = {f"mixed {name}": unit(IMAGES, 1, DIM, seed=7) for name in asks}
        asks = {f"plain {name}": rows for name, rows in asks.items()} | mixed
    index = torch.arange(IMAGES) * 5 + SAMPLES // 4
    rows = Rows.alone(index)
    if objective.needs.partners:
        partners = index[:, None] + torch.arange(1, objective.needs.partners + 1)
        rows = replace(rows, partners=partners)
    return Projected({n: a.requires_grad_() for n, a in asks.items()}, answers), rows


def timed(act: Callable[[], Tensor], asks: Mapping[str, Tensor]) -> tuple[float, float]:
    """The loss, and the seconds of it and its gradient."""
    for ask in asks.values():
        ask.grad = None
    began = time.process_time()
    loss = act()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), time.process_time() - began


def line(name: str, rounds: int) -> str:
    """A row of the table: milliseconds, ratio, lightly's milliseconds."""
    settings, plain, other = ROWS[name]
    objective = made(settings)
    projected, rows = projections(objective, str(settings["base"]))
    draws = {
        name: torch.rand(
            IMAGES if draw.per_row else 1, generator=torch.Generator().manual_seed(place)
        )
        for place, (name, draw) in enumerate(objective.needs.draws.items())
    }
    given = {**projected.asks, **projected.answers}
    if settings["base"] == "byol":
        given = {**projected.asks, **{f"answer {n}": a for n, a in projected.answers.items()}}
    sides: list[Callable[[], Tensor]] = [
        lambda: objective.loss(projected, rows, draws, CLOCK).loss,
        lambda: plain(objective, given, rows, draws),
    ]
    if other is not None:
        sides.append(lambda: other(given))
    best, values = [float("inf")] * len(sides), [0.0] * len(sides)
    began, turn = time.process_time(), 0
    while turn < rounds or time.process_time() - began < LEAST_S:
        turn += 1
        for place, side in enumerate(sides):
            since = time.process_time()
            while True:  # what is quick some times in a row, as caches hold the others' numbers
                values[place], seconds = timed(side, projected.asks)
                best[place] = min(best[place], seconds)
                if time.process_time() - since > IN_A_ROW_S:
                    break
    if abs(values[0] - values[1]) > 1e-5 * abs(values[1]):
        raise SystemExit(f"{name}: the losses differ, {values[0]:.6f} and {values[1]:.6f}")
    ours, plainly, *rest = (f"{1e3 * seconds:.1f}" for seconds in best)
    cells = [name, ours, plainly, f"{best[0] / best[1]:.2f}", rest[0] if rest else ""]
    return f"| {' | '.join(cells)} |"


@click.command(help=__doc__)
@click.option("--rounds", default=5)
@click.option("--only", default="", help="names, between semicolons")
def main(rounds: int, only: str) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    gc.disable()  # as timeit does
    keep_freed_memory()  # as the program does
    click.echo("| loss | here, ms | plainly, ms | ratio | lightly, ms |")
    click.echo("| --- " * 5 + "|")
    for name in only.split(";") if only else ROWS:
        click.echo(line(name, rounds))


if __name__ == "__main__":
    main()
