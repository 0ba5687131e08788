"""iBOT: DINO on the class token, and hidden patches predict what the slow copy sees of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from histoscope.core.config import Spec
from histoscope.core.encoders.contract import Encoder, Masked
from histoscope.core.errors import UsageError
from histoscope.core.losses.clusters import across, predicted
from histoscope.core.losses.spread import crowding
from histoscope.core.objectives.contract import (
    Clock,
    Draw,
    LossReport,
    Needs,
    Objective,
    Projected,
    Rows,
    Setting,
    Views,
)
from histoscope.core.objectives.dino import LARGE, Prototypes, TeacherSpec
from histoscope.core.objectives.heads import layered
from histoscope.core.objectives.spec import MethodSpec, ProjectorSpec
from histoscope.core.optim.ema import move_towards
from histoscope.core.optim.groups import Group, usual_groups

BOX = ("area", "shape", "left", "top")  # drawn of each large view's box


class MaskingSpec(Spec):
    """Which patches are hidden: one box of each large view of some images."""

    images: float = Field(0.5, ge=0, le=1, description="share of the views that hide any")
    least: float = Field(0.1, gt=0, lt=1, description="share of the patches that are hidden, from")
    most: float = Field(0.5, gt=0, lt=1, description="and up to")
    weight: float = Field(1.0, ge=0, description="of hidden patches beside the class token")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least {self.least:g} is more than most {self.most:g}")
        return self


class IBOTSpec(MethodSpec):
    """Settings of iBOT."""

    base: Literal["ibot"] = Field("ibot", description="the method; for transformers")
    temperature: float = Field(0.1, gt=0, description="of the student")
    projector: ProjectorSpec = Field(ProjectorSpec(), description="head before the prototypes")
    prototypes: int = Field(1024, ge=2, description="width of the softmax, one for both")
    frozen: float = Field(0.01, ge=0, lt=1, description="share of the run the last layer stays")
    teacher: TeacherSpec = Field(TeacherSpec(), description="slow copy, targets, centres")
    masking: MaskingSpec = Field(MaskingSpec(), description="hidden patches")
    spread: float = Field(0.0, ge=0, description="weight of KoLeo, which keeps images apart")
    local: int = Field(0, ge=0, description="small crops beside the two, views of the family local")


class IBOT(Objective):
    """Zhou et al. 2022, "iBOT", eq. 2 and 3: the same head for class token and patches.

    A view hides one box of patches, drawn for the step (the paper draws several blocks); the slow
    copy sees all. Patches are scored that are hidden, the mean over them in each view, then over
    views that hide any. The head has no batch norm, as transformers want. The slow copy is saved.

    Args:
        encoder: a network with patches.
        spec: of head, targets, crops and masks.
        setting: the size of a view.

    Raises:
        UsageError: a network without patches on a grid.
    """

    settings: ClassVar[type[MethodSpec]] = IBOTSpec
    head_at = "slow.1"

    centre: Tensor
    patch_centre: Tensor

    def __init__(self, encoder: Encoder, spec: IBOTSpec, setting: Setting) -> None:
        super().__init__()
        self.encoder, self.spec = encoder, spec
        channels, self.side, self.before = _grid_of(encoder, setting.size_px)
        self.projector = self.head_of(spec, channels)
        self.prototypes = Prototypes(spec.projector.out, spec.prototypes)
        self.slow = copy.deepcopy(
            nn.ModuleList([cast(nn.Module, encoder), self.projector, self.prototypes])
        ).requires_grad_(False)
        self.token = nn.Parameter(torch.zeros(channels))
        nn.init.trunc_normal_(self.token, std=0.02)
        for name in ("centre", "patch_centre"):
            self.register_buffer(name, torch.zeros(spec.prototypes))
        families = {"global": LARGE} | ({"local": spec.local} if spec.local else {})
        draws = {
            f"hidden {what} {view}": Draw("uniform")
            for view in range(LARGE)
            for what in ("any", *BOX)
        }
        self.needs, self.paired = Needs(families=families, draws=draws), tuple(draws)

    @classmethod
    def head_of(cls, spec: IBOTSpec, dim: int) -> nn.Module:
        """Three layers before the prototypes, without batch norm."""
        hidden = spec.projector.hidden
        return layered([dim, hidden, hidden, spec.projector.out], norm=False)

    @property
    def published(self) -> nn.Module:
        """The slow copy's network."""
        return self.slow[0]

    def before_step(self, clock: Clock) -> None:
        """Slow copy <- kept · slow copy + (1 - kept) · network, parameters only."""
        parts = (cast(nn.Module, self.encoder), self.projector, self.prototypes)
        fast = [parameter for part in parts for parameter in part.parameters()]
        kept = self.spec.teacher.momentum.kept_at(clock.step, clock.steps)
        move_towards(self.slow.parameters(), fast, 1 - kept)

    def project(self, views: Views) -> Projected:
        """Scores of class tokens, and of as many patches of each large view as may be hidden."""
        images = views.families["global"]
        masks = [self._mask(views.draws, view) for view in range(LARGE)]
        slots = math.ceil(self.spec.masking.most * self.side**2)
        places = [mask.to(torch.uint8).sort(dim=1, descending=True, stable=True) for mask in masks]
        asks, patches, answers, targets, features = [], [], [], [], []
        for image, mask, order in zip(images, masks, places, strict=True):
            chosen = order.indices[:, :slots]
            seen = self.encoder.encode(image, "tokens", Masked(mask, self.token))
            features.append(seen[:, 0] if self.before else seen.mean(1))
            asks.append(self.prototypes(self.projector(features[-1])))
            patches.append(self.prototypes(self.projector(self._patches(seen, chosen))))
            with torch.no_grad():
                slow, head, last = self.slow
                told = cast(Encoder, slow).encode(image, "tokens")
                whole = told[:, 0] if self.before else told.mean(1)
                answers.append(last(head(whole)))
                targets.append(last(head(self._patches(told, chosen))))
        asks += [
            self.prototypes(self.projector(self.encoder(view)))
            for view in views.families.get("local", ())
        ]
        held = [order.values[:, :slots, None] for order in places]
        return Projected(
            {
                "asks": torch.stack(asks, 1),
                "patches": torch.cat(patches, 1),
                "features": torch.stack(features, 1),
            },
            {
                "answers": torch.stack(answers, 1),
                "targets": torch.cat(targets, 1),
                "hidden": torch.cat(held, 1).to(answers[0].dtype),
            },
        )

    def loss(
        self, projected: Projected, rows: Rows, draws: Mapping[str, Tensor], clock: Clock
    ) -> LossReport:
        """DINO's on class tokens, and the cross-entropy of hidden patches."""
        asks, answers = projected.asks["asks"], _exact(projected.answers["answers"])
        sharp = self.spec.teacher.temperature_at(clock.share)
        targets = ((answers - self.centre) / sharp).softmax(-1)
        terms = [(1.0, across(targets, asks, self.spec.temperature))]
        hidden = self._hidden_patches(projected, sharp)
        terms.append((self.spec.masking.weight, hidden))
        if self.spec.spread:
            each = projected.asks["features"].unbind(1)
            terms.append((self.spec.spread, torch.stack([crowding(one) for one in each]).mean()))
        entropy = -(targets * targets.clamp(min=1e-12).log()).sum(-1).mean()
        return LossReport(terms, {"teacher_entropy": entropy, "hidden_patches": hidden})

    def after_step(self, projected: Projected, rows: Rows, clock: Clock) -> None:
        """Both centres <- kept · centre + (1 - kept) · mean answer, of patches of those hidden."""
        kept = self.spec.teacher.centre
        told = projected.answers["answers"].flatten(0, 1).to(self.centre.dtype)
        self.centre.lerp_(told.mean(0), 1 - kept)
        told = projected.answers["targets"].flatten(0, 1).to(self.centre.dtype)
        hidden = projected.answers["hidden"].flatten(0, 1).to(self.centre.dtype)
        mean = (told * hidden).sum(0) / hidden.sum().clamp(min=1)
        self.patch_centre.lerp_(mean, (1 - kept) * (hidden.sum() > 0).to(mean.dtype))

    def groups(self) -> list[Group]:
        """The last layer stays as it is at first; neither it nor the token is decayed."""
        last = list(self.prototypes.parameters())
        return [
            *usual_groups(self.get_submodule("encoder")),
            *usual_groups(self.projector),
            Group(last, decay=False, frozen_until=self.spec.frozen),
            Group([self.token], decay=False, adapt=False),
        ]

    def _hidden_patches(self, projected: Projected, sharp: float) -> Tensor:
        """Mean over hidden patches of a view, then over views that hide any; 0 without."""
        asks, answers = projected.asks["patches"], _exact(projected.answers["targets"])
        hidden = _exact(projected.answers["hidden"])[..., 0]
        targets = ((answers - self.patch_centre) / sharp).softmax(-1)
        wrong = predicted(targets.flatten(0, 1), asks.flatten(0, 1), self.spec.temperature)
        views = (len(hidden), LARGE, hidden.shape[1] // LARGE)
        wrong, held = wrong.reshape(views), hidden.to(wrong.dtype).reshape(views)
        count = held.sum(2)
        mean = (wrong * held).sum(2) / count.clamp(min=1)
        return mean.sum() / (count > 0).sum().clamp(min=1)

    def _mask(self, draws: Mapping[str, Tensor], view: int) -> Tensor:
        """Which patches of a view are hidden, bool, (part, patches)."""
        spec, side = self.spec.masking, self.side
        area, shape, left, top = (draws[f"hidden {what} {view}"] for what in BOX)
        area = (spec.least + area * (spec.most - spec.least)) * side**2
        aspect = torch.exp((2 * shape - 1) * math.log(1 / 0.3))  # BEiT's range
        height = (area * aspect).sqrt().clamp(1, side).floor()
        width = (area / height).clamp(1, side).floor()
        first = [
            (place * (side - size + 1)).floor() for place, size in ((top, height), (left, width))
        ]
        steps = torch.arange(side, device=area.device)
        rows, columns = (
            (steps >= start[:, None]) & (steps < (start + size)[:, None])
            for start, size in zip(first, (height, width), strict=True)
        )
        box = rows[:, :, None] & columns[:, None, :]
        any_ = draws[f"hidden any {view}"] < spec.images
        return (box & any_[:, None, None]).flatten(1)

    def _patches(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Tokens of chosen places, (part, slots, channels)."""
        patches = tokens[:, self.before :]
        return patches.gather(1, places[..., None].expand(-1, -1, patches.shape[2]))


def _exact(rows: Tensor) -> Tensor:
    return rows if rows.dtype == torch.float64 else rows.float()


def _grid_of(encoder: Encoder, size_px: int) -> tuple[int, int, int]:
    """Channels of a token, patches a side, and tokens before them.

    Raises:
        UsageError: it has none.
    """
    module = cast(nn.Module, encoder)
    parameter = next(module.parameters())
    side = torch.linspace(0, 1, size_px, device=parameter.device, dtype=parameter.dtype)
    images = (side[:, None] * side).expand(2, 3, -1, -1)
    network: Any = getattr(module, "network", None)
    before = int(getattr(network, "num_prefix_tokens", 0))
    trains = module.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            module.eval()
            tokens, pooled = encoder.encode(images, "tokens"), encoder(images)
            count = math.isqrt(tokens.shape[1] - before)
            if count * count != tokens.shape[1] - before:
                raise UsageError(f"encoder {encoder.spec.architecture}: its patches are no square")
            nothing = torch.zeros(2, count * count, dtype=torch.bool, device=images.device)
            hidden = Masked(nothing, tokens.new_zeros(tokens.shape[2]))
            seen = encoder.encode(images, "tokens", hidden)
            whole = seen[:, 0] if before else seen.mean(1)
            if pooled.shape != whole.shape or not torch.allclose(pooled, whole, atol=1e-4):
                raise UsageError(
                    f"encoder {encoder.spec.architecture}: pools otherwise than ibot, which trains "
                    "the class token, or the mean of the tokens where there is none; --set "
                    "encoder.pool=token may do"
                )
    finally:
        module.train(trains)
    return tokens.shape[2], count, before
