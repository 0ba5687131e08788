"""What every objective owes: ``check_objective("simclr")``, or a plug-in's name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from histoscope.core.data.companions import ORDERED
from histoscope.core.data.relations import near_pairs
from histoscope.core.encoders.contract import Encoder, EncoderSpec, Masked, Want
from histoscope.core.encoders.pixels import IDENTITY
from histoscope.core.objectives.contract import (
    Clock,
    LossReport,
    Objective,
    Projected,
    Rows,
    Setting,
    Views,
)
from histoscope.core.objectives.contrastive import MATCHED
from histoscope.core.objectives.mixed import head_of, make_objective
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.randomness import generator
from histoscope.core.training.batches import numbers_of

SAMPLES, BATCH, STEPS = 4096, 16, 8
SIDES = {"global": 16}  # px; views of other families are of 8


class SmallEncoder(nn.Module):
    """A network without batch norm, small enough for float64."""

    spec = EncoderSpec.model_construct(kind="check", name="small")
    normalisation, dim = IDENTITY, 12

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 12, 3, stride=2),
            nn.GroupNorm(3, 12),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) to (batch, 12)."""
        out: Tensor = self.network(images)
        return out

    def encode(self, images: Tensor, want: Want, masked: Masked | None = None) -> Tensor:
        """Its places are its patches."""
        assert want == "tokens"
        tokens: Tensor = self.network[:-2](images).flatten(2).transpose(1, 2)
        if masked is None:
            return tokens
        return torch.where(masked.places[..., None], masked.token.to(tokens.dtype), tokens)


class SmallModel(nn.Sequential):
    """Answers one of three classes."""

    dim = 3

    def __init__(self) -> None:
        super().__init__(SmallEncoder(), nn.Linear(SmallEncoder.dim, self.dim), nn.Softmax(1))


