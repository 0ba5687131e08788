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

from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.pixels import to_tensor
from histoscope.core.errors import UsageError
from histoscope.core.labels.labelled import UNKNOWN
from histoscope.core.labels.probe import LinearHead
from histoscope.core.labels.spec import FullSpec
from histoscope.core.randomness import generator
from histoscope.core.training.optimiser import make_optimiser, rate_at, set_rate
from histoscope.core.training.spec import OptimiserSpec


def fine_tune(
    loaded: LoadedEncoder,
    images: NDArray[np.uint8],
    truths: Sequence[NDArray[np.int64]],
    heads: Sequence[LinearHead],
    spec: FullSpec,
    seed: int,
    draw: int,
) -> tuple[nn.Module, list[LinearHead]]:
    """Train a copy of the encoder and all heads together, starting from fitted probes.

    The loss is the sum over heads of the cross-entropy weighted by inverse class counts, on the
    images that carry a label of the head. Images are mirrored and turned by quarter turns; batch
    norm uses its running statistics, for a few dozen images are too few to estimate them.

    Args:
        loaded: the encoder; it stays as it is.
        images: uint8, (images, height, width, 3).
        truths: one a head: class ids, (images,), or 1 and 0 for each class, (images, classes);
            -1 where the draw has no label.
        heads: where the heads start.
        spec: steps, batch, rate.
        seed, draw: name the batches.

    Raises:
        UsageError: the encoder has no weights to train.
    """
    encoder = copy.deepcopy(loaded.module).eval()
    if not any(True for _ in encoder.parameters()):
        raise UsageError("--method full: this encoder has no weights; use --method probe")
    layers = [_layer(head) for head in heads]
    schedule = OptimiserSpec(
        learning_rate=spec.learning_rate, weight_decay=spec.weight_decay, warmup=0.1
    )
    optimiser = make_optimiser(nn.ModuleList([encoder, *layers]), schedule)
    losses = [
        _Loss(truth, len(head.bias), head.exclusive)
        for truth, head in zip(truths, heads, strict=True)
    ]
    for step in range(spec.steps):
        rng = generator(seed, "full/batch", draw, step)
        chosen = rng.permutation(len(images))[: spec.batch_size]
        batch = torch.from_numpy(_turned(images[chosen], rng))
        set_rate(optimiser, rate_at(step, spec.steps, schedule))
        features = cast(Tensor, encoder(to_tensor(batch, loaded.info.normalisation)))
        terms = [
            loss(cast(Tensor, layer(features)), chosen)
            for layer, loss in zip(layers, losses, strict=True)
        ]
        optimiser.zero_grad(set_to_none=True)
        torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    tuned = [
        replace(head, weight=layer.weight.detach().numpy(), bias=layer.bias.detach().numpy())
        for head, layer in zip(heads, layers, strict=True)
    ]
    return encoder.eval(), tuned


def _layer(head: LinearHead) -> nn.Linear:
    layer = nn.Linear(head.weight.shape[1], head.weight.shape[0])
    layer.weight.data = torch.from_numpy(head.weight.copy())
    layer.bias.data = torch.from_numpy(head.bias.copy())
    return layer


class _Loss:
    """Weighted cross-entropy of one head; 0 where no image of a batch has a label."""

    def __init__(self, truth: NDArray[np.int64], classes: int, exclusive: bool) -> None:
        self._truth = torch.from_numpy(truth)
        self._exclusive = exclusive
        known = truth >= 0
        if exclusive:
            counts = np.bincount(truth[known], minlength=classes)
            weights = known.sum() / (np.maximum(counts, 1) * classes)
        else:
            present = (truth == 1).sum(axis=0)
            weights = (known.sum(axis=0) - present + 1) / (present + 1)
        self._weights = torch.from_numpy(np.asarray(weights, np.float32))

    def __call__(self, logits: Tensor, chosen: NDArray[np.int64]) -> Tensor:
        truth = self._truth[chosen]
        known = truth != UNKNOWN
        if not known.any():
            return logits.sum() * 0
        if self._exclusive:
            return cross_entropy(logits, truth, weight=self._weights, ignore_index=UNKNOWN)
        each = binary_cross_entropy_with_logits(
            logits, truth.clamp(min=0).float(), pos_weight=self._weights, reduction="none"
        )
        return each[known].mean()


def _turned(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each image mirrored half the time and turned by a drawn number of quarter turns."""
    out = []
    for image in images:
        image = image[:, ::-1] if rng.random() < 0.5 else image
        out.append(np.rot90(image, int(rng.integers(4))))
    return np.ascontiguousarray(np.stack(out))
