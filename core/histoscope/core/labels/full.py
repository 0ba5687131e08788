"""Full fine-tuning of an encoder and a linear head on the labels of one draw."""

from __future__ import annotations

import copy
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from histoscope.core.encoders.folder import LoadedEncoder
from histoscope.core.encoders.pixels import to_tensor
from histoscope.core.errors import UsageError
from histoscope.core.labels.probe import LinearHead
from histoscope.core.labels.spec import FullSpec
from histoscope.core.randomness import generator
from histoscope.core.training.optimiser import make_optimiser, rate_at, set_rate
from histoscope.core.training.spec import OptimiserSpec


def fine_tune(
    loaded: LoadedEncoder,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    head: LinearHead,
    spec: FullSpec,
    seed: int,
    draw: int,
) -> tuple[nn.Module, LinearHead]:
    """Train a copy of the encoder and the head together, starting from a fitted probe.

    Images are mirrored and turned by quarter turns; batch norm uses its running statistics, for
    a few dozen images are too few to estimate them.

    Args:
        loaded: the encoder; it stays as it is.
        images: uint8, (labels, height, width, 3).
        labels: class ids.
        head: where the head starts.
        spec: steps, batch, rate.
        seed, draw: name the batches.

    Raises:
        UsageError: the encoder has no weights to train.
    """
    encoder = copy.deepcopy(loaded.module).eval()
    if not any(True for _ in encoder.parameters()):
        raise UsageError("--method full: this encoder has no weights; use --method probe")
    layer = nn.Linear(head.weight.shape[1], head.weight.shape[0])
    layer.weight.data = torch.from_numpy(head.weight.copy())
    layer.bias.data = torch.from_numpy(head.bias.copy())
    model = nn.Sequential(encoder, layer)
    schedule = OptimiserSpec(
        learning_rate=spec.learning_rate, weight_decay=spec.weight_decay, warmup=0.1
    )
    optimiser = make_optimiser(model, schedule)
    counts = np.bincount(labels, minlength=len(head.bias)).astype(np.float32)
    weights = torch.from_numpy(len(labels) / (np.maximum(counts, 1) * len(counts)))
    for step in range(spec.steps):
        rng = generator(seed, "full/batch", draw, step)
        chosen = rng.permutation(len(labels))[: spec.batch_size]
        batch = torch.from_numpy(_turned(images[chosen], rng))
        set_rate(optimiser, rate_at(step, spec.steps, schedule))
        logits = cast(Tensor, model(to_tensor(batch, loaded.info.normalisation)))
        loss = cross_entropy(logits, torch.from_numpy(labels[chosen]), weight=weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    tuned = LinearHead(layer.weight.detach().numpy(), layer.bias.detach().numpy())
    return encoder.eval(), tuned


def _turned(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each image mirrored half the time and turned by a drawn number of quarter turns."""
    out = []
    for image in images:
        image = image[:, ::-1] if rng.random() < 0.5 else image
        out.append(np.rot90(image, int(rng.integers(4))))
    return np.ascontiguousarray(np.stack(out))
