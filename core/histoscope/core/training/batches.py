"""What a step works on: the views that workers cut, finished on the device, and its own draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from histoscope.core.data.companions import ORDERED
from histoscope.core.data.loader import DONOR, Drawn, DrawnViews
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.objectives.contract import Draw, Rows, Views
from histoscope.core.objectives.contrastive import MATCHED
from histoscope.core.randomness import generator
from histoscope.core.training.run import Run, memory_format
from histoscope.core.training.step import Batch
from histoscope.core.views.beside import Beside, Donor
from histoscope.core.views.plan import GLOBAL


def batch_of(run: Run, batch: Drawn, step: int) -> Batch:
    """This process's part of the global batch, on the device, with the step's own draws."""
    device, size, training = run.fabric.device, run.part_size, run.spec.training
    draws, fits = {}, []
    for name, draw in run.objective.needs.draws.items():
        rng = generator(training.seed, f"step/{name}", step)
        numbers = torch.from_numpy(numbers_of(draw, rng, training.batch_size)).to(device)
        draws[name] = numbers.to(_dtype(run)) if numbers.is_floating_point() else numbers
    own = len(batch.index)
    first = run.fabric.global_rank * own  # of this process in the global batch
    parts = []
    for place in range(0, own, size):
        here = slice(first + place, first + place + size)
        mine = {name: n[here] if len(n) > 1 else n for name, n in draws.items()}
        part, fitting = _part(run, batch, slice(place, place + size), mine)
        parts.append(part)
        fits.append(fitting)
    rows = Rows(*(one.to(device) for one in (batch.index, batch.partners, batch.donors)))
    return Batch(
        rows, parts, draws, {name: torch.cat([one[name] for one in fits]) for name in fits[0]}
    )


def _part(
    run: Run, batch: Drawn, rows: slice, draws: Mapping[str, torch.Tensor]
) -> tuple[Views, dict[str, torch.Tensor]]:
    """Rows of a batch on the device, their views finished there, and what fits of them."""
    raw = {name: _raw(run, views, rows) for name, views in batch.families.items()}
    donors = [Donor(one.images, one.beside.planes, one.beside.fills) for one in raw.get(DONOR, ())]
    each = len(donors) // len(raw[GLOBAL])  # of a view
    families, known, fits = {}, {}, list[torch.Tensor]()
    for name, views in raw.items():
        if name == DONOR and not run.objective.needs.donors:
            continue  # they are asked for by what puts images together alone
        whole = [
            _with(donors, each, place % len(raw[GLOBAL]), one) for place, one in enumerate(views)
        ]
        families[name] = [_finished(run, name, one) for one in whole]
        if name == GLOBAL and run.plans[GLOBAL].matches:
            opposed = [_opposed(run, one) for one in whole]
            families[MATCHED], known[MATCHED] = map(list, zip(*opposed, strict=True))
        if name != DONOR:
            fits += _fits(run, name, whole)
    if ORDERED in raw:
        there = batch.ordered[rows].to(run.fabric.device) >= 0
        known[ORDERED] = [*there.unbind(1)]
    planes = {
        name: {kind: [one.beside.planes[kind] for one in views] for kind in views[0].beside.planes}
        for name, views in raw.items()
    }
    shown = {"background_fits": torch.stack(fits).float().mean(0)} if fits else {}
    return Views(families, draws, planes, known), shown


@dataclass(frozen=True)
class _Raw:
    """A view of a part on the device before its operations."""

    images: torch.Tensor
    drawn: torch.Tensor
    beside: Beside


def _raw(run: Run, views: DrawnViews, rows: slice) -> list[_Raw]:
    """Rows of a batch on the device."""
    device, found = run.fabric.device, list[_Raw]()
    for view, (images, drawn) in enumerate(zip(views.images, views.drawn, strict=True)):
        planes = {kind: of[view, rows].to(device) for kind, of in views.planes.items()}
        fills = {kind: of[view, rows].to(device) / 255 for kind, of in views.fills.items()}
        made = to_unit(images[rows].to(device))
        found.append(_Raw(made, drawn[rows].to(device), Beside(planes, fills)))
    return found


def _finished(run: Run, family: str, raw: _Raw) -> torch.Tensor:
    images = run.plans[family].apply_on_device(raw.images, raw.drawn, raw.beside)
    return _as_wanted(run, images)


def _opposed(run: Run, raw: _Raw) -> tuple[torch.Tensor, torch.Tensor]:
    images, known = run.plans[GLOBAL].match_on_device(raw.images, raw.drawn, raw.beside)
    return _as_wanted(run, images), known


def _with(donors: Sequence[Donor], each: int, view: int, raw: _Raw) -> _Raw:
    """A view with its own donors, so that not the same is behind both views of an image."""
    mine = donors[view * each : (view + 1) * each]
    return replace(raw, beside=replace(raw.beside, donors=mine))


def _fits(run: Run, family: str, views: Sequence[_Raw]) -> list[torch.Tensor]:
    """Which views of a family an operation could compose, each bool, (part,)."""
    made = run.plans[family].compositors
    return [one.fits(view.images, view.beside) for one in made for view in views]


def _as_wanted(run: Run, images: torch.Tensor) -> torch.Tensor:
    return images.to(_dtype(run), memory_format=memory_format(run.spec))


def _dtype(run: Run) -> torch.dtype:
    return torch.float64 if run.spec.training.precision == "float64" else torch.float32


def numbers_of(draw: Draw, rng: np.random.Generator, batch: int) -> NDArray[Any]:
    """What a step draws, (batch,) or (1,)."""
    count = batch if draw.per_row else 1
    if draw.kind == "permutation":
        return rng.permutation(batch)
    if draw.kind == "integers":
        return rng.integers(int(draw.low), int(draw.high), count)
    if draw.kind == "beta":
        return rng.beta(draw.low, draw.high, count)
    return rng.uniform(draw.low, draw.high, count)
