"""Full fine-tuning of an encoder and its linear heads on the labels of one draw."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim import SGD

from histoscope.core.data.truth import UNKNOWN, Truth
from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.pixels import to_unit
from histoscope.core.errors import Diverged, UsageError
from histoscope.core.heads.contract import EVEN, NEVER, unit_rows
from histoscope.core.heads.linear import LinearHead, linear
from histoscope.core.learning.spec import StepsSpec, TuneSpec
from histoscope.core.optim.groups import descend, make_optimiser, usual_groups
from histoscope.core.optim.spec import OptimiserSpec
from histoscope.core.randomness import generator


def fine_tune(
    loaded: LoadedEncoder,
    device: torch.device,
    images: NDArray[np.uint8],
    truths: Sequence[Truth],
    heads: Sequence[LinearHead],
    spec: TuneSpec,
    seed: int,
    draw: int,
) -> tuple[nn.Module, list[LinearHead]]:
    """Train a copy of the encoder and all heads together.

    The loss is the sum over heads of the cross-entropy weighted by inverse class counts, on the
    images that carry a label of the head. Images are mirrored and turned by quarter turns; batch
    norm uses its running statistics, for a few dozen images are too few to estimate them. (SwAV's
    code lets it use the batch's; there a batch has 256 images.)

    Args:
        loaded: the encoder; it stays as it is.
        device: where it is trained, in float32.
        images: uint8, (images, height, width, 3).
        truths: one a head, of all images; unknown where the draw has no label.
        heads: where the heads start.
        spec: steps, batch, rates: AdamW with a cosine, or SwAV's SGD with two drops.
        seed, draw: name the batches.

    Raises:
        UsageError: the encoder has no weights to train.
        Diverged: the loss is not finite.
    """
    tuning = Tuning(loaded, device, truths, heads, spec)
    for step in range(spec.steps):
        rng = generator(seed, "full/batch", draw, step)
        chosen = rng.permutation(len(images))[: spec.batch_size]
        loss = tuning.loss(torch.from_numpy(_turned(images[chosen], rng)), chosen)
        if not torch.isfinite(loss):
            raise Diverged(
                f"finetune, draw {draw + 1}, step {step + 1}: the loss is not finite; set a "
                f"smaller rate ({tuning.schedule.rates})"
            )
        tuning.schedule.step(loss, step)
    return tuning.encoder.eval(), [layer.head() for layer in tuning.layers]


class Tuning:
    """A copy of an encoder, its heads and their losses, on one device. Arguments as above."""

    def __init__(
        self,
        loaded: LoadedEncoder,
        device: torch.device,
        truths: Sequence[Truth],
        heads: Sequence[LinearHead],
        spec: TuneSpec,
    ) -> None:
        self.encoder = copy.deepcopy(loaded.module).to(device).eval()
        if not any(True for _ in self.encoder.parameters()):
            raise UsageError(
                "--method: this encoder has no weights to train; use probe, knn or uni"
            )
        self.layers = [_Layer(head).to(device) for head in heads]
        self.schedule = _Schedule(self.encoder, nn.ModuleList(self.layers), spec)
        self._losses = [
            _Loss(truth.values, head, device) for truth, head in zip(truths, heads, strict=True)
        ]
        self._device = device

    def loss(self, images: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        """Of a batch, uint8 (batch, height, width, 3), whose images were ``chosen``."""
        features = cast(Tensor, self.encoder(to_unit(images.to(self._device))))
        terms = [
            loss(cast(Tensor, layer(features)), chosen)
            for layer, loss in zip(self.layers, self._losses, strict=True)
        ]
        return torch.stack(terms).sum()


def new_head(truth: Truth, dim: int) -> LinearHead:
    """One that knows nothing of features as they are; a class that no row knows is never said.

    Args:
        truth: of a draw.
        dim: width of features.
    """
    classes = len(truth.task.classes)
    weight, bias = np.zeros((classes, dim), np.float32), np.zeros(classes, np.float32)
    if truth.task.exclusive:
        return LinearHead(weight, bias)
    cut = np.where((truth.values >= 0).any(axis=0), EVEN, NEVER).astype(np.float32)
    return LinearHead(weight, bias, exclusive=False, thresholds=cut)


class _Layer(nn.Module):
    """A linear head that learns; its centre stays."""

    centre: Tensor | None

    def __init__(self, head: LinearHead) -> None:
        super().__init__()
        self._from = head
        self.weight = nn.Parameter(torch.from_numpy(head.weight.copy()))
        self.bias = nn.Parameter(torch.from_numpy(head.bias.copy()))
        self.register_buffer("centre", None if head.centre is None else torch.tensor(head.centre))

    def forward(self, features: Tensor) -> Tensor:
        """(rows, dim) to logits, as :meth:`LinearHead.logits`."""
        rows = features if self.centre is None else unit_rows(features, self.centre)
        return cast(Tensor, linear(rows, self.weight, self.bias))

    def head(self) -> LinearHead:
        """What it has become; of thresholds, only those of classes nobody knows still hold."""
        weight, bias = (p.detach().cpu().numpy() for p in (self.weight, self.bias))
        cut = np.where(self._from.cut == NEVER, NEVER, EVEN).astype(np.float32)
        thresholds = None if self._from.exclusive else cut
        return replace(self._from, weight=weight, bias=bias, thresholds=thresholds)


class _Schedule:
    """The optimiser of a fine-tuning and its rates.

    Attributes:
        rates: the settings that change them.
    """

    def __init__(self, encoder: nn.Module, heads: nn.Module, spec: TuneSpec) -> None:
        self._spec = spec
        both = nn.ModuleList([encoder, heads])
        if isinstance(spec, StepsSpec):
            self.rates = "--set full.learning_rate"
            self._shape = OptimiserSpec(
                learning_rate=spec.learning_rate, weight_decay=spec.weight_decay, warmup=0.1
            )
            self._optimiser = make_optimiser(usual_groups(both), self._shape)
        else:
            self.rates = "--set swav.learning_rate, swav.head_rate"
            groups = [
                {"params": encoder.parameters(), "lr": spec.learning_rate},
                {"params": heads.parameters(), "lr": spec.head_rate},
            ]
            self._optimiser = SGD(groups, momentum=0.9)

    def step(self, loss: Tensor, step: int) -> None:
        """Down the gradient, at the rate of this step."""
        spec = self._spec
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if isinstance(spec, StepsSpec):
            descend(self._optimiser, self._shape, step, spec.steps)
            return
        drop = 0.2 ** sum(step >= share * spec.steps for share in (0.6, 0.8))
        for group, rate in zip(
            self._optimiser.param_groups, (spec.learning_rate, spec.head_rate), strict=True
        ):
            group["lr"] = rate * drop
        self._optimiser.step()


class _Loss:
    """Weighted cross-entropy of one head; 0 where no image of a batch has a label."""

    def __init__(self, truth: NDArray[np.int64], head: LinearHead, device: torch.device) -> None:
        self._truth, self._exclusive, self._device = truth, head.exclusive, device
        known, classes = truth >= 0, len(head.bias)
        if head.exclusive:
            counts = np.bincount(truth[known], minlength=classes)
            weights = known.sum() / (np.maximum(counts, 1) * classes)
        else:
            present = (truth == 1).sum(axis=0)
            weights = (known.sum(axis=0) - present + 1) / (present + 1)
        self._weights = torch.from_numpy(np.asarray(weights, np.float32)).to(device)

    def __call__(self, logits: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        known = self._truth[chosen] != UNKNOWN
        if not known.any():
            return logits.sum() * 0
        truth = torch.from_numpy(self._truth[chosen]).to(self._device)
        if self._exclusive:
            return cross_entropy(logits, truth, weight=self._weights, ignore_index=UNKNOWN)
        each = binary_cross_entropy_with_logits(
            logits, truth.clamp(min=0).float(), pos_weight=self._weights, reduction="none"
        )
        places = torch.from_numpy(np.flatnonzero(known)).to(self._device)
        return each.flatten()[places].mean()


def _turned(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each image mirrored half the time and turned by a drawn number of quarter turns."""
    out = []
    for image in images:
        image = image[:, ::-1] if rng.random() < 0.5 else image
        out.append(np.rot90(image, int(rng.integers(4))))
    return np.ascontiguousarray(np.stack(out))
