"""What a step works on: the views that workers cut, finished on the device, and its own draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from histoscope.core.data.loader import DONOR, Drawn, DrawnViews
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.objectives.contract import Draw, Rows, Views
from histoscope.core.randomness import generator
from histoscope.core.training.run import Run, memory_format
from histoscope.core.training.step import Batch
from histoscope.core.views.plan import Donor


def batch_of(run: Run, batch: Drawn, step: int) -> Batch:
    """This process's part of the global batch, on the device, with the step's own draws."""
    device, size, training = run.fabric.device, run.part_size, run.spec.training
    draws = {}
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
        parts.append(_part(run, batch, slice(place, place + size), mine))
    rows = Rows(*(one.to(device) for one in (batch.index, batch.partners, batch.donors)))
    return Batch(rows, parts, draws)


def _part(run: Run, batch: Drawn, rows: slice, draws: Mapping[str, torch.Tensor]) -> Views:
    """Rows of a batch on the device, their views finished there."""
    planes = {name: _planes(run, views, rows) for name, views in batch.families.items()}
    donors = []
    if DONOR in batch.families:
        for view, images in enumerate(batch.families[DONOR].images):
            there = {kind: found[view] for kind, found in planes[DONOR].items()}
            donors.append(Donor(to_unit(images[rows].to(run.fabric.device)), there))
    families = {
        name: _views(run, name, views, rows, planes[name], donors)
        for name, views in batch.families.items()
    }
    return Views(families, draws, planes)


def _planes(run: Run, views: DrawnViews, rows: slice) -> dict[str, list[torch.Tensor]]:
    return {
        kind: [one[rows].to(run.fabric.device) for one in planes]
        for kind, planes in views.planes.items()
    }


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


def _views(
    run: Run,
    family: str,
    views: DrawnViews,
    rows: slice,
    planes: Mapping[str, Sequence[torch.Tensor]],
    donors: Sequence[Donor],
) -> list[torch.Tensor]:
    """Move rows of a batch to the device and finish their views there."""
    device, plan, made = run.fabric.device, run.plans[family], list[torch.Tensor]()
    for view, (images, drawn) in enumerate(zip(views.images, views.drawn, strict=True)):
        there = {kind: found[view] for kind, found in planes.items()}
        finished = plan.apply_on_device(
            to_unit(images[rows].to(device)), drawn[rows].to(device), there, donors
        )
        made.append(finished.to(_dtype(run), memory_format=memory_format(run.spec)))
    return made