class Rehearsal:
    """An objective on a small network in float64, stepped by plain gradient descent.

    Args:
        base: name of the objective.
        settings: of it.
        encoder: the network; None: a small one without batch norm.
        matched: whether there are images that oppose the views.
    """

    def __init__(
        self,
        base: str,
        settings: Mapping[str, Any] | None = None,
        encoder: Any = None,
        matched: bool = False,
    ) -> None:
        spec = MethodSpec.model_validate({"base": base, **(settings or {})})
        names = pa.array([str(place // 64) for place in range(SAMPLES)])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            setting = Setting(
                samples=SAMPLES,
                steps=STEPS,
                steps_an_epoch=STEPS // 2,
                batch_size=BATCH,
                size_px=SIDES["global"],
                table=pa.table({"source": names, "case": names}),
                relations=lambda: near_pairs(
                    names.to_pylist(), np.arange(float(SAMPLES))[:, None], {"partner": 2, "same": 4}
                ),
                open=lambda word: SmallEncoder().double(),
                open_model=lambda word, task: SmallModel().double(),
                matched=matched,
            )
            made = make_objective(cast(Encoder, encoder or SmallEncoder()), spec, setting)
        self.objective = made.double().train()

    def batch(self, step: int) -> tuple[Views, Rows, Clock]:
        """What the loop would hand over at a step."""
        rng, needs = torch.Generator().manual_seed(step), self.objective.needs
        families = {
            name: [
                torch.rand(BATCH, 3, side, side, generator=rng).double()
                for side in [SIDES.get(name, 8)] * count
            ]
            for name, count in needs.families.items()
        }
        draws = {
            name: torch.from_numpy(numbers_of(draw, generator(0, f"step/{name}", step), BATCH))
            for name, draw in needs.draws.items()
        }
        index = (torch.arange(BATCH) * 5 + 7 * step) % SAMPLES
        partners = (index[:, None] + torch.arange(1, needs.partners + 1)) % SAMPLES
        partners[::3] = -1
        count = max(needs.donors, 4 * needs.matched)
        donors = (index[:, None] + 11 * torch.arange(1, count + 1)) % SAMPLES
        for name, others in (("partner", partners), ("donor", donors)):
            if len(others.T):
                images = [torch.rand(BATCH, 3, 16, 16, generator=rng).double() for _ in others.T]
                families[name] = images
        if needs.ordered:
            sizes = [BATCH, 3, 16, 16]
            families[ORDERED] = [
                torch.rand(sizes, generator=rng).double() for _ in range(needs.ordered)
            ]
        planes = {
            name: {
                kind: [(view[:, 0] < view[:, 1]).to(torch.uint8) for view in views]
                for kind in needs.planes
            }
            for name, views in families.items()
        }
        held = 1 + torch.arange(BATCH) % max(needs.ordered, 1)  # of one source, now and then one
        known = {ORDERED: [held > slot for slot in range(needs.ordered)]} if needs.ordered else {}
        if needs.matched:
            families[MATCHED] = [torch.rand(BATCH, 3, 16, 16, generator=rng).double() for _ in "ab"]
            known[MATCHED] = [torch.rand(BATCH, generator=rng) < 0.7 for _ in "ab"]
        clock = Clock(step, STEPS, step * 2 // STEPS)
        return Views(families, draws, planes, known), Rows(index, partners, donors), clock

    def begin(self, step: int) -> tuple[Projected, Rows, dict[str, Tensor], Clock]:
        """Up to the loss."""
        views, rows, clock = self.batch(step)
        if step * 2 % STEPS == 0:
            self.objective.begin_epoch(_Corpus(), clock)
        with torch.no_grad():
            self.objective.before_step(clock)
        return self.objective.project(views), rows, dict(views.draws), clock

    def step(self, number: int) -> float:
        """A whole step; its loss."""
        projected, rows, draws, clock = self.begin(number)
        report = self.objective.loss(projected, rows, draws, clock)
        self.objective.zero_grad(set_to_none=True)
        report.loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in self.objective.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=0.1)
            self.objective.after_step(_detached(projected), rows, clock)
        return report.loss.item()


class _Corpus:
    """A data set whose images are drawn, the same every time."""

    @torch.no_grad()
    def encode(self, module: nn.Module) -> Tensor:
        """As a run does."""
        rng, trains = torch.Generator().manual_seed(0), module.training
        images = torch.rand(SAMPLES, 3, 16, 16, generator=rng).double()
        features = [module.eval()(part) for part in torch.split(images, 256)]
        module.train(trains)
        return torch.cat(features)


def check_objective(
    base: str, settings: Mapping[str, Any] | None = None, *, matched: bool = False
) -> None:
    """See that an objective keeps its contract.

    Args:
        base: its name in the registry.
        settings: of it, where its defaults do not suit batches of 16.
        matched: whether there are images that oppose the views.

    Raises:
        AssertionError: saying what it owes.
    """
    ready = Rehearsal(base, settings, matched=matched)
    _warm_up(ready)
    _check_published(ready.objective)
    _check_head(ready.objective, MethodSpec.model_validate({"base": base, **(settings or {})}))
    _check_groups(ready.objective)
    _check_projection(ready)
    _check_loss(ready)
    _check_no_synchronisation(ready)
    _check_state(base, settings, matched)


def _warm_up(ready: Rehearsal) -> None:
    """So that queues hold something."""
    for number in range(2):
        try:
            ready.step(number)
        except RuntimeError as fault:
            if "modified by an inplace operation" in str(fault):
                said = "loss: changes what it was computed of before its gradient is"
                raise AssertionError(said) from fault
            raise


def _check_published(objective: Objective) -> None:
    network = objective.published
    for name in ("spec", "dim", "normalisation"):
        assert hasattr(network, name), f"published: {name} is missing: it is no encoder"
    ours = {id(module) for module in objective.modules()}
    assert id(network) in ours, "published: is no part of the objective, so no checkpoint has it"


def _check_head(objective: Objective, spec: MethodSpec) -> None:
    """What a method tells of its head fits what is saved of it."""
    dim: Any = objective.published.dim
    told = head_of(spec, dim)
    if told is not None:
        mine, place = told
        saved = {
            name.removeprefix(place): value.shape
            for name, value in objective.state_dict().items()
            if name.startswith(place)
        }
        made = {name: value.shape for name, value in mine.state_dict().items()}
        assert made == saved, f"head_of: another head than lies at {place}"


def _check_groups(objective: Objective) -> None:
    held = [id(p) for group in objective.groups() for p in group.parameters]
    trained = {name: id(p) for name, p in objective.named_parameters() if p.requires_grad}
    for name, place in trained.items():
        assert held.count(place) == 1, f"groups: {name} is in {held.count(place)} of them, not one"
    assert set(held) <= set(trained.values()), "groups: a parameter that is not trained"


def _check_projection(ready: Rehearsal) -> None:
    views, _, _ = ready.batch(4)
    projected = ready.objective.project(views)
    assert projected.asks, "project: nothing asks"
    half = BATCH // 2
    part = Views(
        {name: [view[:half] for view in family] for name, family in views.families.items()},
        {name: _part(draw, half) for name, draw in views.draws.items()},
        {
            name: {kind: [plane[:half] for plane in planes] for kind, planes in every.items()}
            for name, every in views.planes.items()
        },
        {name: [one[:half] for one in every] for name, every in views.known.items()},
    )
    smaller = ready.objective.project(part)
    for kind in ("asks", "answers"):
        mine, less = getattr(projected, kind), getattr(smaller, kind)
        assert mine.keys() == less.keys(), f"project: other {kind} of a smaller part"
        for name, rows in mine.items():
            assert rows.ndim == 3, f"project: {kind} {name} is not (part, slots, dim)"
            assert len(rows) == BATCH, f"project: {kind} {name} has {len(rows)} rows, not {BATCH}"
            assert rows.shape[1:] == less[name].shape[1:], f"project: slots of {name} differ"
            assert rows.dtype == torch.float64, f"project: {name} is cast to {rows.dtype}"
    ready.objective.zero_grad(set_to_none=True)
    whole = sum((rows**2).sum() for rows in projected.asks.values())
    whole.backward()  # type: ignore[union-attr]
    idle = [n for n, p in ready.objective.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle, f"project: does not use {', '.join(idle[:3])}, which is trained"


def _part(draw: Tensor, half: int) -> Tensor:
    return draw[:half] if len(draw) > 1 else draw


def _check_loss(ready: Rehearsal) -> None:
    projected, rows, draws, clock = ready.begin(5)
    before = copy.deepcopy(ready.objective.state_dict())
    reports = [ready.objective.loss(projected, rows, draws, clock) for _ in range(2)]
    one, other = (report.loss for report in reports)
    assert torch.equal(one, other), "loss: another value when it is called twice"
    for name, value in ready.objective.state_dict().items():
        assert torch.equal(value, before[name]), f"loss: changes {name}"
    assert one.requires_grad, "loss: has no gradient"
    assert one.shape == (), f"loss: a scalar is wanted, not {tuple(one.shape)}"
    alone = ready.objective.loss(_detached(projected), rows, draws, clock).loss
    assert not alone.requires_grad, (
        "loss: uses a trained parameter, which belongs into project: of several processes each "
        "would give it its whole gradient"
    )
    single = copy.deepcopy(ready.objective).float()
    low = Projected(
        {name: ask.bfloat16() for name, ask in projected.asks.items()},
        {name: answer.float() for name, answer in projected.answers.items()},
    )
    found = single.loss(low, rows, draws, clock).loss.dtype
    assert found in (torch.float32, torch.float64), f"loss: computed in {found} from bf16"


def _check_no_synchronisation(ready: Rehearsal) -> None:
    """On tensors without values nothing can be read: what waits for the device fails here."""
    projected, rows, draws, clock = ready.begin(6)
    meta = copy.deepcopy(ready.objective).to("meta")
    far = Projected(
        {name: ask.detach().to("meta") for name, ask in projected.asks.items()},
        {name: answer.to("meta") for name, answer in projected.answers.items()},
    )
    index = Rows(*(one.to("meta") for one in (rows.index, rows.partners, rows.donors)))
    try:
        there = {name: draw.to("meta") for name, draw in draws.items()}
        report: LossReport = meta.loss(far, index, there, clock)
        assert report.loss.device.type == "meta", "loss: is computed elsewhere than the projections"
        with torch.no_grad():
            meta.after_step(far, index, clock)
    except (NotImplementedError, RuntimeError) as fault:
        raise AssertionError(f"loss or after_step reads values of the device: {fault}") from fault


def _check_state(base: str, settings: Mapping[str, Any] | None, matched: bool) -> None:
    """A run that goes on from its state ends as an unbroken one."""
    whole, again = (Rehearsal(base, settings, matched=matched) for _ in range(2))
    for number in range(3):
        whole.step(number)
    again.objective.load_state_dict(copy.deepcopy(whole.objective.state_dict()))
    losses = [(whole.step(number), again.step(number)) for number in (3, 4)]
    assert all(one == other for one, other in losses), (
        "state: a run that is resumed has another loss: something is neither parameter nor buffer"
    )
    ends = whole.objective.state_dict(), again.objective.state_dict()
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), f"state: {name} differs after resuming"


def _detached(projected: Projected) -> Projected:
    return Projected(
        {name: ask.detach() for name, ask in projected.asks.items()}, projected.answers
    )
