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
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, normalize

from histoscope.core.data.relations import near_pairs
from histoscope.core.encoders.contract import Encoder
from histoscope.core.losses.decorrelation import EPSILON
from histoscope.core.objectives.contract import Clock, Objective, Projected, Rows, Setting
from histoscope.core.objectives.contrastive import MIXTURE_DRAWS
from histoscope.core.objectives.mixed import SHARE, Mixed, make_objective
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.runtime.allocator import keep_freed_memory
from histoscope.core.testing.objectives import SmallEncoder

IMAGES, DIM, QUEUE, SAMPLES = 256, 128, 65_536, 140_000
CLOCK = Clock(step=900, steps=1000, epoch=1)
Embeddings = Mapping[str, Tensor]
Plain = Callable[[Objective, Embeddings, Rows, Mapping[str, Tensor]], Tensor]


def unit(*shape: int, seed: int) -> Tensor:
    """Rows at unit length."""
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def bar(cosines: Tensor, others: Tensor, own: Tensor) -> Tensor:
    """Columns of the own image, or of nobody, are no negatives."""
    return cosines.masked_fill((others[None] == own[:, None]) | (others[None] < 0), -torch.inf)


def of_queue(objective: Any, given: Embeddings, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Of one direction: the query, its cosine to its key, and to the queue."""
    q = normalize(given["queries 0"][:, 0], dim=1)
    own = (q * given["keys 0"][:, 0]).sum(1, keepdim=True)
    return q, own, bar(q @ objective.queue.features.T, objective.queue.index, rows.index)


def moco(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    zeros = torch.zeros(IMAGES, dtype=torch.long)
    return cross_entropy(torch.cat([own, cosines], 1) / 0.2, zeros)


def moco_decoupled(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    return (torch.logsumexp(cosines / 0.2, 1) - own[:, 0] / 0.2).mean()


def macl(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    warmth = 0.1 * (1 + 0.5 * own.detach().mean())
    logits = torch.cat([own, cosines], 1) / warmth
    losses = cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long), reduction="none")
    return (losses / (1 - torch.softmax(logits.detach(), 1)[:, 0])).mean()


def co2(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    seen = given["keys 0"][:, 0] @ objective.queue.features.T
    barred = cosines.isneginf()
    r = (cosines / 0.1).log_softmax(1).masked_fill(barred, 0)
    p = (bar(seen, objective.queue.index, rows.index) / 0.1).log_softmax(1).masked_fill(barred, 0)
    kept = (~barred).to(r.dtype)
    both = kl_div(r, p, reduction="none", log_target=True)
    both = both + kl_div(p, r, reduction="none", log_target=True)
    logits = torch.cat([own, cosines], 1) / 0.2
    base = cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long))
    return base + 0.3 * (both * kept).sum(1).mean() / 2


def false(objective: Any, given: Embeddings, cosines: Tensor) -> Tensor:
    """Which rows of the queue look like an image of a query."""
    memory = objective.queue.features
    seen = [cosines.detach(), given["keys 0"][:, 0] @ memory.T]
    seen += [view @ memory.T for view in given["support"].unbind(1)]
    scores = torch.stack(seen).amax(0).masked_fill(cosines.isneginf(), -torch.inf)
    best = scores.topk(5, 1)
    out = torch.zeros_like(scores, dtype=torch.bool)
    return out.scatter(1, best.indices, best.values > 0.3)


def fnc(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    left = cosines.masked_fill(false(objective, given, cosines), -torch.inf)
    zeros = torch.zeros(IMAGES, dtype=torch.long)
    return cross_entropy(torch.cat([own, left], 1) / 0.2, zeros)


def fnc_attract(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    pulled = torch.cat([torch.ones_like(own) > 0, false(objective, given, cosines)], 1)
    logs = (torch.cat([own, cosines], 1) / 0.2).log_softmax(1)
    return -(logs.masked_fill(~pulled, 0).sum(1) / pulled.sum(1)).mean()


def mochi(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    q, own, cosines = of_queue(objective, given, rows)
    numbers = torch.stack([draws[name] for name in MIXTURE_DRAWS], 1)
    jumps = torch.tensor([0.6180339887498949, 0.4142135623730950, 0.7320508075688772])
    numbers = (numbers[..., None] + jumps[:, None] * torch.arange(80.0)).frac()
    places = cosines.detach().topk(128, 1).indices
    hard = objective.queue.features[places]
    one = (numbers[:, 0] * 128).long()
    two = (numbers[:, 1] * 127).long()
    two = two + (two >= one)
    lines = torch.arange(IMAGES)[:, None]
    share = numbers[:, 2][..., None]
    pairs = (
        share[:, :64] * hard[lines, one[:, :64]] + (1 - share[:, :64]) * hard[lines, two[:, :64]]
    )
    half = share[:, 64:] / 2
    mixed = half * q.detach()[:, None] + (1 - half) * hard[lines, two[:, 64:]]
    made = normalize(torch.cat([pairs, mixed], 1), dim=2)
    logits = torch.cat([own, (made @ q[:, :, None])[..., 0], cosines], 1) / 0.2
    return cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long))


def near(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    q, own, cosines = of_queue(objective, given, rows)
    same = objective.near[rows.index]
    spare = (objective.queue.index[None, :, None] == same[:, None]) & (same[:, None] >= 0)
    cosines = cosines.masked_fill(spare.any(2), -torch.inf)
    known = rows.partners >= 0
    beside = (given["partner"] @ q[:, :, None])[..., 0]
    pulled = torch.cat([torch.ones_like(own) > 0, known, torch.zeros_like(cosines) > 0], 1)
    logits = torch.cat([own, beside.masked_fill(~known, -torch.inf), cosines], 1) / 0.2
    logs = logits.log_softmax(1)
    return -(logs.masked_fill(~pulled, 0).sum(1) / pulled.sum(1)).mean()


def other_case(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    seen = given["keys 0"][:, 0] @ objective.queue.features.T
    theirs_ = objective.groups_of[objective.queue.index]
    alike = theirs_[None] == objective.groups_of[rows.index][:, None]
    best = seen.masked_fill(cosines.isneginf() | alike, -torch.inf).argmax(1)
    logits = torch.cat([own, cosines], 1) / 0.2
    lines = torch.arange(IMAGES)
    logs = logits.log_softmax(1)
    return -((logs[:, 0] + logs[lines, best + 1]) / 2).mean()


def simclr(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    z = normalize(torch.cat([given["view 0"][:, 0], given["view 1"][:, 0]]), dim=1)
    whose, other = rows.index.repeat(2), torch.arange(2 * IMAGES).roll(IMAGES)
    own = whose[:, None] == whose[None]  # also where an image comes twice
    own[torch.arange(2 * IMAGES), other] = False
    return cross_entropy((z @ z.T / 0.2).masked_fill(own, -torch.inf), other)


def byol(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    names = ("view 0", "view 1")
    return sum(  # type: ignore[return-value]
        2 - 2 * cosine_similarity(given[one][:, 0], given[f"answer {other}"][:, 0]).mean()
        for one, other in (names, names[::-1])
    )


def barlow(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    first, second = (given[f"view {n}"][:, 0] for n in range(2))
    first, second = (
        (z - z.mean(0)) / (z.var(0, correction=0) + EPSILON).sqrt() for z in (first, second)
    )
    square = first.T @ second / IMAGES
    away = (square - torch.eye(DIM)).square()
    weight = torch.full((DIM, DIM), 0.005).fill_diagonal_(1)
    return 0.02 * (away * weight).sum()


def dino(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    sharp = objective.spec.teacher.temperature_at(CLOCK.share)
    targets = [((a - objective.centre) / sharp).softmax(1) for a in given["answers"].unbind(1)]
    parts = [
        -(target * (ask / 0.1).log_softmax(1)).sum(1).mean()
        for t, target in enumerate(targets)
        for v, ask in enumerate(given["asks"].unbind(1))
        if v != t
    ]
    return torch.stack(parts).mean()


def swav(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    weight, scores = objective.prototypes.weight.detach(), given["scores"].unbind(1)
    parts = []
    for view, coded in enumerate(given["coded"].unbind(1)):
        with torch.no_grad():
            all_ = torch.cat([coded, objective.queues[view].features]) @ weight.T
            logs = all_ / objective.spec.codes.epsilon
            for _ in range(3):  # in logarithms, as numbers overflow otherwise
                logs = logs - logs.logsumexp(0)
                logs = logs.log_softmax(1)
            code = logs[:IMAGES].exp()
        parts += [
            -(code * (score / 0.1).log_softmax(1)).sum(1).mean()
            for v, score in enumerate(scores)
            if v != view
        ]
    return torch.stack(parts).mean()


def msf(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    target, asked = given["target"][:, 0], normalize(given["asked"][:, 0], dim=1)
    columns = torch.cat([target, objective.memory.features])
    cosines = bar(target @ columns.T, torch.cat([rows.index, objective.memory.index]), rows.index)
    best = cosines.topk(objective.spec.neighbours.count - 1, 1).indices
    nearest = torch.cat([target[:, None], columns[best]], 1)
    return (2 - 2 * (nearest @ asked[:, :, None])).mean()


def ibot(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    sharp = objective.spec.teacher.temperature_at(CLOCK.share)
    hidden = given["hidden"][..., 0] > 0
    targets = ((given["targets"] - objective.patch_centre) / sharp).softmax(2)
    wrong = -(targets * (given["patches"] / 0.1).log_softmax(2)).sum(2)
    views = [
        wrong[image, place : place + SLOTS][hidden[image, place : place + SLOTS]].mean()
        for image in range(IMAGES)
        for place in (0, SLOTS)
        if hidden[image, place]
    ]
    return dino(objective, given, rows, draws) + torch.stack(views).mean()


def unmix(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    base, share = objective.base, draws[SHARE]
    others = torch.arange(IMAGES).reshape(-1, 2).flip(1).flatten()
    plain = {name.removeprefix("plain "): value for name, value in given.items()}
    mixed = {**plain, "queries 0": given["mixed queries 0"]}
    swapped = {**mixed, "keys 0": given["keys 0"][others]}
    own = moco(base, mixed, rows, draws)
    other = moco(base, swapped, replace(rows, index=rows.index[others]), draws)
    return moco(base, plain, rows, draws) + share[0] * own + (1 - share[0]) * other


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
SLOTS = 25  # patches of a view that may be hidden: half of the small network's 7 x 7
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
    "mochi": ({**QUERIES, "synthetic": "mochi"}, mochi, None),
    "near": ({**QUERIES, "positives": "near"}, near, None),
    "other_case": ({**QUERIES, "positives": "other_case"}, other_case, None),
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
    )
    spec = MethodSpec.model_validate(dict(settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective = make_objective(cast(Encoder, SmallEncoder()), spec, setting).train()
    for module in objective.modules():
        if hasattr(module, "pointer"):
            module.features.copy_(unit(*module.features.shape, seed=1))
            module.index.copy_(torch.arange(len(module.index)) + SAMPLES // 4)
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
    elif base == "msf":
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
