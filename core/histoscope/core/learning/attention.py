"""Attention over the samples of a source, from few labels of sources."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from histoscope.core.contracts import Task
from histoscope.core.errors import UsageError
from histoscope.core.heads.attention import AttentionHead
from histoscope.core.heads.contract import Bags, Labels, Rows
from histoscope.core.heads.linear import LinearHead
from histoscope.core.heads.transformer import HEADS
from histoscope.core.learning.bags import BagFitter, standardised, train
from histoscope.core.learning.spec import AttentionSpec, AttentionStepsSpec, FinetuneSpec

_LAYERS = "transformer.layers."  # how MONAI's names of the blocks begin
_AT_ONCE, _FLAT = 4096, 1e-12


class AttentionFitter(BagFitter):
    """MONAI's ``MILModel`` with attention, several side by side, on components of features.

    Sources of each class as often; AdamW, its rate on a cosine to 0, as published slide heads on
    pathology encoders (Chen et al. 2024, "UNI", methods); differs: rate, steps, decay and all else
    that :class:`~histoscope.core.learning.spec.AttentionStepsSpec` tells.
    """

    settings: ClassVar[type[FinetuneSpec]] = AttentionSpec

    def check_width(self, dim: int) -> None:
        """See :meth:`Fitter.check_width`."""
        told = self.spec.attention
        read = dim if told.components is None else min(dim, told.components)
        if told.mode == "att_trans" and read % HEADS:
            raise UsageError(
                f"attention.mode: att_trans shares features out among {HEADS} heads, and the "
                f"{read} that it reads are not divisible by {HEADS}; use att"
            )

    def learn(self, bags: Bags, labels: Labels, task: Task) -> AttentionHead:
        """See :meth:`BagFitter.learn`."""
        told, seed = self.spec.attention, self.spec.seed
        scaled, centre, spread = standardised(bags)
        basis = None
        if told.components is not None and told.components < scaled.features.shape[1]:
            basis = components(scaled.features, told.components)
            scaled = Bags(scaled.features @ basis, scaled.starts)
        pools = Pools(scaled.features.shape[1], len(task.classes), told, seed)
        train(pools.weights.values(), pools.logits, scaled, labels, told, seed)
        return pools.head(task, centre, spread, basis)


class Pools:
    """Models side by side, each with weights of its own: their logits are averaged.

    Attributes:
        weights: of all, (heads, ...), by MONAI's names.
    """

    def __init__(self, dim: int, classes: int, told: AttentionStepsSpec, seed: int) -> None:
        models = [
            _Rows(new_model(dim, classes, seed + number, told.mode, told.units))
            for number in range(told.heads)
        ]
        self.weights, _ = stack_module_state(models)
        self._one = models[0]

    def logits(self, rows: Tensor) -> Tensor:
        """Of one bag, (rows, dim) to (1, classes)."""

        def of_one(weights: dict[str, Tensor]) -> Tensor:
            told: Tensor = functional_call(self._one, weights, (rows,))
            return told

        if len(next(iter(self.weights.values()))) == 1:
            return of_one({name: one[0] for name, one in self.weights.items()})
        each: Tensor = vmap(of_one)(self.weights)
        return each.mean(dim=0)

    def head(self, task: Task, centre: Rows, spread: Rows, basis: Rows | None) -> AttentionHead:
        """What they have become."""
        kept = {name: one.detach().numpy() for name, one in self.weights.items()}
        kept = {name.removeprefix("model."): one for name, one in kept.items()}
        weight = kept["myfc.weight"]  # (heads, classes, dim)
        side_by_side = np.concatenate([*(weight / np.float32(len(weight)))], axis=1)
        return AttentionHead(
            LinearHead(side_by_side, kept["myfc.bias"].mean(axis=0), task.exclusive),
            np.concatenate([*kept["attention.0.weight"]]),
            kept["attention.0.bias"].reshape(-1),
            kept["attention.2.weight"][:, 0],
            centre,
            spread,
            basis,
            {
                f"blocks.{name.removeprefix(_LAYERS)}": one[0]
                for name, one in kept.items()
                if name.startswith(_LAYERS)
            },
        )


class _Rows(nn.Module):
    """MONAI's model of the rows of one bag."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        told: Tensor = self.model.calc_head(rows[None])
        return told


def components(rows: Rows, count: int) -> Rows:
    """Principal components of standardised features, of a mean variance of 1 together.

    Args:
        rows: standardised, (rows, dim).
        count: how many, less than dim.

    Returns:
        float32, (dim, count): what rows are multiplied by.
    """
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for at in range(0, len(rows), _AT_ONCE):
        part = rows[at : at + _AT_ONCE].astype(np.float64)
        total += part.T @ part
    variances, axes = np.linalg.eigh(total / len(rows))
    variances, axes = variances[-count:], axes[:, -count:]
    return (axes / np.sqrt(max(variances.mean(), _FLAT))).astype(np.float32)


def new_model(dim: int, classes: int, seed: int, mode: str, units: int) -> Any:
    """MONAI's model on features: without a network before it, and with hidden units as asked."""
    from monai.networks.nets.milmodel import MILModel

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of nested tensors, which no bag is
        torch.manual_seed(seed)
        model = MILModel(
            num_classes=classes,
            mil_mode=mode,
            pretrained=False,
            backbone=nn.Identity(),
            backbone_num_features=dim,
        )
        model.attention = nn.Sequential(nn.Linear(dim, units), nn.Tanh(), nn.Linear(units, 1))
        return model
