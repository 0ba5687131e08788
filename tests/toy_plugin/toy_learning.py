"""An objective and an encoder from outside the package.

``follow`` has what the first methods of the program lack: a predictor, a slow copy that is
published, small crops and settings of its own. ``noisy`` has dropout, so that it tells whether
processes and parts draw alike.
"""

import copy
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import cosine_similarity

from histoscope.core.encoders.contract import EncoderSpec
from histoscope.core.encoders.pixels import IDENTITY, Normalise
from histoscope.core.objectives.contract import LossReport, Needs, Objective, Projected
from histoscope.core.objectives.spec import MethodSpec
from histoscope.core.optim.ema import move_towards
from histoscope.core.optim.groups import usual_groups


class NoisySpec(EncoderSpec):
    kind: Literal["noisy"] = "noisy"
    name: str = "noisy"
    dropout: float = Field(0.2, ge=0, lt=1)


class Noisy(nn.Module):
    settings: ClassVar = NoisySpec

    def __init__(self, spec, normalisation=None):
        super().__init__()
        self.spec, self.dim, self.normalisation = spec, 0, normalisation or IDENTITY
        self._normalise = Normalise(self.normalisation)
        self.network = nn.Sequential(
            nn.Conv2d(3, 12, 3, stride=2), nn.GroupNorm(3, 12), nn.ReLU(), nn.Dropout(spec.dropout)
        )

    def forward(self, images):
        return self.network(self._normalise(images)).mean(dim=(2, 3))

    def encode(self, images, want, masked=None):
        place = self.network(self._normalise(images))
        if masked is not None:
            hidden = masked.places.reshape(len(place), 1, *place.shape[2:])
            place = torch.where(hidden, masked.token[:, None, None], place)
        tokens = place.flatten(2).transpose(1, 2)
        return {"map": place, "tokens": tokens, "pooled": place.mean(dim=(2, 3))}[want]


class FollowSpec(MethodSpec):
    base: Literal["follow"] = "follow"
    width: int = Field(8, ge=2)
    rate: float = Field(0.9, ge=0, lt=1)
    teacher: str | None = None


class Follow(Objective):
    settings: ClassVar = FollowSpec
    needs = Needs(families={"global": 2, "local": 4})

    def __init__(self, encoder, spec, setting):
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Linear(encoder.dim, spec.width)
        self.predictor = nn.Linear(spec.width, spec.width)
        self.slow = copy.deepcopy(nn.Sequential(encoder, self.projector)).requires_grad_(False)
        self.teacher = setting.open(spec.teacher) if spec.teacher else None
        self.rate = spec.rate

    @property
    def published(self):
        return self.slow[0]

    def before_step(self, clock):
        fast = [*self.encoder.parameters(), *self.projector.parameters()]
        move_towards(self.slow.parameters(), fast, 1 - self.rate)

    def project(self, views):
        every = [*views.families["global"], *views.families["local"]]
        asked = [self.predictor(self.projector(self.encoder(view))) for view in every]
        with torch.no_grad():
            targets = [self.slow(view) for view in views.families["global"]]
        return Projected({"asked": torch.stack(asked, 1)}, {"targets": torch.stack(targets, 1)})

    def loss(self, projected, rows, draws, clock):
        asked, targets = projected.asks["asked"], projected.answers["targets"]
        away = [
            2 - 2 * cosine_similarity(asked[:, view].float(), targets[:, target].float()).mean()
            if asked.dtype != torch.float64
            else 2 - 2 * cosine_similarity(asked[:, view], targets[:, target]).mean()
            for target in range(targets.shape[1])
            for view in range(asked.shape[1])
            if view != target
        ]
        return LossReport([(1, torch.stack(away).mean())])

    def groups(self):
        return [
            *usual_groups(self.encoder),
            *usual_groups(self.projector),
            *usual_groups(self.predictor, rate=10.0, frozen_until=0.25),
        ]


class MaskedSpec(MethodSpec):
    base: Literal["masked"] = "masked"


class Masked(Objective):
    """Pulls an image to itself before the background of its donor."""

    settings: ClassVar = MaskedSpec
    needs = Needs(families={"global": 1}, donors=1, planes=("mask",))

    def __init__(self, encoder, spec, setting):
        super().__init__()
        self.encoder = encoder

    def project(self, views):
        (image,), (donor,) = views.families["global"], views.families["donor"]
        (mask,) = views.planes["global"]["mask"]
        swapped = torch.where(mask[:, None] > 0, image, donor)
        return Projected({"all": torch.stack([self.encoder(image), self.encoder(swapped)], 1)})

    def loss(self, projected, rows, draws, clock):
        image, swapped = projected.asks["all"].unbind(1)
        away = (image - swapped).square().mean(1)
        others = rows.donors[:, 0] != rows.index
        numbers = away if away.dtype == torch.float64 else away.float()
        return LossReport([(1, (numbers * others).mean())], {"others": others.double().mean()})


class BesideSpec(MethodSpec):
    base: Literal["beside"] = "beside"


class Beside(Objective):
    """Pulls an image to its partners, where it has any."""

    settings: ClassVar = BesideSpec
    needs = Needs(families={"global": 1}, partners=2)

    def __init__(self, encoder, spec, setting):
        super().__init__()
        self.encoder = encoder
        self.pairs = len(setting.relations())

    def project(self, views):
        every = [*views.families["global"], *views.families["partner"]]
        return Projected({"all": torch.stack([self.encoder(view) for view in every], 1)})

    def loss(self, projected, rows, draws, clock):
        images, *partners = projected.asks["all"].unbind(1)
        away = torch.stack([(images - one).square().mean(1) for one in partners], 1)
        known = rows.partners >= 0
        numbers = away if away.dtype == torch.float64 else away.float()
        loss = (numbers * known).sum() / known.sum().clamp(min=1)
        return LossReport([(1, loss)], {"partners": known.double().mean()})
