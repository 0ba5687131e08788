"""Formulas of losses written plainly in torch, as beside ours they are timed by ``losses``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, normalize

from histoscope.core.losses.decorrelation import EPSILON
from histoscope.core.objectives.contract import Clock, Objective, Rows
from histoscope.core.objectives.contrastive import MIXTURE_DRAWS
from histoscope.core.objectives.mixed import SHARE

IMAGES, DIM, QUEUE, SAMPLES = 256, 128, 65_536, 140_000
CLOCK = Clock(step=900, steps=1000, epoch=1)
Embeddings = Mapping[str, Tensor]
Plain = Callable[[Objective, Embeddings, Rows, Mapping[str, Tensor]], Tensor]


SLOTS = 25  # patches of a view that may be hidden: half of the small network's 7 x 7


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


def ifnd(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    groups, losses = objective.grouped.groups, []
    for labels, places in zip(groups.labels, groups.places, strict=True):
        sure = torch.where(places < int(CLOCK.share * SAMPLES), labels, -1)
        mine, theirs = sure[rows.index][:, None], sure[objective.queue.index][None]
        left = cosines.masked_fill((mine == theirs) & (mine >= 0), -torch.inf)
        logits = torch.cat([own, left], 1) / 0.2
        losses.append(cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long)))
    return torch.stack(losses).mean()


def few(barred: Tensor, count: int, numbers: Tensor) -> Tensor:
    """What a row repels, spread evenly over what there is."""
    kept = []
    for line, number in zip(~barred, numbers, strict=True):
        held = line.nonzero()[:, 0]
        turns = (torch.arange(count) + number.double()) * len(held) / count
        kept.append(held[turns.long()])
    return torch.stack(kept)


def sampled(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    left = cosines.gather(1, few(cosines.isneginf(), 10, draws["sampled"]))
    zeros = torch.zeros(IMAGES, dtype=torch.long)
    return cross_entropy(torch.cat([own, left], 1) / 0.2, zeros)


def relic(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    seen = given["keys 0"][:, 0] @ objective.queue.features.T
    seen = bar(seen, objective.queue.index, rows.index)
    logits = torch.cat([own, cosines], 1) / 0.2
    r = logits.log_softmax(1)
    p = (torch.cat([own.detach(), seen], 1) / 0.2).log_softmax(1)
    apart = (p.exp() * (p - r).masked_fill(logits.isneginf(), 0)).sum(1).mean()
    return cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long)) + apart


def relicv2(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    crops = [normalize(given[f"crop {n}"][:, 0], dim=1) for n in range(4)]
    places = few(rows.index[:, None] == rows.index[None], 10, draws["sampled"])
    zeros, losses = torch.zeros(IMAGES, dtype=torch.long), []
    for target in given["targets"].unbind(1):
        there = target[places]
        seen = (there @ target[:, :, None])[..., 0]
        for crop in crops:
            own = (crop * target).sum(1, keepdim=True)
            logits = torch.cat([own, (there @ crop[:, :, None])[..., 0]], 1) / 0.3
            p = (torch.cat([own.detach(), seen], 1) / 0.3).log_softmax(1)
            apart = kl_div(logits.log_softmax(1), p, reduction="batchmean", log_target=True)
            losses.append(cross_entropy(logits, zeros) + apart)
    return torch.stack(losses).mean()


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


def interclr(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    q = normalize(given["queries 0"][:, 0], dim=1)
    bank, labels = objective.banked.bank.features, objective.banked.bank.labels
    _, pool, count = objective.spec.positives.sizes(SAMPLES)
    same = labels[rows.index][:, None] == labels[None]
    others = same.clone()
    others[torch.arange(IMAGES), rows.index] = False
    turns = (draws["bank, positive"].double() * others.sum(1)).long()
    places = [line.nonzero()[turn, 0] for line, turn in zip(others, turns, strict=True)]
    cosines = q @ bank.T
    near = cosines.detach().masked_fill(same, -torch.inf).topk(pool, 1).indices
    steps = torch.arange(count) + draws["bank, negatives"].double()[:, None]
    chosen = near.gather(1, (steps * pool / count).long())
    pull = cosines.gather(1, torch.stack(places)[:, None]) + 0.5
    logits = torch.cat([pull, cosines.gather(1, chosen)], 1) / 0.2
    inter = cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long))
    return 0.75 * moco(objective, given, rows, draws) + 0.25 * inter


def revisiting(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    _, own, cosines = of_queue(objective, given, rows)
    alike = given["beneath queries"][:, 0] @ objective.queue.beneath.T
    best = bar(alike, objective.queue.index, rows.index).topk(20, 1).indices
    near = -(cosines / 0.2).log_softmax(1).gather(1, best).mean()
    logits = torch.cat([own, cosines], 1) / 0.2
    return cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long)) + 0.4 * near


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


def of_memory(objective: Any, given: Embeddings, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Whom a target may be pulled to, its cosines to them, and whose they are."""
    target, whose = given["target"][:, 0], torch.cat([rows.index, objective.memory.index])
    columns = torch.cat([target, objective.memory.features])
    return columns, bar(target @ columns.T, whose, rows.index), whose


def shifted(objective: Any, given: Embeddings, columns: Tensor, cosines: Tensor) -> Tensor:
    """To the nearest that there are."""
    target, asked = given["target"][:, 0], normalize(given["asked"][:, 0], dim=1)
    best = cosines.topk(objective.spec.neighbours.count - 1, 1)
    nearest = torch.cat([target[:, None], columns[best.indices]], 1)
    away = 2 - 2 * (nearest @ asked[:, :, None])[..., 0]
    there = torch.cat([torch.ones(IMAGES, 1), (best.values > -2).float()], 1)
    return ((away * there).sum(1) / there.sum(1)).mean()


def msf(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    columns, cosines, _ = of_memory(objective, given, rows)
    return shifted(objective, given, columns, cosines)


def cmsf(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    columns, cosines, whose = of_memory(objective, given, rows)
    mine, theirs = objective.labels[rows.index], objective.labels[whose]
    near = cosines.masked_fill(mine[:, None] != theirs[None], -torch.inf)
    both = [shifted(objective, given, columns, one) for one in (cosines, near)]
    return (both[0] + both[1]) / 2


def cmsf_before(objective: Any, given: Embeddings, rows: Rows, draws: Any) -> Tensor:
    columns, cosines, whose = of_memory(objective, given, rows)
    mine = objective.last.features[rows.index]
    earlier = bar(mine @ torch.cat([mine, objective.past.features]).T, whose, rows.index)
    kept = earlier.topk(objective.spec.constraint.nearest - 1, 1).indices
    near = torch.full_like(cosines, -torch.inf).scatter(1, kept, cosines.gather(1, kept))
    both = [shifted(objective, given, columns, one) for one in (cosines, near)]
    return (both[0] + both[1]) / 2


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
